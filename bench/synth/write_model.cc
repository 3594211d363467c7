#include "bench/synth/write_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "bench/synth/planted_weights.h"
#include "bench/synth/token_batch.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/format/bundle_writer.h"
#include "lib/format/neuron_order.h"
#include "lib/kernels/kernels.h"
#include "lib/model/families/opt.h"

namespace sluice::synth {
namespace {

// The manifest, the checksum table and the padding of sections.
constexpr uint64_t kOverheadBytes = 16 << 20;
// A token's own embedding stands out in the logits; with more than this, sampling would repeat it.
constexpr double kMostOwnLogit = 4;

uint64_t PredictorBytes(const Shape& shape) {
  uint64_t bytes = 0;
  for (uint32_t rank : shape.ranks) {
    bytes += uint64_t{rank} * (2 * shape.config.d_model + shape.config.d_ffn) * 2 +
             uint64_t{shape.config.d_ffn} * 8;
  }
  return bytes;
}

uint64_t Elements(const std::vector<uint64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
}

absl::Span<const std::byte> Bytes(absl::Span<const float> values) {
  return {reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)};
}

template <typename T>
std::vector<T> Reorder(const std::vector<T>& values, const std::vector<uint32_t>& order,
                       size_t row = 1) {
  std::vector<T> out(values.size());
  for (size_t p = 0; p < order.size(); ++p) {
    std::copy_n(values.begin() + static_cast<ptrdiff_t>(order[p] * row), row,
                out.begin() + static_cast<ptrdiff_t>(p * row));
  }
  return out;
}

NamedTensor Half(std::string name, std::vector<uint64_t> shape, const std::vector<float>& values) {
  NamedTensor tensor{std::move(name), ElementType::kF16, std::move(shape), {}};
  tensor.data.resize(values.size() * 2);
  kernels::FromF32(ElementType::kF16, values.data(), values.size(), tensor.data.data());
  return tensor;
}

NamedTensor Single(std::string name, const std::vector<float>& values) {
  const auto bytes = Bytes(values);
  return {std::move(name), ElementType::kF32, {values.size()}, {bytes.begin(), bytes.end()}};
}

class ModelWriter {
 public:
  ModelWriter(const Shape& shape, const std::vector<LayerPlan>& plans,
              const WriteOptions& options, ThreadPool* pool, BundleWriter* writer)
      : shape_(shape), plans_(plans), options_(options), pool_(pool), writer_(writer) {}

  absl::Status Resident();
  absl::Status Records(uint32_t layer, const PlantedLayer& weights);
  void KeepPredictor(uint32_t layer, const PlantedLayer& weights);
  absl::Status Finish();

 private:
  // The neurons in the file's order.
  std::vector<uint32_t> Order(uint32_t layer) const;
  std::vector<float> LayerVector(absl::string_view part, uint32_t layer, uint64_t size) const;
  absl::Status Floats(const std::string& name, const std::vector<float>& values);
  absl::Status Rows(const std::string& name, uint64_t rows, MakeRows make);
  absl::Status Layer(uint32_t layer, const TensorMapping& mapping, absl::string_view part);
  nlohmann::json Manifest() const;
  nlohmann::json Predictors() const;

  const Shape& shape_;
  const std::vector<LayerPlan>& plans_;
  const WriteOptions& options_;
  ThreadPool* const pool_;
  BundleWriter* const writer_;
  std::vector<NamedTensor> predictors_;
};

std::vector<uint32_t> ModelWriter::Order(uint32_t layer) const {
  if (options_.placed) return plans_[layer].order;
  std::vector<uint32_t> order(shape_.config.d_ffn);
  std::iota(order.begin(), order.end(), 0u);
  return order;
}

absl::Status ModelWriter::Floats(const std::string& name, const std::vector<float>& values) {
  SLUICE_RETURN_IF_ERROR(writer_->BeginTensor(name, ElementType::kF32, {values.size()}));
  SLUICE_RETURN_IF_ERROR(writer_->AppendTensor(Bytes(values)));
  return writer_->EndTensor();
}

absl::Status ModelWriter::Rows(const std::string& name, uint64_t rows, MakeRows make) {
  const uint32_t d_model = shape_.config.d_model;
  SLUICE_RETURN_IF_ERROR(writer_->BeginTensor(name, ElementType::kF16, {rows, d_model}));
  RowBlock block(d_model, d_model, pool_);
  for (uint64_t first = 0; first < rows; first += kRowsHeld) {
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(kRowsHeld, rows - first));
    block.Make(static_cast<uint32_t>(first), count, make);
    SLUICE_RETURN_IF_ERROR(writer_->AppendTensor({block.data(0), size_t{count} * d_model * 2}));
  }
  return writer_->EndTensor();
}

