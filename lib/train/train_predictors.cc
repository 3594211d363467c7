#include "lib/train/train_predictors.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "lib/base/status_macros.h"
#include "lib/format/checksum.h"
#include "lib/format/neuron_order.h"
#include "lib/io/file.h"
#include "lib/io/host.h"
#include "lib/model/memory_plan.h"
#include "lib/train/active_sets.h"
#include "lib/train/capture.h"
#include "lib/train/layer_trainer.h"
#include "lib/train/lookahead.h"
#include "lib/train/quality.h"
#include "sluice/text_codec.h"

namespace sluice {
namespace {

using namespace sluice::train;

constexpr uint64_t kMaxTextBytes = uint64_t{64} << 20;  // far more than is used of it
// Room for a window of text and the special tokens in front; a longer context costs memory only.
constexpr uint32_t kContextTokens = 320;
// Left free beside the model and what is captured: the training's own, and other processes'.
constexpr uint64_t kMarginBytes = uint64_t{128} << 20;
// Share of the training's time that choosing the ranks takes.
constexpr double kPilotShare = 0.3;
// Token sets that an order is made from: as many as make this many pairs of active neurons, since
// those are counted one by one (seconds for a layer), within limits. tales-7m gains nothing by
// more, and less than the lower limit would be noise.
constexpr double kPlacementPairs = 1e10;
constexpr double kMinPlacementTokens = 2048, kMaxPlacementTokens = 16384;
// Tokens that say how large the sets are.
constexpr size_t kPilotSets = 256;
// Tokens that a lookahead is fitted to, and held-out ones that its threshold is chosen on.
constexpr size_t kLookaheadTokens = 65536, kLookaheadScored = 4096;

size_t PlacementTokens(const Factors& predictor, float threshold, const FloatMatrix& sample,
                       ThreadPool* pool) {
  double pairs = 0;
  for (const std::vector<uint32_t>& set : PredictedSets(sample, predictor, threshold, pool)) {
    pairs += static_cast<double>(set.size()) * static_cast<double>(set.size());
  }
  const double per_token = std::max(pairs / static_cast<double>(sample.rows), 1.0);
  return static_cast<size_t>(
      std::clamp(kPlacementPairs / per_token, kMinPlacementTokens, kMaxPlacementTokens));
}

// One training from beginning to end.
class Training {
 public:
  Training(BundleWriter* writer, const std::string& text, const std::string& text_name,
           const TrainOptions& options, const OrderNeuronsFn& order_neurons)
      : writer_(writer), text_(text), options_(options), order_neurons_(order_neurons),
        threads_(options.threads != 0 ? options.threads
                                      : static_cast<uint32_t>(DefaultThreadCount())) {
    // A file name may be any bytes; the manifest is UTF-8.
    text_name_ = nlohmann::json::parse(nlohmann::json(text_name).dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  absl::StatusOr<std::vector<LayerQuality>> Run();

 private:
  bool Report(const char* stage, double done) const {
    return !options_.on_progress || options_.on_progress(stage, done);
  }
  void CountParameters(const BundleFile& file, const ModelConfig& config);
  absl::Status CutText(const ModelConfig& config, ModelOptions* dense);
  absl::Status Calibrate();
  absl::StatusOr<std::vector<uint32_t>> ChooseRanks(const LayerTrainer& trainer);
  absl::Status TrainLayers();
  absl::Status Place();
  absl::Status TrainLookaheads();
  std::vector<NamedTensor> Tensors() const;
  nlohmann::json TextJson() const;
  nlohmann::json TrainingJson() const;
  nlohmann::json PlacementJson() const;
  nlohmann::json MembersWith(const Quality& quality) const;
  std::vector<LayerQuality> LayersOf(const Quality& quality) const;

  BundleWriter* const writer_;
  const std::string& text_;
  const TrainOptions& options_;
  const OrderNeuronsFn& order_neurons_;
  const uint32_t threads_;
  nlohmann::json text_name_;

  Windows windows_;
  Capture capture_;
  PredictorShape shape_;
  uint64_t model_parameters_ = 0;
  uint64_t predictor_parameters_ = 0;
  std::vector<uint32_t> ranks_;
  std::vector<TrainedLayer> layers_;
  std::vector<double> losses_;  // by layer, on the held-out tokens
  Thresholds thresholds_;
  size_t placement_tokens_ = 0;                // of the layer with the most
  std::vector<std::vector<uint32_t>> orders_;  // by layer; none: not placed
  std::vector<TrainedLookahead> lookaheads_;          // by layer, the first of them empty
};

void Training::CountParameters(const BundleFile& file, const ModelConfig& config) {
  for (const TensorEntry& entry : file.tensors()) {
    if (entry.section != SectionKind::kResident) continue;
    model_parameters_ += entry.bytes / ElementBytes(entry.type);
  }
  model_parameters_ += uint64_t{config.num_layers} * 2 * config.d_model * config.d_ffn;
  shape_ = {config.d_model, config.d_ffn};
}

// Shares what memory there is: the model at its floor first, then the inputs that are kept, then
// neuron slots.
absl::Status Training::CutText(const ModelConfig& config, ModelOptions* dense) {
  const std::string& path = writer_->temporary_path();
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<TextCodec> codec, TextCodec::Open(path));
  SLUICE_ASSIGN_OR_RETURN(const MemoryPlan plan, PlanMemory(path, *dense));
  const uint64_t available = AvailableMemoryBytes();
  const uint64_t taken = plan.floor_bytes + std::max(kMarginBytes, available / 16);
  if (available < taken) {
    return absl::ResourceExhaustedError(
        absl::StrCat("training runs the model, which takes at least ", taken,
                     " bytes, and this process may take ", available, " more"));
  }
  SLUICE_ASSIGN_OR_RETURN(windows_, CutWindows(codec->Tokenize(text_, false),
                                               codec->Tokenize("", true), config,
                                               available - taken));
  dense->dram_budget_bytes =
      plan.floor_bytes + (available - taken) - CaptureBytes(windows_, config);
  return absl::OkStatus();
}

absl::Status Training::Calibrate() {
  const std::string& path = writer_->temporary_path();
  ModelConfig config;
  ModelOptions dense;
  {
    SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> file, BundleFile::Open(path));
    SLUICE_ASSIGN_OR_RETURN(config, ConfigOf(*file));
    CountParameters(*file, config);
    config.max_positions = std::min(config.max_positions, kContextTokens);
    dense = OptionsFor(Mode::kDense, config.max_positions, threads_);
    SLUICE_RETURN_IF_ERROR(CutText(config, &dense));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModelImpl> model,
                          FlashModelImpl::Open(path, dense, nullptr));
  SLUICE_ASSIGN_OR_RETURN(capture_, CaptureInputs(*model, windows_, [&](double done) {
    return Report("calibrate", done);
  }));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint32_t>> Training::ChooseRanks(const LayerTrainer& trainer) {
  const uint32_t layers = static_cast<uint32_t>(capture_.up_bias.size());
  if (options_.rank != 0) {
    return std::vector<uint32_t>(layers, std::min(options_.rank, shape_.max_rank()));
  }
  const std::vector<uint32_t> pilots = PilotRanks(shape_);
  std::vector<PilotErrors> errors;
  for (uint32_t i = 0; i < layers; ++i) {
    SLUICE_ASSIGN_OR_RETURN(PilotErrors layer, trainer.Pilot(i, pilots, [&](double done) {
      return Report("train", kPilotShare * (i + done) / layers);
    }));
    errors.push_back(std::move(layer));
  }
  return AllocateRanks(errors, shape_,
                       options_.parameter_share * static_cast<double>(model_parameters_));
}

absl::Status Training::TrainLayers() {
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> file,
                          BundleFile::Open(writer_->temporary_path()));
  ThreadPool pool(static_cast<int>(threads_));
  const LayerTrainer trainer(file.get(), &capture_, options_.seed, &pool);
  SLUICE_ASSIGN_OR_RETURN(ranks_, ChooseRanks(trainer));
  const double pilot_share = options_.rank != 0 ? 0 : kPilotShare;
  for (uint32_t i = 0; i < ranks_.size(); ++i) {
    const auto on_progress = [&](double done) {
      const double share = (i + done) / static_cast<double>(ranks_.size());
      return Report("train", pilot_share + (1 - pilot_share) * share);
    };
    SLUICE_ASSIGN_OR_RETURN(TrainedLayer layer, trainer.Train(i, ranks_[i], on_progress));
    losses_.push_back(MeanLoss(layer.histogram));
    layers_.push_back(std::move(layer));
    predictor_parameters_ += shape_.Parameters(ranks_[i]);
  }
  std::vector<ScoreHistogram> histograms;
  for (TrainedLayer& layer : layers_) histograms.push_back(std::move(layer.histogram));
  thresholds_ = ChooseThresholds(histograms, kPredictedPerActive);
  return absl::OkStatus();
}

// After the training, since it takes the predicted sets, which is what will be read: placed by
// them the file has 3 to 7 % fewer misses than placed by the truth (tales-7m).
absl::Status Training::Place() {
  if (!order_neurons_) return absl::OkStatus();
  ThreadPool pool(static_cast<int>(threads_));
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    StoredPredictor& predictor = layers_[i].predictor;
    const size_t tokens = capture_.training.tokens(i);
    const size_t wanted = PlacementTokens(predictor.rounded, thresholds_.values[i],
                                          capture_.training.Take(i, tokens / kPilotSets + 1),
                                          &pool);
    const FloatMatrix inputs = capture_.training.Take(i, (tokens + wanted - 1) / wanted);
    placement_tokens_ = std::max(placement_tokens_, inputs.rows);
    std::vector<uint32_t> order = order_neurons_(
        PredictedSets(inputs, predictor.rounded, thresholds_.values[i], &pool), shape_.d_ffn,
        &pool);
    SLUICE_RETURN_IF_ERROR(
        writer_->ReorderNeurons(i, order, absl::StrCat("layers.", i, ".ffn.up.bias")));
    predictor.rounded = InOrder(predictor.rounded, order);
    orders_.push_back(std::move(order));
    if (!Report("place", static_cast<double>(i + 1) / static_cast<double>(layers_.size()))) {
      return absl::CancelledError("cancelled");
    }
  }
  return absl::OkStatus();
}

absl::Status Training::TrainLookaheads() {
  ThreadPool pool(static_cast<int>(threads_));
  lookaheads_.resize(layers_.size());
  for (size_t i = layers_.size(); i-- > 1;) {
    const uint32_t layer = static_cast<uint32_t>(i);
    const size_t stride = capture_.training.tokens(layer) / kLookaheadTokens + 1;
    const size_t held_out = capture_.held_out.tokens(layer) / kLookaheadScored + 1;
    LookaheadData data{
        capture_.training.Take(layer - 1, stride), capture_.training.Take(layer, stride),
        capture_.held_out.Take(layer - 1, held_out), capture_.held_out.Take(layer, held_out)};
    capture_.training.layers[i] = {};  // the memory is of no more use
    SLUICE_ASSIGN_OR_RETURN(lookaheads_[i],
                            TrainLookahead(std::move(data), layers_[i].predictor,
                                           thresholds_.values[i], &pool));
    if (!Report("lookahead", static_cast<double>(layers_.size() - i) /
                                 static_cast<double>(layers_.size() - 1))) {
      return absl::CancelledError("cancelled");
    }
  }
  capture_.training = {};
  return absl::OkStatus();
}

std::vector<NamedTensor> Training::Tensors() const {
  std::vector<NamedTensor> tensors;
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    AppendTensors(i, layers_[i].predictor, thresholds_.values[i], &tensors);
    if (i > 0) AppendLookahead(i, layers_[i].predictor, lookaheads_[i], &tensors);
  }
  return tensors;
}

