// What is found out at open: is io_uring allowed, does O_DIRECT work.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "lib/io/storage_file.h"
#include "lib/io/storage_syscalls.h"
#include "tests/support/catch.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

constexpr size_t kFileBytes = 100000;

struct Fixture {
  Fixture() : content(RandomBytes(kFileBytes, Seed())) {
    WriteFileOrDie(dir.File("data"), content);
  }
  TempDir dir;
  std::string content;
};

// In a child where `calls` fail: kUring's status, then kAuto's engine, reason, and a read.
std::string Probe(const std::string& path, const std::string& content,
                  const std::vector<int>& calls, int error_number) {
  auto file = StorageFile::Open(path);
  auto memory = AlignedBuffer::Allocate(8192);
  if (!file.ok() || !memory.ok()) return "no file";
  if (!DenySyscalls(calls, error_number)) return "no seccomp";
  const IoSegment buffer{memory->data(), memory->size()};
  const auto uring = MakeIoEngine(*file, EngineChoice::kUring, 8, {&buffer, 1});
  auto engine = MakeIoEngine(*file, EngineChoice::kAuto, 8, {&buffer, 1});
  if (!engine.ok()) return engine.status().ToString();
  return absl::StrCat(uring.status().ToString(), "|", (*engine)->capabilities().engine, "|",
                      (*engine)->capabilities().reason, "|",
                      ReadStart(engine->get(), content, &*memory));
}

bool UringWorks(const std::shared_ptr<StorageFile>& file) {
  return MakeIoEngine(file, EngineChoice::kUring, 1, {}).ok();
}

}  // namespace

TEST_CASE("a blocked io_uring means pread, and the reason says so", "[io]") {
  Fixture f;
  const struct {
    int call;
    int error_number;
    const char* name;
  } cases[] = {{SYS_io_uring_setup, EPERM, "EPERM"},
               {SYS_io_uring_setup, ENOSYS, "ENOSYS"},
               {SYS_io_uring_setup, ENOMEM, "ENOMEM"},
               {SYS_io_uring_setup, EMFILE, "EMFILE"},
               {SYS_io_uring_enter, EPERM, "EPERM"},
               {SYS_io_uring_register, EPERM, "EPERM"}};
  const bool works = UringWorks(*StorageFile::Open(f.dir.File("data")));
  for (const auto& c : cases) {
    const ChildResult child = RunInChild(
        [&] { return Probe(f.dir.File("data"), f.content, {c.call}, c.error_number); });
    INFO(child.output);
    CHECK(child.exited);
    CHECK_THAT(child.output, Catch::StartsWith("UNIMPLEMENTED: io_uring refused"));
    CHECK_THAT(child.output, Catch::Contains("|pread|io_uring refused"));
    CHECK_THAT(child.output, Catch::Contains("; using pread"));
    CHECK_THAT(child.output, Catch::EndsWith("|ok"));
    if (!works) continue;  // refused before it came to this call
    CHECK_THAT(child.output, Catch::Contains(absl::StrCat("io_uring refused (", c.name, ")")));
  }
}