// Vectors of a layer by the end of their names; norms leave everything as it is.
std::vector<float> ModelWriter::LayerVector(absl::string_view part, uint32_t layer,
                                            uint64_t size) const {
  const LayerPlan& plan = plans_[layer];
  if (part == "ffn.up.bias") return Reorder(plan.up_bias, Order(layer));
  if (part == "ffn.down.bias") return plan.down_bias;
  if (part == "attn.out.bias") return plan.out_bias;
  return std::vector<float>(size, absl::EndsWith(part, "norm.weight") ? 1.0f : 0.0f);
}

absl::Status ModelWriter::Layer(uint32_t layer, const TensorMapping& mapping,
                                absl::string_view part) {
  if (mapping.as_f32) {
    return Floats(mapping.ours, LayerVector(part, layer, Elements(mapping.shape)));
  }
  const std::map<absl::string_view, std::pair<Matrix, float>> matrices = {
      {"attn.q.weight", {Matrix::kQuery, kQueryScale}},
      {"attn.k.weight", {Matrix::kKey, kQueryScale}},
      {"attn.v.weight", {Matrix::kValue, 1.0f}},
      {"attn.out.weight", {Matrix::kOut, plans_[layer].out_scale}}};
  const auto it = matrices.find(part);
  if (it == matrices.end()) {
    return absl::InternalError(absl::StrCat("no values for tensor ", mapping.ours));
  }
  const auto [matrix, scale] = it->second;
  return Rows(mapping.ours, mapping.shape[0],
              [&, matrix = matrix, scale = scale](uint32_t first, uint32_t count, float* scratch,
                                                  std::byte* out) {
                AttentionRows(shape_, options_.calibration.seed, layer, matrix, scale, first,
                              count, scratch, out);
              });
}

absl::Status ModelWriter::Resident() {
  const ModelConfig& config = shape_.config;
  const auto table = [&](auto make_row) {
    return [this, make_row](uint32_t first, uint32_t count, float* scratch, std::byte* out) {
      for (uint32_t i = 0; i < count; ++i) {
        make_row(shape_, options_.calibration.seed, first + i, scratch,
                 out + size_t{i} * shape_.config.d_model * 2);
      }
    };
  };
  SLUICE_RETURN_IF_ERROR(Rows("embed_tokens", config.vocab_size, table(EmbeddingRow)));
  double own = std::sqrt(config.d_model);
  for (uint32_t i = 0; i < config.num_layers; ++i) {
    own *= SimilarityToNext(options_.calibration, i);
  }
  const double logit = std::min(1.0, kMostOwnLogit / own) / std::sqrt(config.d_model);
  for (const TensorMapping& mapping : OptResidentTensors(config)) {
    const uint64_t size = Elements(mapping.shape);
    absl::string_view part = mapping.ours;
    if (mapping.ours == "embed_positions") {
      SLUICE_RETURN_IF_ERROR(Rows(mapping.ours, mapping.shape[0], table(PositionRow)));
    } else if (mapping.ours == "final_norm.weight") {
      SLUICE_RETURN_IF_ERROR(
          Floats(mapping.ours, std::vector<float>(size, static_cast<float>(logit))));
    } else if (mapping.ours == "final_norm.bias") {
      SLUICE_RETURN_IF_ERROR(Floats(mapping.ours, std::vector<float>(size)));
    } else if (absl::ConsumePrefix(&part, "layers.")) {
      uint32_t layer = 0;
      const size_t dot = part.find('.');
      if (!absl::SimpleAtoi(part.substr(0, dot), &layer)) {
        return absl::InternalError(absl::StrCat("no layer in ", mapping.ours));
      }
      SLUICE_RETURN_IF_ERROR(Layer(layer, mapping, part.substr(dot + 1)));
    } else {
      return absl::InternalError(absl::StrCat("no values for tensor ", mapping.ours));
    }
  }
  return absl::OkStatus();
}