nlohmann::json Training::TextJson() const {
  const absl::Span<const std::byte> bytes(reinterpret_cast<const std::byte*>(text_.data()),
                                          text_.size());
  return {{"text", text_name_}, {"text_xxh3", HashToHex(Xxh3(bytes))}};
}

nlohmann::json Training::TrainingJson() const {
  uint64_t lookahead_parameters = 0;
  for (const TrainedLookahead& each : lookaheads_) lookahead_parameters += each.parameters();
  const double parameters = static_cast<double>(std::max<uint64_t>(model_parameters_, 1));
  nlohmann::json json = TextJson();
  json.update(
      {{"tokens", windows_.training.size()},
       {"held_out_tokens", windows_.held_out.size()},
       {"seed", options_.seed},
       {"loss",
        "per token: softplus(-score) of active neurons, each times 30 min(10, contribution / "
        "mean contribution), plus softplus(score) of the others"},
       {"parameter_share", static_cast<double>(predictor_parameters_) / parameters},
       {"lookahead_parameter_share", static_cast<double>(lookahead_parameters) / parameters},
       {"recall_target", thresholds_.recall}});
  return json;
}

nlohmann::json Training::PlacementJson() const {
  nlohmann::json json = TextJson();
  nlohmann::json layers = nlohmann::json::array();
  for (const std::vector<uint32_t>& order : orders_) {
    layers.push_back({{"order", OrderToText(order)}});
  }
  json.update({{"method", "coactivation"},
               {"tokens", placement_tokens_},
               {"layers", std::move(layers)}});
  return json;
}

