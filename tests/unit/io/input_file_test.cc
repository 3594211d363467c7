#include "lib/io/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/catch.h"

namespace sluice::testing {
namespace {

absl::Span<std::byte> BytesOf(std::string* text) {
  return absl::MakeSpan(reinterpret_cast<std::byte*>(text->data()), text->size());
}

}  // namespace

TEST_CASE("InputFile reads exactly or says what is missing", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("data"), "0123456789");
  auto file = InputFile::Open(dir.File("data"));
  REQUIRE_OK(file);
  CHECK((*file)->size() == 10);
  CHECK((*file)->path() == dir.File("data"));
  std::string out(4, '\0');
  REQUIRE_OK((*file)->ReadAt(3, BytesOf(&out)));
  CHECK(out == "3456");
  (*file)->DropCache(0, 10);
  const absl::Status status = (*file)->ReadAt(8, BytesOf(&out));
  CHECK(absl::IsDataLoss(status));
  CHECK_THAT(std::string(status.message()),
             Catch::StartsWith(dir.File("data")) && Catch::Contains("wanted 4") &&
                 Catch::Contains("offset 8") && Catch::Contains("got 2"));
  CHECK_FALSE((*file)->ReadAt(~uint64_t{0}, BytesOf(&out)).ok());
  CHECK_FALSE((*file)->ReadAt(uint64_t{1} << 63, BytesOf(&out)).ok());
}

TEST_CASE("a missing file is kNotFound with its path", "[io]") {
  const absl::Status status = InputFile::Open("/nonexistent/model.flash").status();
  CHECK(absl::IsNotFound(status));
  CHECK_THAT(std::string(status.message()), Catch::Contains("/nonexistent/model.flash"));
}

TEST_CASE("an unreadable file is kPermissionDenied", "[io]") {
  if (geteuid() == 0) return;  // root reads everything
  TempDir dir;
  WriteFileOrDie(dir.File("data"), "x");
  REQUIRE(chmod(dir.File("data").c_str(), 0) == 0);
  CHECK(absl::IsPermissionDenied(InputFile::Open(dir.File("data")).status()));
}

TEST_CASE("a FIFO or a folder is refused without blocking", "[io]") {
  TempDir dir;
  REQUIRE(mkfifo(dir.File("fifo").c_str(), 0600) == 0);
  for (const std::string& path : {dir.File("fifo"), dir.path()}) {
    CHECK(absl::IsInvalidArgument(InputFile::Open(path).status()));
    CHECK(absl::IsInvalidArgument(ReadWholeFile(path, 100).status()));
  }
}

TEST_CASE("ReadWholeFile keeps to its limit", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("data"), std::string("a\0b", 3));
  auto content = ReadWholeFile(dir.File("data"), 3);
  REQUIRE_OK(content);
  CHECK(*content == std::string("a\0b", 3));
  const absl::Status status = ReadWholeFile(dir.File("data"), 2).status();
  CHECK(absl::IsInvalidArgument(status));
  CHECK_THAT(std::string(status.message()), Catch::StartsWith(dir.File("data")));
  WriteFileOrDie(dir.File("empty"), "");
  REQUIRE_OK(ReadWholeFile(dir.File("empty"), 0));
}

TEST_CASE("a size that no memory holds is an error before it is read", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("sparse"), "");
  REQUIRE(truncate(dir.File("sparse").c_str(), off_t{15} << 40) == 0);
  CHECK(absl::IsInvalidArgument(ReadWholeFile(dir.File("sparse"), 1 << 20).status()));
}

TEST_CASE("FileExists and IsDirectory", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("data"), "x");
  CHECK(FileExists(dir.File("data")));
  CHECK(FileExists(dir.path()));
  CHECK_FALSE(FileExists(dir.File("none")));
  CHECK(IsDirectory(dir.path()));
  CHECK_FALSE(IsDirectory(dir.File("data")));
  CHECK_FALSE(IsDirectory(dir.File("none")));
}

}  // namespace sluice::testing