absl::Status ModelWriter::Records(uint32_t layer, const PlantedLayer& weights) {
  const uint32_t d_model = shape_.config.d_model;
  SLUICE_ASSIGN_OR_RETURN(const RecordLayout layout,
                          MakeRecordLayout(shape_.config.d_ffn, d_model, 2, ElementType::kF16));
  const std::vector<uint32_t> order = Order(layer);
  // Whole records at a time, which a thread fills on its own.
  const uint32_t per_piece = layout.neurons_per_record *
                             std::max(kRowsAtOnce / layout.neurons_per_record, 1u);
  const uint32_t per_block = per_piece * (kRowsHeld / kRowsAtOnce);
  const size_t scratch_row = 2 * size_t{d_model} + weights.rank();
  std::vector<float> scratch(per_block * scratch_row);
  std::vector<std::byte> rows(size_t{per_block} * d_model * 4), records;
  SLUICE_RETURN_IF_ERROR(writer_->BeginLayer(layout));
  for (uint32_t first = 0; first < layout.num_neurons; first += per_block) {
    const uint32_t count = std::min(per_block, layout.num_neurons - first);
    const size_t used = DivideRoundUp(count, layout.neurons_per_record);
    records.assign(used * layout.record_bytes, std::byte{0});
    pool_->ParallelFor(count, per_piece, [&](size_t begin, size_t end) {
      const auto neurons = absl::MakeConstSpan(order).subspan(first + begin, end - begin);
      float* const mine = scratch.data() + begin * scratch_row;
      std::byte* const up = rows.data() + begin * d_model * 4;
      std::byte* const down = up + neurons.size() * d_model * 2;
      weights.UpRows(neurons, mine, up);
      weights.DownRows(neurons, plans_[layer].down_scale, mine, down);
      for (size_t i = begin; i < end; ++i) {
        const auto n = static_cast<uint32_t>(i);  // `first` is a multiple of a record's neurons
        std::byte* const record =
            records.data() + size_t{layout.record_of(n)} * layout.record_bytes;
        const size_t row = (i - begin) * d_model * 2;
        std::memcpy(record + layout.up_offset(n), up + row, layout.row_bytes());
        std::memcpy(record + layout.down_offset(n), down + row, layout.row_bytes());
      }
    });
    SLUICE_RETURN_IF_ERROR(writer_->AppendRecords(records));
  }
  return writer_->EndLayer();
}

void ModelWriter::KeepPredictor(uint32_t layer, const PlantedLayer& weights) {
  const LayerPlan& plan = plans_[layer];
  const uint64_t d_model = shape_.config.d_model, d_ffn = shape_.config.d_ffn;
  const uint64_t rank = weights.rank();
  const std::vector<uint32_t> order = Order(layer);
  const std::string name = absl::StrCat("layers.", layer, ".");
  predictors_.push_back(Half(name + "predictor.in", {rank, d_model}, weights.predictor_in()));
  predictors_.push_back(Half(name + "predictor.out", {d_ffn, rank},
                             Reorder(weights.predictor_out(), order, rank)));
  predictors_.push_back(Single(name + "predictor.bias", Reorder(plan.predictor_bias, order)));
  if (layer == 0) return;
  std::vector<float> in = weights.predictor_in();
  kernels::Scale(in.data(), plan.lookahead_scale, in.size(), in.data());
  predictors_.push_back(Half(name + "lookahead.in", {rank, d_model}, in));
  predictors_.push_back(Single(name + "lookahead.bias", Reorder(plan.lookahead_bias, order)));
}

nlohmann::json ModelWriter::Predictors() const {
  nlohmann::json layers = nlohmann::json::array();
  for (uint32_t i = 0; i < plans_.size(); ++i) {
    const LayerFigures& figures =
        options_.placed ? plans_[i].placed_figures : plans_[i].figures;
    nlohmann::json layer = {{"layer", i},
                            {"rank", shape_.ranks[i]},
                            {"recall", figures.Recall()},
                            {"precision", figures.Precision()},
                            {"active_fraction", figures.ActiveShare()},
                            {"predicted_fraction", figures.PredictedShare()},
                            {"neuron_union_5", figures.UnionShare()},
                            {"record_union_5", figures.RecordUnionShare()}};
    if (i > 0) {
      layer["lookahead"] = {{"recall", figures.GuessRecall()},
                            {"precision", figures.GuessPrecision()},
                            {"guessed_fraction", figures.GuessedShare()}};
    }
    layers.push_back(std::move(layer));
  }
  const nlohmann::json training = {
      {"text", "none: the factors are the planted low-rank part of the up rows"},
      {"tokens", options_.calibration.tokens},
      {"seed", options_.calibration.seed}};
  return {{"training", training}, {"layers", std::move(layers)}};
}

