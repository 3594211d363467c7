// Damage anywhere in the file is found, or lies where nobody reads.
#include <algorithm>
#include <fstream>
#include <random>

#include "absl/strings/match.h"
#include "lib/format/checksum.h"
#include "tests/support/catch.h"
#include "tests/unit/format/bundle_fixture.h"

namespace sluice {
namespace {

using testing::MakeSampleFile;
using testing::ReadAll;
using testing::ReadFileOrDie;
using testing::TempDir;
using testing::WriteFileOrDie;

std::string SampleFile(const TempDir& dir) {
  MakeSampleFile(dir.File("whole.flash"));
  return ReadFileOrDie(dir.File("whole.flash"));
}

TEST_CASE("Every flipped bit of the header page is an error", "[format]") {
  const TempDir dir;
  std::string file = SampleFile(dir);
  const auto page = AsBytes(file).first(kHeaderBytes);
  REQUIRE_OK(DecodeHeader(page, file.size(), "file"));
  for (size_t bit = 0; bit < kHeaderBytes * 8; ++bit) {
    file[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const absl::Status status = DecodeHeader(page, file.size(), "file").status();
    file[bit / 8] ^= static_cast<char>(1 << bit % 8);
    INFO("bit " << bit << ": " << status.ToString());
    const bool in_magic = bit / 8 < kMagic.size();
    REQUIRE(status.code() == (in_magic ? absl::StatusCode::kInvalidArgument
                                       : absl::StatusCode::kDataLoss));
    REQUIRE(absl::StrContains(status.message(), "file: "));
  }
  REQUIRE_OK(DecodeHeader(page, file.size(), "file"));
}

// Whether a checksum covers this byte: the header page, a section with a hash, a tensor, a record.
bool IsCovered(const BundleFile& file, uint64_t at) {
  if (at < kHeaderBytes) return true;
  for (const TensorEntry& tensor : file.tensors()) {
    if (at >= tensor.offset && at < tensor.offset + tensor.bytes) return true;
  }
  for (const Section& section : file.sections()) {
    const bool in_pieces = section.kind == SectionKind::kResident ||
                           section.kind == SectionKind::kPredictors;
    if (!in_pieces && at >= section.offset && at < section.offset + section.bytes) return true;
  }
  return false;
}

void SetByte(const std::string& path, uint64_t at, char value) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(value);
  REQUIRE(file.flush().good());
}

TEST_CASE("A flipped bit anywhere is found, or is in padding and found by verify", "[format]") {
  const TempDir dir;
  const std::string content = SampleFile(dir);
  const auto whole = BundleFile::Open(dir.File("whole.flash"));
  REQUIRE_OK(whole);
  std::mt19937_64 random(testing::Seed());
  const std::string path = dir.File("flipped.flash");
  WriteFileOrDie(path, content);
  uint64_t at = 0;
  size_t covered = 0, padding = 0;
  for (int i = 0; i < 2000; ++i) {
    SetByte(path, at, content[at]);
    at = random() % content.size();
    SetByte(path, at, static_cast<char>(content[at] ^ 1 << random() % 8));
    const absl::Status status = ReadAll(path);
    INFO("byte " << at << ": " << status.ToString());
    if (IsCovered(**whole, at)) {
      REQUIRE_FALSE(status.ok());
      ++covered;
      continue;
    }
    REQUIRE_OK(status);
    const auto file = BundleFile::Open(path);
    REQUIRE_OK(file);
    const auto report = VerifyBundle(**file, {});
    REQUIRE_OK(report);
    REQUIRE(report->bad.size() == 1);
    REQUIRE(absl::StrContains(report->bad[0], "padding"));
    ++padding;
  }
  CHECK(covered > 1000);
  CHECK(padding > 100);
}

TEST_CASE("A truncated or longer file is an error that names both sizes", "[format]") {
  const TempDir dir;
  const std::string content = SampleFile(dir);
  const std::string path = dir.File("cut.flash");
  std::vector<uint64_t> sizes = {0, 1, 7, 8, 100, 4095, 4097, content.size() - 1,
                                 content.size() + 1, content.size() + 4096};
  for (uint64_t size = 4096; size < content.size(); size += 4096) sizes.push_back(size);
  std::mt19937_64 random(testing::Seed());
  for (int i = 0; i < 50; ++i) sizes.push_back(random() % content.size());
  for (uint64_t size : sizes) {
    std::string cut = content;
    cut.resize(size);
    WriteFileOrDie(path, cut);
    const absl::Status status = BundleFile::Open(path).status();
    INFO(size << ": " << status.ToString());
    REQUIRE(status.code() == (size < 8 ? absl::StatusCode::kInvalidArgument
                                       : absl::StatusCode::kDataLoss));
    REQUIRE(absl::StrContains(status.message(), path));
    if (size < 8) continue;
    REQUIRE(absl::StrContains(status.message(), std::to_string(size)));
    if (size >= 4096) {
      REQUIRE(absl::StrContains(status.message(), std::to_string(content.size())));
    }
  }
}

TEST_CASE("Files that are no bundle files are refused", "[format]") {
  const TempDir dir;
  CHECK(absl::IsNotFound(BundleFile::Open(dir.File("none")).status()));
  CHECK_FALSE(BundleFile::Open(dir.path()).ok());
  WriteFileOrDie(dir.File("text"), std::string(10000, 'a'));
  CHECK(absl::IsInvalidArgument(BundleFile::Open(dir.File("text")).status()));
  WriteFileOrDie(dir.File("zeros"), std::string(8192, '\0'));
  CHECK(absl::IsInvalidArgument(BundleFile::Open(dir.File("zeros")).status()));
}

TEST_CASE("Right bytes in the wrong place are found", "[format]") {
  const TempDir dir;
  std::string content = SampleFile(dir);
  const auto whole = BundleFile::Open(dir.File("whole.flash"));
  REQUIRE_OK(whole);
  const RecordLayout& layout = (*whole)->layers()[1];
  const auto at = content.begin() + static_cast<ptrdiff_t>(layout.offset);
  const auto length = static_cast<ptrdiff_t>(layout.record_bytes);
  std::swap_ranges(at, at + length, at + length);
  WriteFileOrDie(dir.File("swapped.flash"), content);
  CHECK(absl::IsDataLoss(ReadAll(dir.File("swapped.flash"))));
  const auto file = BundleFile::Open(dir.File("swapped.flash"));
  REQUIRE_OK(file);
  const auto report = VerifyBundle(**file, {});
  REQUIRE_OK(report);
  REQUIRE(report->bad.size() == 2);
  const std::string place =
      "layer 1, record 0 (neurons 0 to 0) at " + std::to_string(layout.offset);
  CHECK(absl::StrContains(report->bad[0], place));
  CHECK(absl::StrContains(report->bad[0], "expected checksum"));
}

TEST_CASE("The same record has another checksum in every place and file", "[format]") {
  const testing::Bytes record = testing::RandomBytes(4096, 1);
  const uint64_t here = Xxh3(record, RecordSeed(1, 2, 3));
  CHECK(here == Xxh3(record, RecordSeed(1, 2, 3)));
  CHECK(here != Xxh3(record, RecordSeed(2, 2, 3)));
  CHECK(here != Xxh3(record, RecordSeed(1, 3, 3)));
  CHECK(here != Xxh3(record, RecordSeed(1, 2, 4)));
  CHECK(here != Xxh3(record, RecordSeed(1, 3, 2)));
}

// Another implementation must be able to compute these.
TEST_CASE("Hashes have fixed values", "[format]") {
  CHECK(HashToHex(Xxh3(AsBytes(""))) == "2d06800538d394c2");
  CHECK(*HashFromHex("2d06800538d394c2") == 0x2d06800538d394c2u);
  for (const char* bad : {"", "2d06800538d394c", "2d06800538d394c22", "2D06800538D394C2",
                          "0x06800538d394c2", " d06800538d394c2"}) {
    CHECK_FALSE(HashFromHex(bad).ok());
  }
}

TEST_CASE("Verify reports every damaged place and goes on", "[format]") {
  const TempDir dir;
  std::string content = SampleFile(dir);
  const auto whole = BundleFile::Open(dir.File("whole.flash"));
  REQUIRE_OK(whole);
  const Section* tokenizer = nullptr;
  for (const Section& section : (*whole)->sections()) {
    if (section.kind == SectionKind::kTokenizer) tokenizer = &section;
  }
  REQUIRE(tokenizer != nullptr);
  content[(*whole)->FindTensor("final_norm.weight")->offset] ^= 1;
  content[(*whole)->FindTensor("layers.1.predictor.bias")->offset] ^= 1;
  content[(*whole)->layers()[0].record_offset(1)] ^= 1;
  content[tokenizer->offset] ^= 1;
  content[tokenizer->offset + tokenizer->bytes] ^= 1;
  WriteFileOrDie(dir.File("bad.flash"), content);
  const auto file = BundleFile::Open(dir.File("bad.flash"));
  REQUIRE_OK(file);
  const auto report = VerifyBundle(**file, {});
  REQUIRE_OK(report);
  REQUIRE(report->bad.size() == 5);
  CHECK(absl::StrContains(report->bad[0], "tensor \"final_norm.weight\""));
  CHECK(absl::StrContains(report->bad[1], "layer 0, record 1 (neurons 16 to 20)"));
  CHECK(absl::StrContains(report->bad[2], "(tokenizer)"));
  CHECK(absl::StrContains(report->bad[3], "padding from"));
  CHECK(absl::StrContains(report->bad[4], "tensor \"layers.1.predictor.bias\""));
  CHECK(absl::IsDataLoss((*file)->ReadTokenizer().status()));
}

}  // namespace
}  // namespace sluice
