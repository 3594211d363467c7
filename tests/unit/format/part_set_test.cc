// A bundle file in parts: the same bytes as in one file, all of them or an error with a name.
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "lib/format/bundle_output.h"
#include "lib/format/checksum.h"
#include "lib/format/part_set.h"
#include "tests/support/catch.h"
#include "tests/unit/format/bundle_fixture.h"

namespace sluice::testing {
namespace {

constexpr uint64_t kSmallest = kMinPartBytes;

// Large enough for several of the smallest parts, with records of 8 and 12 KiB.
void WriteLarge(const std::string& path, uint64_t seed, uint64_t part_bytes,
                uint64_t expected_bytes = 0, bool predictors = true) {
  auto writer = BundleWriter::Create(path, expected_bytes, absl::StrCat("large ", seed),
                                     part_bytes);
  REQUIRE_OK(writer);
  REQUIRE_OK((*writer)->BeginTensor("embed_tokens", ElementType::kF16, {300, 100}));
  REQUIRE_OK((*writer)->AppendTensor(RandomBytes(60000, seed)));
  REQUIRE_OK((*writer)->EndTensor());
  for (const uint32_t row : {1000, 1500}) {
    const RecordLayout layout = *MakeRecordLayout(37, row, 2, ElementType::kF32);
    REQUIRE_OK((*writer)->BeginLayer(layout));
    REQUIRE_OK((*writer)->AppendRecords(RandomRecords(layout, seed + row)));
    REQUIRE_OK((*writer)->EndLayer());
  }
  REQUIRE_OK((*writer)->SetTokenizer("{\"tokenizer\":1}"));
  REQUIRE_OK((*writer)->Finish({{"config", seed}}));
  if (predictors) {
    REQUIRE_OK((*writer)->ReplacePredictors(SamplePredictors(3, 5, seed), {{"predictors", "p"}}));
  }
  REQUIRE_OK((*writer)->Commit());
}

std::vector<std::string> Names(const TempDir& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// What the parts say one after the other, without their pages.
std::string Payload(const std::string& first) {
  std::string all;
  for (uint32_t n = 1; std::filesystem::exists(PartPath(first, n)); ++n) {
    all += ReadFileOrDie(PartPath(first, n)).substr(kPartPageBytes);
  }
  return all;
}

std::string Message(const std::string& path, absl::StatusCode code) {
  const absl::Status status = BundleFile::Open(path).status();
  INFO(status.ToString());
  CHECK(status.code() == code);
  return std::string(status.message());
}

}  // namespace

TEST_CASE("parts hold the very bytes of the one file", "[format]") {
  TempDir dir;
  const std::string single = dir.File("single.flash"), parted = dir.File("parts.flash");
  WriteLarge(single, 5, 0);
  const std::string whole = ReadFileOrDie(single);
  const uint64_t uuid = (*BundleFile::Open(single))->uuid();
  for (const uint64_t bytes : {kSmallest, kSmallest + 4096, kSmallest + 12345, 3 * kSmallest,
                               uint64_t{1} << 40}) {
    for (const uint64_t expected_bytes : {uint64_t{0}, uint64_t{2} << 20}) {
      INFO("parts of " << bytes << ", expected " << expected_bytes);
      if (bytes >> 40 != 0 && expected_bytes == 0) continue;
      WriteLarge(parted, 5, bytes, expected_bytes);
      REQUIRE_OK(ReadAll(parted));
      CHECK(Payload(parted) == whole);
      const auto file = BundleFile::Open(parted);
      REQUIRE_OK(file);
      CHECK((*file)->uuid() == uuid);
      CHECK((*file)->file_bytes() == whole.size());
      CHECK((*file)->part_bytes() == bytes / 4096 * 4096);
      CHECK((*file)->num_parts() == NumParts(whole.size(), bytes / 4096 * 4096));
      for (uint32_t n = 1; n <= (*file)->num_parts(); ++n) {
        CHECK(std::filesystem::file_size(PartPath(parted, n)) <= bytes);
      }
      // Nothing beside them: no temporary file, no part of the larger number before.
      CHECK(Names(dir).size() == 1 + (*file)->num_parts());
      const auto report = VerifyBundle(**file, {});
      REQUIRE_OK(report);
      CHECK(report->bad.empty());
    }
  }
  WriteLarge(parted, 5, 0);
  CHECK(ReadFileOrDie(parted) == whole);
  CHECK(Names(dir).size() == 2);
}

TEST_CASE("a size that makes no sense is refused", "[format]") {
  TempDir dir;
  const std::string path = dir.File("m.flash");
  const absl::Status small = BundleWriter::Create(path, 0, "x", kSmallest - 1).status();
  CHECK(absl::IsInvalidArgument(small));
  CHECK_THAT(std::string(small.message()),
             Catch::Contains("65535") && Catch::Contains("at least 65536"));
  const absl::Status many =
      BundleWriter::Create(path, (kMaxParts + 1) * kSmallest, "x", kSmallest).status();
  CHECK(absl::IsInvalidArgument(many));
  CHECK_THAT(std::string(many.message()), Catch::Contains("more than 256 parts"));
  CHECK(Names(dir).empty());
}

TEST_CASE("no part appears before all are complete", "[format]") {
  TempDir dir;
  const std::string path = dir.File("m.flash");
  {
    auto output = BundleOutput::Create(path, kSmallest);
    REQUIRE_OK(output);
    REQUIRE_OK((*output)->WriteAt(3 * kSmallest, RandomBytes(100, 1)));
    CHECK((*output)->num_parts() == 4);
    for (const std::string& name : Names(dir)) CHECK(name[0] == '.');
  }
  CHECK(Names(dir).empty());
  // A folder where a part belongs: the last rename that fails takes the others back.
  auto output = BundleOutput::Create(path, kSmallest);
  REQUIRE_OK(output);
  REQUIRE_OK((*output)->WriteAt(3 * kSmallest, RandomBytes(100, 1)));
  REQUIRE(mkdir(PartPath(path, 2).c_str(), 0700) == 0);
  const absl::Status status = (*output)->Commit();
  CHECK_FALSE(status.ok());
  CHECK_THAT(std::string(status.message()), Catch::Contains("m.flash.2"));
  output->reset();
  CHECK(Names(dir) == std::vector<std::string>{"m.flash.2"});
}

TEST_CASE("what earlier runs left of parts is removed", "[format]") {
  TempDir dir;
  for (const char* name : {".m.flash.sluice-tmp-1-2", ".m.flash.sluice-tmp-1-2.2",
                           ".m.flash.sluice-tmp-1-2.13", ".m.flash.sluice-tmp-1-2.x"}) {
    WriteFileOrDie(dir.File(name), "left");
  }
  WriteLarge(dir.File("m.flash"), 1, 0);
  CHECK(Names(dir) == std::vector<std::string>{".m.flash.sluice-tmp-1-2.x", "m.flash"});
}

struct Parted {
  Parted() {
    WriteLarge(path, 5, kSmallest);
    num_parts = (*BundleFile::Open(path))->num_parts();
    REQUIRE(num_parts > 4);
    good = ReadFileOrDie(third);
  }
  TempDir dir;
  const std::string path = dir.File("m.flash");
  const std::string third = PartPath(path, 3);
  std::string good;  // the third's bytes
  uint32_t num_parts = 0;
};

TEST_CASE_METHOD(Parted, "missing, cut and surplus parts are named", "[format]") {
  SECTION("missing") {
    for (uint32_t n = 2; n <= num_parts; ++n) {
      const std::string part = PartPath(path, n), away = dir.File("away");
      std::filesystem::rename(part, away);
      CHECK_THAT(Message(path, absl::StatusCode::kNotFound),
                 Catch::StartsWith(absl::StrCat(part, ": is missing, part ", n, " of ")));
      std::filesystem::rename(away, part);
    }
  }
  SECTION("cut, and longer") {
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{17}, uint64_t{4096}, kSmallest - 1,
                                 kSmallest + 4096}) {
      std::string other = good;
      other.resize(bytes);
      WriteFileOrDie(third, other);
      const std::string message = Message(path, absl::StatusCode::kDataLoss);
      CHECK_THAT(message, Catch::StartsWith(third));
      if (bytes >= 4096) {
        CHECK_THAT(message, Catch::Contains(absl::StrCat(bytes, " bytes, expected 65536")));
      }
    }
  }
  SECTION("one too many") {
    const std::string more = PartPath(path, num_parts + 1);
    WriteFileOrDie(more, "notes of somebody's");
    REQUIRE_OK(ReadAll(path));
    WriteFileOrDie(more, good);
    CHECK_THAT(Message(path, absl::StatusCode::kDataLoss),
               Catch::StartsWith(more + ": a part too many"));
  }
  SECTION("the second one is named") {
    CHECK_THAT(Message(PartPath(path, 2), absl::StatusCode::kInvalidArgument),
               Catch::Contains("is part 2 of") && Catch::Contains("name the first"));
  }
}

