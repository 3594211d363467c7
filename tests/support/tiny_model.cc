#include "tests/support/tiny_model.h"

#include <cmath>
#include <cstring>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/format/bundle_writer.h"
#include "lib/kernels/kernels.h"
#include "lib/model/families/opt.h"
#include "tests/support/catch.h"

namespace sluice::testing {
namespace {

class TinyWriter {
 public:
  TinyWriter(const TinyModelOptions& options, BundleWriter* writer)
      : options_(options), writer_(writer), random_(options.seed) {}

  std::vector<float> Values(const std::string& name, size_t count) {
    std::normal_distribution<float> normal(0, 1);
    const bool norm = absl::StrContains(name, "norm.weight");
    const bool bias = absl::EndsWith(name, "bias");
    // Rows of unit length on average, so that about half of the neurons fire before the bias.
    const float scale = bias || norm ? 0.3f : 1 / std::sqrt(static_cast<float>(options_.d_model));
    std::vector<float> values(count);
    for (float& v : values) v = normal(random_) * scale + (norm ? 1.0f : 0.0f);
    if (absl::StrContains(name, "up.bias")) {
      for (float& v : values) v -= 1.0f;  // sparse
    }
    if (options_.edit) options_.edit(name, &values);
    return values;
  }

  void Tensor(const std::string& name, ElementType type, const std::vector<uint64_t>& shape) {
    size_t count = 1;
    for (uint64_t size : shape) count *= size;
    const std::vector<std::byte> data = Pack(type, Values(name, count));
    REQUIRE_OK(writer_->BeginTensor(name, type, shape));
    REQUIRE_OK(writer_->AppendTensor(data));
    REQUIRE_OK(writer_->EndTensor());
  }

  void Layer(uint32_t layer, const RecordLayout& layout) {
    const size_t count = size_t{layout.num_neurons} * layout.row_elements;
    const auto up = Pack(layout.type, Values(absl::StrCat("layers.", layer, ".up"), count));
    const auto down = Pack(layout.type, Values(absl::StrCat("layers.", layer, ".down"), count));
    const uint32_t records = layout.record_of(layout.num_neurons - 1) + 1;
    std::vector<std::byte> data(size_t{records} * layout.record_bytes);
    for (uint32_t n = 0; n < layout.num_neurons; ++n) {
      std::byte* record = data.data() + size_t{layout.record_of(n)} * layout.record_bytes;
      const size_t row = size_t{n} * layout.row_bytes();
      std::memcpy(record + layout.up_offset(n), up.data() + row, layout.row_bytes());
      std::memcpy(record + layout.down_offset(n), down.data() + row, layout.row_bytes());
    }
    REQUIRE_OK(writer_->BeginLayer(layout));
    REQUIRE_OK(writer_->AppendRecords(data));
    REQUIRE_OK(writer_->EndLayer());
  }

  NamedTensor Predictor(uint32_t layer, const char* part, ElementType type,
                        const std::vector<uint64_t>& shape) {
    size_t count = 1;
    for (uint64_t size : shape) count *= size;
    const std::string name = absl::StrCat("layers.", layer, ".", part);
    return {name, type, shape, Pack(type, Values(name, count))};
  }

 private:
  static std::vector<std::byte> Pack(ElementType type, const std::vector<float>& values) {
    std::vector<std::byte> data(values.size() * ElementBytes(type));
    REQUIRE(kernels::FromF32(type, values.data(), values.size(), data.data()) == values.size());
    return data;
  }

  const TinyModelOptions& options_;
  BundleWriter* const writer_;
  std::mt19937_64 random_;
};

}  // namespace

ModelConfig TinyConfig(const TinyModelOptions& options) {
  ModelConfig config;
  config.num_layers = options.num_layers;
  config.d_model = config.embed_dim = options.d_model;
  config.d_ffn = options.d_ffn;
  config.num_heads = 4;
  config.vocab_size = options.vocab_size;
  config.max_positions = options.max_positions;
  config.position_offset = 2;
  config.bos_id = 2;
  config.eos_ids = {2};
  return config;
}

void WriteTinyModel(const std::string& path, const TinyModelOptions& options) {
  const ModelConfig config = TinyConfig(options);
  REQUIRE_OK(config.Validate());
  auto writer = BundleWriter::Create(path, 0, absl::StrCat("tiny model ", options.seed),
                                     options.part_bytes);
  REQUIRE_OK(writer);
  TinyWriter tiny(options, writer->get());
  tiny.Tensor("embed_tokens", ElementType::kF16, {config.vocab_size, config.embed_dim});
  for (const TensorMapping& mapping : OptResidentTensors(config)) {
    tiny.Tensor(mapping.ours, mapping.as_f32 ? ElementType::kF32 : ElementType::kF16,
                mapping.shape);
  }
  auto layout = MakeRecordLayout(config.d_ffn, config.d_model, 2, ElementType::kF16);
  REQUIRE_OK(layout);
  for (uint32_t i = 0; i < config.num_layers; ++i) tiny.Layer(i, *layout);
  REQUIRE_OK((*writer)->Finish({{"config", config.ToJson()}}));
  if (options.predictor_rank != 0) {
    std::vector<NamedTensor> tensors;
    const uint64_t rank = options.predictor_rank;
    for (uint32_t i = 0; i < config.num_layers; ++i) {
      tensors.push_back(
          tiny.Predictor(i, "predictor.in", ElementType::kF16, {rank, config.d_model}));
      tensors.push_back(
          tiny.Predictor(i, "predictor.out", ElementType::kF16, {config.d_ffn, rank}));
      tensors.push_back(tiny.Predictor(i, "predictor.bias", ElementType::kF32, {config.d_ffn}));
    }
    for (uint32_t i = 1; i < config.num_layers && options.lookahead; ++i) {
      tensors.push_back(
          tiny.Predictor(i, "lookahead.in", ElementType::kF16, {rank, config.d_model}));
      tensors.push_back(tiny.Predictor(i, "lookahead.bias", ElementType::kF32, {config.d_ffn}));
    }
    REQUIRE_OK((*writer)->ReplacePredictors(tensors, nlohmann::json::object()));
  }
  REQUIRE_OK((*writer)->Commit());
}

std::vector<float> AllLogits(Session& session, const std::vector<int32_t>& tokens) {
  std::vector<float> all;
  PrefillOptions options;
  options.on_logits = [&](uint32_t, absl::Span<const float> logits) {
    all.insert(all.end(), logits.begin(), logits.end());
  };
  REQUIRE_OK(session.Prefill(tokens, {}, options));
  return all;
}

std::vector<int32_t> RandomTokens(uint64_t seed, size_t count, uint32_t vocab) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab);
  return tokens;
}

}  // namespace sluice::testing