TEST_CASE("O_DIRECT that does not work means buffered reads, with the reason", "[io]") {
  Fixture f;
  StorageSyscalls syscalls = StorageSyscalls::System();
  syscalls.open_direct = [](const std::string& path) {
    return open(path.c_str(), O_RDONLY | O_CLOEXEC);
  };
  syscalls.direct_alignment = [](int) { return 0; };
  syscalls.read_direct = [](int fd, uint64_t offset, absl::Span<std::byte> out) -> int64_t {
    return pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
  };
  const auto open_and_check = [&](const std::string& reason) {
    auto file = StorageFile::OpenWith(f.dir.File("data"), syscalls);
    REQUIRE_OK(file);
    INFO((*file)->direct_reason());
    CHECK((*file)->direct_io() == reason.empty());
    CHECK_THAT((*file)->direct_reason(), Catch::Contains(reason));
    CHECK((*file)->alignment() == (reason.empty() ? 4096u : 1u));
    auto engine = MakeIoEngine(*file, EngineChoice::kAuto, 4, {});
    REQUIRE_OK(engine);
    CHECK_THAT((*engine)->capabilities().reason, Catch::Contains(reason));
    auto memory = AlignedBuffer::Allocate(8192);
    REQUIRE_OK(memory);
    CHECK(ReadStart(engine->get(), f.content, &*memory) == "ok");
  };

  SECTION("it works") { open_and_check(""); }
  SECTION("refused at open") {
    syscalls.open_direct = [](const std::string&) { return -EINVAL; };
    open_and_check("EINVAL");
  }
  SECTION("failing reads") {
    syscalls.read_direct = [](int, uint64_t, absl::Span<std::byte>) -> int64_t { return -EIO; };
    open_and_check("EIO");
  }
  SECTION("short reads") {
    syscalls.read_direct = [](int, uint64_t, absl::Span<std::byte>) -> int64_t { return 512; };
    open_and_check("512 bytes");
  }
  SECTION("other bytes") {
    syscalls.read_direct = [](int fd, uint64_t offset, absl::Span<std::byte> out) -> int64_t {
      const ssize_t got = pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
      out[17] ^= std::byte{4};
      return got;
    };
    open_and_check("other bytes");
  }
  SECTION("the file system says no") {
    syscalls.direct_alignment = [](int) { return -1; };
    open_and_check("says that it cannot");
  }
  SECTION("an alignment beyond reason") {
    syscalls.direct_alignment = [](int) { return 1 << 20; };
    open_and_check("1048576");
  }
  SECTION("another file under the same name") {
    WriteFileOrDie(f.dir.File("other"), f.content);
    syscalls.open_direct = [&](const std::string&) {
      return open(f.dir.File("other").c_str(), O_RDONLY | O_CLOEXEC);
    };
    open_and_check("replaced");
  }
}

// Records are aligned to 4096 bytes: such a device is read through the page cache.
TEST_CASE("a device that wants a larger alignment than records have", "[io]") {
  Fixture f;
  StorageSyscalls syscalls = StorageSyscalls::System();
  syscalls.open_direct = [](const std::string& path) {
    return open(path.c_str(), O_RDONLY | O_CLOEXEC);
  };
  syscalls.direct_alignment = [](int) { return 16384; };
  auto file = StorageFile::OpenWith(f.dir.File("data"), syscalls);
  REQUIRE_OK(file);
  CHECK(!(*file)->direct_io());
  CHECK((*file)->alignment() == 1);
  CHECK_THAT((*file)->direct_reason(), Catch::Contains("16384"));
}

TEST_CASE("what is not a readable regular file is an error with its path", "[io]") {
  TempDir dir;
  CHECK(absl::IsNotFound(StorageFile::Open(dir.File("none")).status()));
  CHECK_THAT(std::string(StorageFile::Open(dir.File("none")).status().message()),
             Catch::Contains(dir.File("none")));
  REQUIRE(mkfifo(dir.File("fifo").c_str(), 0600) == 0);
  for (const std::string& path : {dir.File("fifo"), dir.path(), std::string("/dev/zero")}) {
    const absl::Status status = StorageFile::Open(path).status();
    CHECK(absl::IsInvalidArgument(status));
    CHECK_THAT(std::string(status.message()), Catch::StartsWith(path + ": not a regular file"));
  }
}

TEST_CASE("an empty file opens, and has no bytes", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("empty"), "");
  auto file = StorageFile::Open(dir.File("empty"));
  REQUIRE_OK(file);
  CHECK((*file)->size() == 0);
  std::byte one;
  CHECK(absl::IsDataLoss((*file)->ReadAt(0, {&one, 1})));
}

TEST_CASE("StorageFile::ReadAt says what is missing", "[io]") {
  Fixture f;
  auto file = StorageFile::Open(f.dir.File("data"));
  REQUIRE_OK(file);
  std::string got(1000, '\0');
  const auto out = absl::MakeSpan(reinterpret_cast<std::byte*>(got.data()), got.size());
  REQUIRE_OK((*file)->ReadAt(12345, out));
  CHECK(got == f.content.substr(12345, 1000));
  const absl::Status status = (*file)->ReadAt(kFileBytes - 10, out);
  CHECK(absl::IsDataLoss(status));
  CHECK_THAT(std::string(status.message()),
             Catch::Contains(f.dir.File("data")) && Catch::Contains("offset 99990") &&
                 Catch::Contains("wanted 1000") && Catch::Contains("got 10"));
  CHECK_FALSE((*file)->ReadAt(~uint64_t{0} - 5, out).ok());
}

}  // namespace sluice::testing