nlohmann::json Training::MembersWith(const Quality& quality) const {
  nlohmann::json layers = nlohmann::json::array();
  for (size_t i = 0; i < ranks_.size(); ++i) {
    nlohmann::json layer = SparsityJson({quality.layers[i]}, {quality.layouts[i]});
    layer.update(UnionJson(quality.layers[i], quality.layouts[i]));
    layer["layer"] = i;
    layer["rank"] = ranks_[i];
    layer["loss"] = losses_[i];
    if (i > 0) {
      layer["lookahead"] = {{"recall", lookaheads_[i].recall},
                            {"precision", lookaheads_[i].precision},
                            {"guessed_fraction", lookaheads_[i].guessed_fraction}};
    }
    layers.push_back(std::move(layer));
  }
  nlohmann::json row = SparsityJson(quality.layers, quality.layouts);
  row["text"] = absl::StrCat(text_name_.get<std::string>(), " (held out)");
  row["tokens"] = quality.sparse.tokens;
  row["perplexity_dense"] = capture_.dense.value;
  row["perplexity_sparse"] = quality.sparse.value;
  nlohmann::json members = {
      {"predictors", {{"training", TrainingJson()}, {"layers", std::move(layers)}}},
      {"quality", nlohmann::json::array({std::move(row)})}};
  if (!orders_.empty()) members["placement"] = PlacementJson();
  return members;
}

