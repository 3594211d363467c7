#include "lib/format/bundle_writer.h"

#include <cstdlib>
#include <filesystem>

#include <unistd.h>

#include "absl/strings/match.h"
#include "tests/support/catch.h"
#include "tests/unit/format/bundle_fixture.h"

namespace sluice {
namespace {

using testing::Bytes;
using testing::MakeSample;
using testing::TempDir;
using testing::WriteSample;

size_t FilesIn(const TempDir& dir) {
  const std::filesystem::directory_iterator all(dir.path());
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

std::unique_ptr<BundleWriter> Writer(const TempDir& dir) {
  auto writer = BundleWriter::Create(dir.File("m.flash"), 0, "x");
  REQUIRE_OK(writer);
  return *std::move(writer);
}

void CheckOutOfOrder(const absl::Status& status) {
  INFO(status.ToString());
  CHECK(absl::IsFailedPrecondition(status));
}

const RecordLayout kLayout = *MakeRecordLayout(3, 1024, 2, ElementType::kF16);

TEST_CASE("Calls out of order are refused, and everything after them", "[format]") {
  const TempDir dir;
  const Bytes four(4);
  const nlohmann::json none = nlohmann::json::object();
  using Calls = std::function<absl::Status(BundleWriter*)>;
  const auto tensor = [](BundleWriter* w) { return w->BeginTensor("t", ElementType::kF32, {1}); };
  const Calls cases[] = {
      [&](BundleWriter* w) { return w->AppendTensor(four); },
      [&](BundleWriter* w) { return w->EndTensor(); },
      [&](BundleWriter* w) { return w->AppendRecords(four); },
      [&](BundleWriter* w) { return w->EndLayer(); },
      [&](BundleWriter* w) { return w->Commit(); },
      [&](BundleWriter* w) { return w->ReplacePredictors({}, none); },
      [&](BundleWriter* w) { return tensor(w).ok() ? tensor(w) : absl::OkStatus(); },
      [&](BundleWriter* w) { return tensor(w).ok() ? w->Finish(none) : absl::OkStatus(); },
      [&](BundleWriter* w) { return tensor(w).ok() ? w->BeginLayer(kLayout) : absl::OkStatus(); },
      [&](BundleWriter* w) {
        return w->BeginLayer(kLayout).ok() ? w->SetTokenizer("{}") : absl::OkStatus();
      },
      [&](BundleWriter* w) { return w->BeginLayer(kLayout).ok() ? tensor(w) : absl::OkStatus(); },
      [&](BundleWriter* w) {
        return w->SetTokenizer("{}").ok() ? w->SetTokenizer("{}") : absl::OkStatus();
      },
      [&](BundleWriter* w) { return w->SetTokenizer("{}").ok() ? tensor(w) : absl::OkStatus(); },
      [&](BundleWriter* w) { return w->Finish(none).ok() ? w->Finish(none) : absl::OkStatus(); },
      [&](BundleWriter* w) { return w->Finish(none).ok() ? tensor(w) : absl::OkStatus(); },
      [&](BundleWriter* w) {
        return w->Finish(none).ok() && w->Commit().ok() ? w->Commit() : absl::OkStatus();
      },
  };
  for (const Calls& calls : cases) {
    auto writer = Writer(dir);
    CheckOutOfOrder(calls(writer.get()));
    CheckOutOfOrder(writer->Finish(none));
    CheckOutOfOrder(writer->Commit());
  }
}

TEST_CASE("A failed or dropped writer leaves nothing behind", "[format]") {
  const TempDir dir;
  {
    auto writer = Writer(dir);
    REQUIRE_OK(WriteSample(MakeSample(1), writer.get()));
    CHECK(FilesIn(dir) == 1);
  }
  CHECK(FilesIn(dir) == 0);
  {
    auto writer = Writer(dir);
    CHECK_FALSE(writer->EndTensor().ok());
  }
  CHECK(FilesIn(dir) == 0);
}

TEST_CASE("An unfinished file is no bundle file", "[format]") {
  const TempDir dir;
  auto writer = Writer(dir);
  REQUIRE_OK(writer->BeginTensor("t", ElementType::kF32, {1 << 20}));
  REQUIRE_OK(writer->AppendTensor(Bytes(4 << 20)));
  REQUIRE_OK(writer->EndTensor());
  CHECK(absl::IsInvalidArgument(BundleFile::Open(writer->temporary_path()).status()));
}

TEST_CASE("Tensors that do not fit what was said are refused", "[format]") {
  const TempDir dir;
  auto writer = Writer(dir);
  const auto invalid = [](const absl::Status& status) {
    INFO(status.ToString());
    CHECK(absl::IsInvalidArgument(status));
  };
  SECTION("too long") {
    REQUIRE_OK(writer->BeginTensor("t", ElementType::kF32, {2}));
    invalid(writer->AppendTensor(Bytes(9)));
  }
  SECTION("too short") {
    REQUIRE_OK(writer->BeginTensor("t", ElementType::kF32, {2}));
    REQUIRE_OK(writer->AppendTensor(Bytes(7)));
    invalid(writer->EndTensor());
  }
  SECTION("name twice") {
    REQUIRE_OK(writer->BeginTensor("t", ElementType::kF32, {1}));
    REQUIRE_OK(writer->AppendTensor(Bytes(4)));
    REQUIRE_OK(writer->EndTensor());
    invalid(writer->BeginTensor("t", ElementType::kF32, {1}));
  }
  SECTION("name") { invalid(writer->BeginTensor("a b", ElementType::kF32, {1})); }
  SECTION("empty") { invalid(writer->BeginTensor("t", ElementType::kF32, {4, 0})); }
  SECTION("rank") { invalid(writer->BeginTensor("t", ElementType::kF32, {})); }
  SECTION("wraps") {
    invalid(writer->BeginTensor("t", ElementType::kF32, {UINT64_MAX / 2, 3}));
  }
  SECTION("predictor named as a resident tensor") {
    REQUIRE_OK(WriteSample(MakeSample(1), writer.get()));
    invalid(writer->ReplacePredictors(
        {{"embed_tokens", ElementType::kF32, {1}, Bytes(4)}}, nlohmann::json::object()));
    CheckOutOfOrder(writer->Commit());
  }
  SECTION("predictor of another size") {
    REQUIRE_OK(WriteSample(MakeSample(1), writer.get()));
    invalid(writer->ReplacePredictors({{"p", ElementType::kF32, {1}, Bytes(3)}},
                                      nlohmann::json::object()));
  }
}

TEST_CASE("Records that do not fit the layout are refused", "[format]") {
  const TempDir dir;
  auto writer = Writer(dir);
  const auto invalid = [](const absl::Status& status) {
    INFO(status.ToString());
    CHECK(absl::IsInvalidArgument(status));
  };
  RecordLayout layout = kLayout;
  SECTION("layout") {
    layout.record_bytes = 4097;
    invalid(writer->BeginLayer(layout));
  }
  SECTION("half a record") {
    REQUIRE_OK(writer->BeginLayer(layout));
    invalid(writer->AppendRecords(Bytes(2048)));
  }
  SECTION("too many") {
    REQUIRE_OK(writer->BeginLayer(layout));
    invalid(writer->AppendRecords(Bytes(4 * 4096)));
  }
  SECTION("too few") {
    REQUIRE_OK(writer->BeginLayer(layout));
    REQUIRE_OK(writer->AppendRecords(Bytes(2 * 4096)));
    invalid(writer->EndLayer());
  }
  SECTION("padding") {
    layout = *MakeRecordLayout(3, 32, 2, ElementType::kF32);
    REQUIRE_OK(writer->BeginLayer(layout));
    Bytes record(4096);
    record[3 * 256] = std::byte{1};
    const absl::Status status = writer->AppendRecords(record);
    invalid(status);
    CHECK(absl::StrContains(status.message(), "padding"));
  }
}

TEST_CASE("Manifests that a reader would refuse are not written", "[format]") {
  const TempDir dir;
  nlohmann::json deep = nlohmann::json::object();
  for (int i = 0; i < 100; ++i) deep = {{"a", deep}};
  const nlohmann::json cases[] = {
      nlohmann::json::array(), "text", {{"tensors", 1}}, {{"layers", 1}}, {{"format", 1}},
      {{"a", "\xff"}}, deep};
  for (const nlohmann::json& manifest : cases) {
    auto writer = Writer(dir);
    const absl::Status status = writer->Finish(manifest);
    INFO(status.ToString());
    CHECK(absl::IsInvalidArgument(status));
  }
  auto writer = Writer(dir);
  CHECK(absl::IsInvalidArgument(writer->SetTokenizer("")));
}

TEST_CASE("Memory does not grow with a tensor; pieces of any size give the same file",
          "[format]") {
  const TempDir dir;
  const Bytes data = testing::RandomBytes(3 << 20, 5);
  std::string files[2];
  for (size_t piece : {size_t{4999}, size_t{2 << 20}}) {
    auto writer = Writer(dir);
    REQUIRE_OK(writer->BeginTensor("t", ElementType::kF16, {3, 1 << 19}));
    for (size_t at = 0; at < data.size(); at += piece) {
      REQUIRE_OK(writer->AppendTensor(
          absl::MakeConstSpan(data).subspan(at, std::min(piece, data.size() - at))));
    }
    REQUIRE_OK(writer->EndTensor());
    REQUIRE_OK(writer->Finish(nlohmann::json::object()));
    REQUIRE_OK(writer->Commit());
    REQUIRE_OK(testing::ReadAll(dir.File("m.flash")));
    files[piece == 4999] = testing::ReadFileOrDie(dir.File("m.flash"));
  }
  CHECK(files[0] == files[1]);
}

TEST_CASE("Edit refuses what is no bundle file and leaves it alone", "[format]") {
  const TempDir dir;
  CHECK(absl::IsNotFound(BundleWriter::Edit(dir.File("none")).status()));
  testing::WriteFileOrDie(dir.File("text"), "hello");
  CHECK(absl::IsInvalidArgument(BundleWriter::Edit(dir.File("text")).status()));
  CHECK(testing::ReadFileOrDie(dir.File("text")) == "hello");
  CHECK(FilesIn(dir) == 1);
}

// A file system of 1 MiB; mounting one takes root.
class SmallDisk {
 public:
  SmallDisk() {
    const std::string command = "mount -t tmpfs -o size=1m tmpfs " + dir_.path() + " 2>/dev/null";
    mounted_ = geteuid() == 0 && std::system(command.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_ && std::system(("umount " + dir_.path()).c_str()) != 0) {
      WARN("cannot unmount " << dir_.path());
    }
  }
  bool mounted() const { return mounted_; }
  const TempDir& dir() const { return dir_; }

 private:
  TempDir dir_;
  bool mounted_ = false;
};

TEST_CASE("A full disk is an error and leaves nothing behind", "[format]") {
  const SmallDisk disk;
  if (!disk.mounted()) {
    WARN("not root, or no mount: a full disk was not tried");
    return;
  }
  const auto reserved = BundleWriter::Create(disk.dir().File("m.flash"), 64 << 20, "x");
  INFO(reserved.status().ToString());
  CHECK(absl::IsResourceExhausted(reserved.status()));
  CHECK(FilesIn(disk.dir()) == 0);
  {
    auto writer = Writer(disk.dir());
    REQUIRE_OK(writer->BeginTensor("t", ElementType::kF32, {1 << 20}));
    const absl::Status status = writer->AppendTensor(Bytes(4 << 20));
    INFO(status.ToString());
    CHECK(absl::IsResourceExhausted(status));
    CheckOutOfOrder(writer->EndTensor());
  }
  CHECK(FilesIn(disk.dir()) == 0);
}

}  // namespace
}  // namespace sluice