TEST_CASE_METHOD(Parted, "a part of another file is in nobody's way unnoticed", "[format]") {
  WriteLarge(dir.File("other.flash"), 6, kSmallest);
  const std::string next = PartPath(dir.File("new.flash"), 3);
  std::filesystem::copy_file(dir.File("other.flash.3"), next);
  auto output = BundleOutput::Create(dir.File("new.flash"), kSmallest);
  REQUIRE_OK(output);
  REQUIRE_OK((*output)->WriteAt(kSmallest, Bytes(100)));
  const absl::Status status = (*output)->Commit();
  CHECK(absl::IsInvalidArgument(status));
  CHECK_THAT(std::string(status.message()), Catch::StartsWith(next + ": a part of another file"));
  output->reset();
  CHECK(std::filesystem::exists(next));
  CHECK_FALSE(std::filesystem::exists(dir.File("new.flash")));
  CHECK_FALSE(std::filesystem::exists(dir.File("new.flash.2")));
}

TEST_CASE_METHOD(Parted, "foreign parts are named", "[format]") {
  SECTION("of another file") {
    WriteLarge(dir.File("other.flash"), 6, kSmallest);
    std::filesystem::copy_file(dir.File("other.flash.3"), third,
                               std::filesystem::copy_options::overwrite_existing);
    CHECK_THAT(Message(path, absl::StatusCode::kDataLoss),
               Catch::StartsWith(third + ": does not belong to " + path + ", uuid: expected"));
  }
  SECTION("of the same file, trained otherwise") {
    auto writer = BundleWriter::Edit(path);
    REQUIRE_OK(writer);
    REQUIRE_OK((*writer)->ReplacePredictors(SamplePredictors(3, 5, 9), {{"predictors", "q"}}));
    REQUIRE_OK((*writer)->Commit());
    REQUIRE_OK(ReadAll(path));
    CHECK((*BundleFile::Open(path))->part_bytes() == kSmallest);
    WriteFileOrDie(third, good);
    CHECK_THAT(Message(path, absl::StatusCode::kDataLoss),
               Catch::Contains("checksum of the header"));
  }
  SECTION("in the wrong place") {
    std::filesystem::copy_file(PartPath(path, 2), third,
                               std::filesystem::copy_options::overwrite_existing);
    CHECK_THAT(Message(path, absl::StatusCode::kDataLoss),
               Catch::Contains("part number: expected 3, found 2"));
  }
  SECTION("of other sizes") {
    WriteLarge(dir.File("other.flash"), 5, kSmallest + 4096);
    std::filesystem::copy_file(dir.File("other.flash.3"), third,
                               std::filesystem::copy_options::overwrite_existing);
    CHECK_THAT(Message(path, absl::StatusCode::kDataLoss), Catch::StartsWith(third));
  }
  SECTION("no part at all") {
    WriteFileOrDie(third, std::string(kSmallest, 'x'));
    CHECK_THAT(Message(path, absl::StatusCode::kDataLoss), Catch::Contains("no part of anything"));
  }
}

