#include "lib/format/bundle_file.h"

#include <cstring>

#include "lib/format/checksum.h"
#include "tests/support/catch.h"
#include "tests/unit/format/bundle_fixture.h"

namespace sluice {
namespace {

using testing::Bytes;
using testing::MakeSample;
using testing::MakeSampleFile;
using testing::ReadFileOrDie;
using testing::Sample;
using testing::SamplePredictors;
using testing::TempDir;
using testing::WriteSample;

void CheckHolds(const BundleFile& file, const std::string& name, ElementType type,
                const std::vector<uint64_t>& shape, const Bytes& data) {
  INFO(name);
  const TensorEntry* entry = file.FindTensor(name);
  REQUIRE(entry != nullptr);
  CHECK(entry->type == type);
  CHECK(entry->shape == shape);
  CHECK(entry->offset % 4096 == 0);
  REQUIRE(entry->bytes == data.size());
  Bytes read(entry->bytes);
  REQUIRE_OK(file.ReadTensor(*entry, absl::MakeSpan(read)));
  CHECK(read == data);
  Bytes scratch(7), pieces;
  REQUIRE_OK(file.ReadTensorInPieces(
      *entry, absl::MakeSpan(scratch), [&](absl::Span<const std::byte> piece) {
        CHECK(piece.size() <= scratch.size());
        pieces.insert(pieces.end(), piece.begin(), piece.end());
      }));
  CHECK(pieces == data);
}

// Layers, tensors and tokenizer of `file` are those of `sample`.
void CheckHolds(const BundleFile& file, const Sample& sample) {
  for (const auto& t : sample.tensors) CheckHolds(file, t.name, t.type, t.shape, t.data);
  REQUIRE(file.layers().size() == sample.layers.size());
  for (uint32_t layer = 0; layer < file.layers().size(); ++layer) {
    const RecordLayout& layout = file.layers()[layer];
    const auto& expected = sample.layers[layer];
    CHECK(layout.num_neurons == expected.layout.num_neurons);
    CHECK(layout.rows_per_neuron == expected.layout.rows_per_neuron);
    CHECK(layout.type == expected.layout.type);
    REQUIRE(layout.record_bytes == expected.layout.record_bytes);
    REQUIRE(layout.num_records == expected.layout.num_records);
    Bytes records(expected.records.size());
    REQUIRE_OK(file.storage()->ReadAt(layout.offset, absl::MakeSpan(records)));
    CHECK(records == expected.records);
    for (uint32_t record = 0; record < layout.num_records; ++record) {
      const auto bytes = absl::MakeConstSpan(records).subspan(
          static_cast<size_t>(record) * layout.record_bytes, layout.record_bytes);
      REQUIRE_OK(file.VerifyRecord(layer, record, bytes));
    }
  }
  const auto tokenizer = file.ReadTokenizer();
  REQUIRE_OK(tokenizer);
  CHECK(*tokenizer == sample.tokenizer);
  CHECK(file.manifest()["config"] == sample.manifest["config"]);
}

void CheckVerifies(const BundleFile& file) {
  uint64_t records = 0;
  for (const RecordLayout& layout : file.layers()) records += layout.num_records;
  uint64_t last_done = 0, total = 0;
  const auto report = VerifyBundle(file, [&](uint64_t done, uint64_t all) {
    CHECK(done > last_done);
    last_done = done;
    total = all;
    return true;
  });
  REQUIRE_OK(report);
  CHECK(report->bad.empty());
  CHECK(report->records == records);
  CHECK(last_done == file.file_bytes());
  CHECK(total == file.file_bytes());
}

TEST_CASE("What is written is read back", "[format]") {
  const TempDir dir;
  const std::string path = dir.File("m.flash");
  const Sample sample = MakeSample(testing::Seed());
  auto writer = BundleWriter::Create(path, 1 << 20, "identity");
  REQUIRE_OK(writer);
  REQUIRE_OK(WriteSample(sample, writer->get()));

  SECTION("under the temporary name after Finish") {
    const auto file = BundleFile::Open((*writer)->temporary_path());
    REQUIRE_OK(file);
    CheckHolds(**file, sample);
    CHECK((*file)->file_bytes() == (*writer)->file_bytes());
  }
  REQUIRE_OK((*writer)->Commit());
  writer->reset();
  const auto file = BundleFile::Open(path);
  REQUIRE_OK(file);
  CheckHolds(**file, sample);
  CheckVerifies(**file);
  CHECK((*file)->major_version() == BundleFile::kMajorVersion);
  CHECK((*file)->uuid() == Xxh3(testing::AsBytes("identity")));
  CHECK((*file)->FindTensor("no such tensor") == nullptr);
  CHECK((*file)->path() == path);
  CHECK((*file)->resident_bytes() > 8 * (2 + 3 + 2));
  CHECK_FALSE((*file)->manifest().contains("tensors"));
  std::vector<SectionKind> kinds;
  for (const Section& section : (*file)->sections()) {
    kinds.push_back(section.kind);
    CHECK(section.offset % 4096 == 0);
  }
  CHECK(kinds == std::vector<SectionKind>{SectionKind::kResident, SectionKind::kRecords,
                                          SectionKind::kChecksums, SectionKind::kTokenizer,
                                          SectionKind::kManifest});
}

TEST_CASE("A file of nothing but a manifest is a bundle file", "[format]") {
  const TempDir dir;
  const std::string path = dir.File("m.flash");
  auto writer = BundleWriter::Create(path, 0, "");
  REQUIRE_OK(writer);
  REQUIRE_OK((*writer)->Finish({{"note", "empty"}}));
  REQUIRE_OK((*writer)->Commit());
  const auto file = BundleFile::Open(path);
  REQUIRE_OK(file);
  CHECK((*file)->file_bytes() == 8192);
  CHECK((*file)->manifest()["note"] == "empty");
  CHECK((*file)->ReadTokenizer()->empty());
  CheckVerifies(**file);
}

TEST_CASE("The same content gives the same bytes", "[format]") {
  const TempDir dir;
  MakeSampleFile(dir.File("a.flash"), 3);
  MakeSampleFile(dir.File("b.flash"), 3);
  MakeSampleFile(dir.File("c.flash"), 4);
  const std::string a = ReadFileOrDie(dir.File("a.flash"));
  CHECK(a == ReadFileOrDie(dir.File("b.flash")));
  CHECK(a != ReadFileOrDie(dir.File("c.flash")));
}

TEST_CASE("Predictors are replaced and everything else stays", "[format]") {
  const TempDir dir;
  const std::string path = dir.File("m.flash");
  const Sample sample = MakeSample(9);
  auto writer = BundleWriter::Create(path, 0, "x");
  REQUIRE_OK(writer);
  REQUIRE_OK(WriteSample(sample, writer->get()));
  const uint64_t bytes_before = (*writer)->file_bytes();

  // Large first, small second: nothing of the first may remain.
  REQUIRE_OK((*writer)->ReplacePredictors(SamplePredictors(3, 200, 1),
                                          {{"predictors", {{"rank", 200}}}, {"quality", 1}}));
  CHECK((*writer)->file_bytes() > bytes_before);
  const auto predictors = SamplePredictors(2, 4, 2);
  REQUIRE_OK((*writer)->ReplacePredictors(
      predictors, {{"predictors", {{"rank", 4}}}, {"quality", nullptr}}));
  {
    const auto file = BundleFile::Open((*writer)->temporary_path());
    REQUIRE_OK(file);
    CheckHolds(**file, sample);
    for (const auto& t : predictors) CheckHolds(**file, t.name, t.type, t.shape, t.data);
    CHECK((*file)->FindTensor("layers.2.predictor.in") == nullptr);
    CHECK((*file)->manifest()["predictors"]["rank"] == 4);
    CHECK_FALSE((*file)->manifest().contains("quality"));
    CheckVerifies(**file);
  }
  REQUIRE_OK((*writer)->ReplacePredictors({}, {{"predictors", nullptr}}));
  CHECK((*writer)->file_bytes() == bytes_before);
  REQUIRE_OK((*writer)->Commit());
  const auto file = BundleFile::Open(path);
  REQUIRE_OK(file);
  CheckHolds(**file, sample);
}

TEST_CASE("Edit replaces predictors in an existing file, atomically", "[format]") {
  const TempDir dir;
  const std::string path = dir.File("m.flash");
  MakeSampleFile(path, 11);
  const std::string before = ReadFileOrDie(path);
  const auto predictors = SamplePredictors(3, 9, 12);
  {
    auto dropped = BundleWriter::Edit(path);
    REQUIRE_OK(dropped);
    REQUIRE_OK((*dropped)->ReplacePredictors(predictors, nlohmann::json::object()));
  }
  CHECK(ReadFileOrDie(path) == before);

  auto writer = BundleWriter::Edit(path);
  REQUIRE_OK(writer);
  CHECK((*writer)->file_bytes() == before.size());
  REQUIRE_OK((*writer)->ReplacePredictors(predictors, {{"predictors", "new"}}));
  REQUIRE_OK((*writer)->Commit());
  const auto file = BundleFile::Open(path);
  REQUIRE_OK(file);
  CheckHolds(**file, MakeSample(11));
  for (const auto& t : predictors) CheckHolds(**file, t.name, t.type, t.shape, t.data);
  CHECK((*file)->manifest()["predictors"] == "new");
  CheckVerifies(**file);

  // And back: the very bytes of the first file.
  auto back = BundleWriter::Edit(path);
  REQUIRE_OK(back);
  REQUIRE_OK((*back)->ReplacePredictors(SamplePredictors(3, 5, 11), {{"predictors", "p"}}));
  REQUIRE_OK((*back)->Commit());
  CHECK(ReadFileOrDie(path) == before);
}

TEST_CASE("Verification can be cancelled", "[format]") {
  const TempDir dir;
  MakeSampleFile(dir.File("m.flash"));
  const auto file = BundleFile::Open(dir.File("m.flash"));
  REQUIRE_OK(file);
  const auto report = VerifyBundle(**file, [](uint64_t, uint64_t) { return false; });
  CHECK(absl::IsCancelled(report.status()));
  CHECK(VerifyBundle(**file, {}).ok());
}

TEST_CASE("Calls with wrong arguments are refused", "[format]") {
  const TempDir dir;
  MakeSampleFile(dir.File("m.flash"));
  const auto file = BundleFile::Open(dir.File("m.flash"));
  REQUIRE_OK(file);
  Bytes small(7);
  CHECK(absl::IsInvalidArgument(
      (*file)->ReadTensor(*(*file)->FindTensor("embed_tokens"), absl::MakeSpan(small))));
  CHECK(absl::IsInvalidArgument((*file)->VerifyRecord(0, 0, small)));
  Bytes record((*file)->layers()[0].record_bytes);
  CHECK(absl::IsInvalidArgument((*file)->VerifyRecord(3, 0, record)));
  CHECK(absl::IsInvalidArgument((*file)->VerifyRecord(0, 2, record)));
  CHECK(absl::IsDataLoss((*file)->VerifyRecord(0, 1, record)));
}

}  // namespace
}  // namespace sluice