nlohmann::json ModelWriter::Manifest() const {
  const Targets targets;
  nlohmann::json synthetic = {
      {"shape", shape_.name},
      {"seed", options_.calibration.seed},
      {"what", "random weights with planted activation statistics; no language is in it"},
      {"planted_share_of_up_rows", kPlantedShare},
      {"predicted_from_probability", kPredictFrom},
      {"bias_deviation", kBiasDeviation},
      {"cluster_neurons", kClusterSize},
      {"cluster_shared_direction", kSharedDirection},
      {"calibration_tokens", options_.calibration.tokens},
      {"targets",
       {{"active", targets.active},
        {"active_first", targets.active_first},
        {"active_middle", targets.active_middle},
        {"active_last", targets.active_last},
        {"predicted", targets.predicted},
        {"union_of_5_tokens", targets.union_of_window},
        {"new_per_token", targets.new_per_token},
        {"recall", targets.recall},
        {"first_layers_similarity", options_.calibration.first_similarity},
        {"other_layers_similarity", options_.calibration.similarity}}}};
  nlohmann::json manifest = {{"config", shape_.config.ToJson()},
                             {"sources", nlohmann::json::array()},
                             {"synthetic", std::move(synthetic)},
                             {"predictors", Predictors()}};
  if (options_.placed) {
    nlohmann::json layers = nlohmann::json::array();
    for (const LayerPlan& plan : plans_) layers.push_back({{"order", OrderToText(plan.order)}});
    manifest["placement"] = {{"method", "coactivation"},
                             {"text", "none: random token ids"},
                             {"tokens", options_.calibration.tokens},
                             {"layers", std::move(layers)}};
  }
  return manifest;
}

absl::Status ModelWriter::Finish() {
  SLUICE_RETURN_IF_ERROR(writer_->Finish(Manifest()));
  SLUICE_RETURN_IF_ERROR(writer_->ReplacePredictors(predictors_, nlohmann::json::object()));
  return writer_->Commit();
}

}  // namespace

absl::StatusOr<uint64_t> ExpectedBytes(const Shape& shape) {
  const ModelConfig& config = shape.config;
  SLUICE_ASSIGN_OR_RETURN(const RecordLayout layout,
                          MakeRecordLayout(config.d_ffn, config.d_model, 2, ElementType::kF16));
  const uint64_t records = DivideRoundUp(config.d_ffn, layout.neurons_per_record);
  uint64_t bytes = kOverheadBytes + config.num_layers * records * (layout.record_bytes + 8) +
                   uint64_t{config.vocab_size} * config.d_model * 2 + PredictorBytes(shape);
  for (const TensorMapping& mapping : OptResidentTensors(config)) {
    bytes += Elements(mapping.shape) * (mapping.as_f32 ? 4 : 2) + 4096;
  }
  return bytes;
}

absl::Status CheckFreeSpace(const std::vector<std::string>& paths, uint64_t bytes) {
  for (const std::string& path : paths) {
    std::filesystem::path folder = std::filesystem::path(path).parent_path();
    if (folder.empty()) folder = ".";
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(folder, error);
    if (error) {
      return absl::NotFoundError(absl::StrCat(folder.string(), ": ", error.message()));
    }
    if (space.available >= bytes * paths.size()) continue;
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": ", bytes * paths.size(), " bytes are needed for ", paths.size(),
                     " file(s), ", space.available, " are free in ", folder.string()));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> WriteModel(const std::string& path, const Shape& shape,
                                    const std::vector<LayerPlan>& plans,
                                    const WriteOptions& options, ThreadPool* pool) {
  SLUICE_ASSIGN_OR_RETURN(const uint64_t expected, ExpectedBytes(shape));
  const std::string identity =
      absl::StrCat("synthetic ", shape.name, " ", shape.config.ToJson().dump(), " seed ",
                   options.calibration.seed, " similarity ", options.calibration.first_similarity,
                   " ", options.calibration.similarity, " tokens ", options.calibration.tokens,
                   options.placed ? " placed" : "");
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<BundleWriter> writer,
                          BundleWriter::Create(path, expected, identity));
  ModelWriter model(shape, plans, options, pool, writer.get());
  SLUICE_RETURN_IF_ERROR(model.Resident());
  for (uint32_t i = 0; i < shape.config.num_layers; ++i) {
    const PlantedLayer weights(shape, options.calibration.seed, i, pool);
    SLUICE_RETURN_IF_ERROR(model.Records(i, weights));
    model.KeepPredictor(i, weights);
    if (options.on_layer) options.on_layer(i + 1);
  }
  SLUICE_RETURN_IF_ERROR(model.Finish());
  return writer->file_bytes();
}

}  // namespace sluice::synth