TEST_CASE("any byte of a part page that is wrong is found", "[format]") {
  TempDir dir;
  const std::string path = dir.File("m.flash");
  WriteLarge(path, 5, kSmallest);
  for (const uint32_t n : {1, 2}) {
    const std::string part = PartPath(path, n), good = ReadFileOrDie(part);
    for (size_t at = 0; at < kPartPageBytes; at += at < 96 || at >= 4080 ? 1 : 331) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 1);
      WriteFileOrDie(part, bad);
      INFO("byte " << at << " of " << part);
      const absl::Status status = BundleFile::Open(path).status();
      CHECK_FALSE(status.ok());
      CHECK_THAT(std::string(status.message()), Catch::StartsWith(part + ": "));
    }
    WriteFileOrDie(part, good);
  }
  REQUIRE_OK(ReadAll(path));
}

// Pages whose hash is right and whose numbers are not.
TEST_CASE("a part page that lies is refused", "[format]") {
  PartPage good;
  good.number = 2;
  good.num_parts = 3;
  good.part_bytes = 65536;
  good.bundle_bytes = 2 * 61440 + 4096;
  Bytes page(kPartPageBytes);
  const auto decode = [&](const std::function<void(PartPage*)>& change) {
    PartPage part = good;
    change(&part);
    EncodePartPage(part, absl::MakeSpan(page));
    return DecodePartPage(page, "x").status().code();
  };
  CHECK(decode([](PartPage*) {}) == absl::StatusCode::kOk);
  CHECK(good.bytes_of(3) == 8192);
  const auto kBad = absl::StatusCode::kDataLoss;
  CHECK(decode([](PartPage* p) { p->number = 0; }) == kBad);
  CHECK(decode([](PartPage* p) { p->number = 4; }) == kBad);
  CHECK(decode([](PartPage* p) { p->num_parts = 2; }) == kBad);
  CHECK(decode([](PartPage* p) { p->num_parts = 0; }) == kBad);
  CHECK(decode([](PartPage* p) { p->num_parts = ~0u; }) == kBad);
  CHECK(decode([](PartPage* p) { p->part_bytes = 0; }) == kBad);
  CHECK(decode([](PartPage* p) { p->part_bytes = 4096; }) == kBad);
  CHECK(decode([](PartPage* p) { p->part_bytes = 65537; }) == kBad);
  CHECK(decode([](PartPage* p) { p->part_bytes = ~uint64_t{4095}; }) == kBad);
  CHECK(decode([](PartPage* p) { p->bundle_bytes = 0; }) == kBad);
  CHECK(decode([](PartPage* p) { p->bundle_bytes = ~uint64_t{4095}; }) == kBad);
  CHECK(decode([](PartPage* p) { p->bundle_bytes += 1; }) == kBad);
  EncodePartPage(good, absl::MakeSpan(page));
  StoreU32(2, page.data() + 8);
  StoreU64(Xxh3(absl::MakeConstSpan(page).first(4088)), page.data() + 4088);
  CHECK(absl::IsUnimplemented(DecodePartPage(page, "x").status()));
  page[8] = std::byte{1};
  page[100] = std::byte{1};
  StoreU64(Xxh3(absl::MakeConstSpan(page).first(4088)), page.data() + 4088);
  CHECK(DecodePartPage(page, "x").status().code() == kBad);
}