std::vector<LayerQuality> Training::LayersOf(const Quality& quality) const {
  std::vector<LayerQuality> layers;
  for (uint32_t i = 0; i < ranks_.size(); ++i) {
    const LayerSparsity& from = quality.layers[i];
    const double neurons = static_cast<double>(std::max<uint64_t>(from.tokens, 1)) * shape_.d_ffn;
    layers.push_back({i, ranks_[i], from.recall(), from.precision(),
                      static_cast<double>(from.active) / neurons,
                      static_cast<double>(from.predicted) / neurons, lookaheads_[i].recall,
                      lookaheads_[i].precision});
  }
  return layers;
}

absl::StatusOr<std::vector<LayerQuality>> Training::Run() {
  SLUICE_RETURN_IF_ERROR(Calibrate());
  SLUICE_RETURN_IF_ERROR(TrainLayers());
  SLUICE_RETURN_IF_ERROR(Place());
  SLUICE_RETURN_IF_ERROR(TrainLookaheads());
  const std::vector<NamedTensor> tensors = Tensors();
  // Measured with the very file, whose manifest gets the result then.
  SLUICE_RETURN_IF_ERROR(
      writer_->ReplacePredictors(tensors, {{"predictors", nullptr}, {"quality", nullptr}}));
  SLUICE_ASSIGN_OR_RETURN(const Quality quality,
                          MeasureQuality(writer_->temporary_path(), windows_, threads_,
                                         [&](double done) { return Report("quality", done); }));
  SLUICE_RETURN_IF_ERROR(writer_->ReplacePredictors(tensors, MembersWith(quality)));
  return LayersOf(quality);
}

}  // namespace

absl::StatusOr<std::vector<LayerQuality>> TrainInto(BundleWriter* writer, const std::string& text,
                                                    const std::string& text_name,
                                                    const TrainOptions& options,
                                                    const OrderNeuronsFn& order_neurons) {
  if (!(options.parameter_share > 0 && options.parameter_share <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter_share is ", options.parameter_share, ", expected a share above 0 ",
                     "and at most 1"));
  }
  return Training(writer, text, text_name, options, order_neurons).Run();
}

absl::StatusOr<std::string> ReadCalibrationText(const std::string& path) {
  return ReadWholeFile(path, kMaxTextBytes);
}

absl::StatusOr<std::vector<LayerQuality>> TrainPredictors(const std::string& path,
                                                          const std::string& calibration_path,
                                                          const TrainOptions& options) {
  try {
    SLUICE_ASSIGN_OR_RETURN(const std::string text, ReadCalibrationText(calibration_path));
    SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<BundleWriter> writer, BundleWriter::Edit(path));
    const std::string name = std::filesystem::path(calibration_path).filename().string();
    SLUICE_ASSIGN_OR_RETURN(std::vector<LayerQuality> layers,
                            TrainInto(writer.get(), text, name, options));
    SLUICE_RETURN_IF_ERROR(writer->Commit());
    return layers;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("training the predictors of ", path, ": out of memory"));
  }
}

}  // namespace sluice
