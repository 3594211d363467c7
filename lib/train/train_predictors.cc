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
#include "lib/io/file.h"
#include "lib/io/host.h"
#include "lib/model/memory_plan.h"
#include "lib/train/capture.h"
#include "lib/train/layer_trainer.h"
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

// One training from beginning to end.
class Training {
 public:
  Training(BundleWriter* writer, const std::string& text, const std::string& text_name,
           const TrainOptions& options)
      : writer_(writer), text_(text), options_(options),
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
  nlohmann::json TrainingJson() const;
  nlohmann::json MembersWith(const Quality& quality) const;
  std::vector<LayerQuality> LayersOf(const Quality& quality) const;

  BundleWriter* const writer_;
  const std::string& text_;
  const TrainOptions& options_;
  const uint32_t threads_;
  nlohmann::json text_name_;

  Windows windows_;
  Capture capture_;
  PredictorShape shape_;
  uint64_t model_parameters_ = 0;
  uint64_t predictor_parameters_ = 0;
  std::vector<uint32_t> ranks_;
  std::vector<double> losses_;  // by layer, on the held-out tokens
  double recall_target_ = 0;
  std::vector<NamedTensor> tensors_;
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
  std::vector<TrainedLayer> layers;
  for (uint32_t i = 0; i < ranks_.size(); ++i) {
    const auto on_progress = [&](double done) {
      const double share = (i + done) / static_cast<double>(ranks_.size());
      return Report("train", pilot_share + (1 - pilot_share) * share);
    };
    SLUICE_ASSIGN_OR_RETURN(TrainedLayer layer, trainer.Train(i, ranks_[i], on_progress));
    losses_.push_back(MeanLoss(layer.histogram));
    layers.push_back(std::move(layer));
    predictor_parameters_ += shape_.Parameters(ranks_[i]);
    capture_.training.layers[i] = {};  // the memory is of no more use
  }
  std::vector<ScoreHistogram> histograms;
  for (const TrainedLayer& layer : layers) histograms.push_back(layer.histogram);
  const Thresholds thresholds = ChooseThresholds(histograms, kPredictedPerActive);
  recall_target_ = thresholds.recall;
  for (uint32_t i = 0; i < layers.size(); ++i) {
    AppendTensors(i, layers[i].predictor, thresholds.values[i], &tensors_);
  }
  return absl::OkStatus();
}

nlohmann::json Training::TrainingJson() const {
  const absl::Span<const std::byte> bytes(reinterpret_cast<const std::byte*>(text_.data()),
                                          text_.size());
  return {{"text", text_name_},
          {"text_xxh3", HashToHex(Xxh3(bytes))},
          {"tokens", windows_.training.size()},
          {"held_out_tokens", windows_.held_out.size()},
          {"seed", options_.seed},
          {"loss",
           "per token: softplus(-score) of active neurons, each times 30 min(10, contribution / "
           "mean contribution), plus softplus(score) of the others"},
          {"parameter_share", static_cast<double>(predictor_parameters_) /
                                  static_cast<double>(std::max<uint64_t>(model_parameters_, 1))},
          {"recall_target", recall_target_}};
}

nlohmann::json Training::MembersWith(const Quality& quality) const {
  nlohmann::json layers = nlohmann::json::array();
  for (size_t i = 0; i < ranks_.size(); ++i) {
    nlohmann::json layer = SparsityJson({quality.layers[i]}, {quality.layouts[i]});
    layer.update(UnionJson(quality.layers[i], quality.layouts[i]));
    layer["layer"] = i;
    layer["rank"] = ranks_[i];
    layer["loss"] = losses_[i];
    layers.push_back(std::move(layer));
  }
  nlohmann::json row = SparsityJson(quality.layers, quality.layouts);
  row["text"] = absl::StrCat(text_name_.get<std::string>(), " (held out)");
  row["tokens"] = quality.sparse.tokens;
  row["perplexity_dense"] = capture_.dense.value;
  row["perplexity_sparse"] = quality.sparse.value;
  return {{"predictors", {{"training", TrainingJson()}, {"layers", std::move(layers)}}},
          {"quality", nlohmann::json::array({std::move(row)})}};
}

std::vector<LayerQuality> Training::LayersOf(const Quality& quality) const {
  std::vector<LayerQuality> layers;
  for (uint32_t i = 0; i < ranks_.size(); ++i) {
    const LayerSparsity& from = quality.layers[i];
    const double neurons = static_cast<double>(std::max<uint64_t>(from.tokens, 1)) * shape_.d_ffn;
    layers.push_back({i, ranks_[i], from.recall(), from.precision(),
                      static_cast<double>(from.active) / neurons,
                      static_cast<double>(from.predicted) / neurons});
  }
  return layers;
}

absl::StatusOr<std::vector<LayerQuality>> Training::Run() {
  SLUICE_RETURN_IF_ERROR(Calibrate());
  SLUICE_RETURN_IF_ERROR(TrainLayers());
  // Measured with the very file, whose manifest gets the result then.
  SLUICE_RETURN_IF_ERROR(
      writer_->ReplacePredictors(tensors_, {{"predictors", nullptr}, {"quality", nullptr}}));
  SLUICE_ASSIGN_OR_RETURN(const Quality quality,
                          MeasureQuality(writer_->temporary_path(), windows_, threads_,
                                         [&](double done) { return Report("quality", done); }));
  SLUICE_RETURN_IF_ERROR(writer_->ReplacePredictors(tensors_, MembersWith(quality)));
  return LayersOf(quality);
}

}  // namespace

absl::StatusOr<std::vector<LayerQuality>> TrainInto(BundleWriter* writer, const std::string& text,
                                                    const std::string& text_name,
                                                    const TrainOptions& options) {
  if (!(options.parameter_share > 0 && options.parameter_share <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter_share is ", options.parameter_share, ", expected a share above 0 ",
                     "and at most 1"));
  }
  return Training(writer, text, text_name, options).Run();
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