TEST_CASE("parts cannot be found from a descriptor", "[format]") {
  TempDir dir;
  const std::string path = dir.File("m.flash");
  WriteLarge(path, 5, kSmallest);
  auto storage = StorageFile::Open(path);
  REQUIRE_OK(storage);
  const absl::Status status = BundleFile::Open(*storage).status();
  CHECK(absl::IsInvalidArgument(status));
  CHECK_THAT(std::string(status.message()), Catch::Contains("by the path of the first"));
}

TEST_CASE("records of parts are put into another order", "[format]") {
  TempDir dir;
  const std::string single = dir.File("single.flash"), parted = dir.File("parts.flash");
  WriteLarge(single, 5, 0);
  WriteLarge(parted, 5, kSmallest);
  std::vector<uint32_t> order(37);
  for (uint32_t i = 0; i < 37; ++i) order[i] = (i * 5 + 3) % 37;
  for (const std::string& path : {single, parted}) {
    auto writer = BundleWriter::Edit(path);
    REQUIRE_OK(writer);
    REQUIRE_OK((*writer)->ReorderNeurons(1, order, ""));
    CHECK_FALSE(BundleFile::Open((*writer)->temporary_path()).ok());
    REQUIRE_OK((*writer)->ReplacePredictors({}, {{"predictors", nullptr}}));
    REQUIRE_OK(ReadAll((*writer)->temporary_path()));
    REQUIRE_OK((*writer)->Commit());
    REQUIRE_OK(ReadAll(path));
  }
  CHECK(Payload(parted) == ReadFileOrDie(single));
}

}  // namespace sluice::testing
