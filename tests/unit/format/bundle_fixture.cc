#include "tests/unit/format/bundle_fixture.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/format/checksum.h"
#include "lib/format/manifest.h"
#include "tests/support/catch.h"

namespace sluice::testing {

Bytes RandomBytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

Bytes RandomRecords(const RecordLayout& layout, uint64_t seed) {
  Bytes records(static_cast<size_t>(layout.num_records) * layout.record_bytes);
  for (uint32_t record = 0; record < layout.num_records; ++record) {
    const Bytes used = RandomBytes(layout.used_bytes(record), seed + record);
    std::copy(used.begin(), used.end(),
              records.begin() + static_cast<ptrdiff_t>(record) * layout.record_bytes);
  }
  return records;
}

Sample MakeSample(uint64_t seed) {
  Sample sample;
  const auto add_tensor = [&](const char* name, ElementType type, std::vector<uint64_t> shape) {
    const uint64_t bytes = *TensorBytes(type, shape);
    sample.tensors.push_back(
        {name, type, std::move(shape), RandomBytes(bytes, seed + sample.tensors.size())});
  };
  add_tensor("embed_tokens", ElementType::kF16, {67, 48});
  add_tensor("final_norm.weight", ElementType::kF32, {48});
  add_tensor("layers.0.attn.q.weight", ElementType::kBF16, {48, 48});
  const auto add_layer = [&](uint32_t neurons, uint32_t row, uint32_t rows, ElementType type) {
    const RecordLayout layout = *MakeRecordLayout(neurons, row, rows, type);
    sample.layers.push_back({layout, RandomRecords(layout, seed + 100 * sample.layers.size())});
  };
  add_layer(21, 32, 2, ElementType::kF32);
  add_layer(3, 1024, 2, ElementType::kF16);
  add_layer(7, 200, 3, ElementType::kBF16);
  sample.tokenizer = "{\"model\":{\"type\":\"BPE\"}}";
  sample.manifest = {{"config", {{"family", "opt"}, {"d_model", 48}}},
                     {"sources", {{{"name", "model.safetensors"}, {"bytes", 12345}}}}};
  return sample;
}

std::vector<NamedTensor> SamplePredictors(uint32_t num_layers, uint32_t rank, uint64_t seed) {
  std::vector<NamedTensor> tensors;
  for (uint32_t layer = 0; layer < num_layers; ++layer) {
    const std::string stem = "layers." + std::to_string(layer) + ".predictor.";
    tensors.push_back({stem + "in", ElementType::kF16, {rank, 48}, RandomBytes(rank * 96, seed)});
    tensors.push_back({stem + "bias", ElementType::kF32, {21}, RandomBytes(84, seed + 1)});
  }
  return tensors;
}

absl::Status WriteSample(const Sample& sample, BundleWriter* writer) {
  for (const SampleTensor& tensor : sample.tensors) {
    SLUICE_RETURN_IF_ERROR(writer->BeginTensor(tensor.name, tensor.type, tensor.shape));
    const auto data = absl::MakeConstSpan(tensor.data);
    SLUICE_RETURN_IF_ERROR(writer->AppendTensor(data.first(data.size() / 3)));
    SLUICE_RETURN_IF_ERROR(writer->AppendTensor(data.subspan(data.size() / 3)));
    SLUICE_RETURN_IF_ERROR(writer->EndTensor());
  }
  for (const SampleLayer& layer : sample.layers) {
    SLUICE_RETURN_IF_ERROR(writer->BeginLayer(layer.layout));
    const auto data = absl::MakeConstSpan(layer.records);
    SLUICE_RETURN_IF_ERROR(writer->AppendRecords(data.first(layer.layout.record_bytes)));
    SLUICE_RETURN_IF_ERROR(writer->AppendRecords(data.subspan(layer.layout.record_bytes)));
    SLUICE_RETURN_IF_ERROR(writer->EndLayer());
  }
  if (!sample.tokenizer.empty()) SLUICE_RETURN_IF_ERROR(writer->SetTokenizer(sample.tokenizer));
  return writer->Finish(sample.manifest);
}

void MakeSampleFile(const std::string& path, uint64_t seed) {
  auto writer = BundleWriter::Create(path, 0, "sample " + std::to_string(seed));
  REQUIRE_OK(writer);
  REQUIRE_OK(WriteSample(MakeSample(seed), writer->get()));
  REQUIRE_OK((*writer)->ReplacePredictors(SamplePredictors(3, 5, seed), {{"predictors", "p"}}));
  REQUIRE_OK((*writer)->Commit());
}

absl::Status ReadAll(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> file, BundleFile::Open(path));
  for (const TensorEntry& tensor : file->tensors()) {
    Bytes data(tensor.bytes);
    SLUICE_RETURN_IF_ERROR(file->ReadTensor(tensor, absl::MakeSpan(data)));
  }
  for (uint32_t layer = 0; layer < file->layers().size(); ++layer) {
    const RecordLayout& layout = file->layers()[layer];
    Bytes data(layout.record_bytes);
    for (uint32_t record = 0; record < layout.num_records; ++record) {
      SLUICE_RETURN_IF_ERROR(
          file->storage()->ReadAt(layout.record_offset(record), absl::MakeSpan(data)));
      SLUICE_RETURN_IF_ERROR(file->VerifyRecord(layer, record, data));
    }
  }
  return file->ReadTokenizer().status();
}

BundleHeader HeaderOf(const std::string& file) {
  return *DecodeHeader(AsBytes(file).first(kHeaderBytes), file.size(), "file");
}

std::string WithHeader(const std::string& file, const BundleHeader& header) {
  Bytes page(kHeaderBytes);
  EncodeHeader(header, absl::MakeSpan(page));
  std::string changed = file;
  std::memcpy(changed.data(), page.data(), page.size());
  return changed;
}

std::string WithManifestText(const std::string& file, const std::string& text) {
  BundleHeader header = HeaderOf(file);
  Section& section = header.sections.back();
  std::string changed = file.substr(0, section.offset) + text;
  section.bytes = text.size();
  section.xxh3 = Xxh3(AsBytes(text));
  changed.resize(RoundUp(changed.size(), kSectionAlignment), '\0');
  header.file_bytes = changed.size();
  return WithHeader(changed, header);
}

std::string WithManifest(const std::string& file,
                         const std::function<void(nlohmann::json*)>& change) {
  const Section section = HeaderOf(file).sections.back();
  nlohmann::json manifest = nlohmann::json::parse(file.substr(section.offset, section.bytes));
  change(&manifest);
  return WithManifestText(file, manifest.dump());
}

}  // namespace sluice::testing
