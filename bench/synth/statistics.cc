#include "bench/synth/statistics.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/synth/random_rows.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/status_macros.h"
#include "lib/model/flash_model_impl.h"
#include "lib/predictor/predictor.h"
#include "sluice/plan.h"

namespace sluice::synth {
namespace {

constexpr uint32_t kMostTokens = 512;
constexpr uint64_t kSlotShare = 16;  // of the file, beside what is fixed
// Of a text whose inputs are compared.
constexpr size_t kTextWindow = 256, kTextWindows = 8;

// Keeps the inputs and the sets of every layer.
class SetRecorder : public FfnObserver {
 public:
  SetRecorder(const ModelConfig& config, bool keep_sets)
      : keep_sets_(keep_sets), d_model_(config.d_model), inputs_(config.num_layers),
        sets_(config.num_layers) {}

  void OnInput(uint32_t layer, size_t num_tokens, const float* x) override {
    inputs_[layer].insert(inputs_[layer].end(), x, x + num_tokens * d_model_);
    if (!keep_sets_) return;
    sets_[layer].active.resize(sets_[layer].active.size() + num_tokens);
    sets_[layer].predicted.resize(sets_[layer].active.size());
  }

  void OnNeurons(uint32_t layer, size_t num_tokens, absl::Span<const uint32_t> neurons,
                 const float* outputs, const NeuronMasks& predicted) override {
    if (!keep_sets_) return;
    LayerSets& sets = sets_[layer];
    const size_t first = sets.active.size() - num_tokens;
    for (uint32_t n : neurons) {
      for (size_t t = 0; t < num_tokens; ++t) {
        if (outputs[n * num_tokens + t] != 0) sets.active[first + t].push_back(n);
        if (predicted.Has(n, t)) sets.predicted[first + t].push_back(n);
      }
    }
  }

  const std::vector<float>& inputs(uint32_t layer) const { return inputs_[layer]; }
  LayerSets& sets(uint32_t layer) { return sets_[layer]; }

 private:
  const bool keep_sets_;
  const size_t d_model_;
  std::vector<std::vector<float>> inputs_;
  std::vector<LayerSets> sets_;
};

// With room for all tokens in one chunk, and slots for a part of the file.
absl::StatusOr<std::shared_ptr<FlashModelImpl>> OpenFor(const std::string& path, uint32_t tokens,
                                                        Mode mode) {
  ModelOptions options;
  options.context_tokens = tokens;
  options.prefill_chunk_tokens = tokens;
  options.mode = mode;
  options.dram_budget_bytes = uint64_t{1} << 50;  // the plan for any budget has the fixed parts
  SLUICE_ASSIGN_OR_RETURN(const MemoryPlan plan, PlanMemory(path, options));
  uint64_t records = 0;
  for (uint32_t count : plan.records_per_layer) records += count;
  const uint64_t fixed = plan.resident + plan.predictor + plan.kv + plan.scratch + plan.io;
  options.dram_budget_bytes = std::max(
      fixed + records * plan.record_bytes / kSlotShare + (uint64_t{1} << 20), plan.floor_bytes);
  return FlashModelImpl::Open(path, options, nullptr);
}

// Reads the matrix or vector of that name.
absl::StatusOr<AlignedBuffer> ReadNamed(const BundleFile& file, const TensorEntry& entry) {
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(entry.bytes));
  SLUICE_RETURN_IF_ERROR(file.ReadTensor(entry, buffer.span()));
  return buffer;
}

// Fills `guessed` from the inputs of the layer before; leaves it empty where the file has no
// look-ahead predictor for this layer.
absl::Status Guess(FlashModelImpl& model, uint32_t layer, const std::vector<float>& before,
                   std::vector<std::vector<uint32_t>>* guessed) {
  const BundleFile& file = model.file();
  const std::string name = absl::StrCat("layers.", layer, ".");
  const TensorEntry* in = file.FindTensor(name + "lookahead.in");
  const TensorEntry* bias = file.FindTensor(name + "lookahead.bias");
  const TensorEntry* out = file.FindTensor(name + "predictor.out");
  if (in == nullptr || bias == nullptr || out == nullptr) return absl::OkStatus();
  const uint64_t d_model = model.config().d_model, d_ffn = model.config().d_ffn;
  const uint64_t rank = in->shape[0];
  if (in->shape != std::vector<uint64_t>{rank, d_model} || in->type != out->type ||
      out->shape != std::vector<uint64_t>{d_ffn, rank} || bias->type != ElementType::kF32 ||
      bias->shape != std::vector<uint64_t>{d_ffn}) {
    return absl::DataLossError(absl::StrCat(file.path(), ": the look-ahead predictor of layer ",
                                            layer, " does not fit its predictor"));
  }
  SLUICE_ASSIGN_OR_RETURN(const AlignedBuffer in_data, ReadNamed(file, *in));
  SLUICE_ASSIGN_OR_RETURN(const AlignedBuffer out_data, ReadNamed(file, *out));
  SLUICE_ASSIGN_OR_RETURN(const AlignedBuffer bias_data, ReadNamed(file, *bias));
  const LowRankPredictor predictor(in_data.data(), out_data.data(), in->type,
                                   bias_data.as<float>(), static_cast<uint32_t>(d_model),
                                   static_cast<uint32_t>(d_ffn), static_cast<uint32_t>(rank));
  const size_t tokens = before.size() / d_model;
  std::vector<float> scratch(predictor.ScratchFloats(tokens));
  guessed->resize(tokens);
  const std::atomic<bool> never{false};
  predictor.Predict(before.data(), tokens, &model.pool(), &never, scratch.data(),
                    guessed->data());
  return absl::OkStatus();
}

std::string Percent(double share) { return absl::StrFormat("%6.2f %%", share * 100); }

}  // namespace

double MeanBehindFirst(const std::vector<double>& similarity) {
  if (similarity.size() < 2) return 0;
  return std::accumulate(similarity.begin() + 1, similarity.end(), 0.0) /
         static_cast<double>(similarity.size() - 1);
}

std::vector<int32_t> RandomTokenIds(uint64_t seed, size_t count, uint32_t vocab_size, bool odd) {
  std::vector<int32_t> ids(count);
  const uint32_t choices = vocab_size / 2;
  for (size_t i = 0; i < count; ++i) {
    ids[i] = static_cast<int32_t>(2 * (Mix(seed, i) % choices) + (odd ? 1 : 0));
  }
  return ids;
}

absl::StatusOr<Statistics> MeasureStatistics(const std::string& path,
                                             const StatisticsOptions& options) {
  const uint64_t tokens = uint64_t{options.tokens} + options.warm_up;
  if (options.tokens == 0 || options.warm_up < kWindowTokens || tokens > kMostTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.tokens, " tokens after ", options.warm_up, " are not at least one, ",
                     "and at most ", kMostTokens, " with at least ", kWindowTokens, " before"));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModelImpl> model,
                          OpenFor(path, static_cast<uint32_t>(tokens), Mode::kSparse));
  const ModelConfig& config = model->config();
  SetRecorder recorder(config, /*keep_sets=*/true);
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<SessionImpl> session, model->CreateSessionImpl());
  session->set_observer(&recorder);
  const std::vector<int32_t> ids =
      RandomTokenIds(Mix(options.seed, 0x5eed), tokens, config.vocab_size, /*odd=*/true);
  SLUICE_RETURN_IF_ERROR(session->Prefill(ids, {}, PrefillOptions()));
  session->set_observer(nullptr);

  Statistics out;
  const size_t skipped = size_t{options.warm_up} * config.d_model;
  for (uint32_t i = 0; i < config.num_layers; ++i) {
    if (i > 0) {
      SLUICE_RETURN_IF_ERROR(
          Guess(*model, i, recorder.inputs(i - 1), &recorder.sets(i).guessed));
      out.similarity.push_back(MeanCosine(recorder.inputs(i - 1).data() + skipped,
                                          recorder.inputs(i).data() + skipped, options.tokens,
                                          config.d_model));
    }
    out.has_lookahead |= !recorder.sets(i).guessed.empty();
    out.layers.push_back(
        Summarise(recorder.sets(i), model->file().layers()[i], options.warm_up));
    out.all.Add(out.layers.back());
  }
  return out;
}

std::vector<StatisticCheck> CheckStatistics(const Statistics& statistics,
                                            const Targets& targets) {
  std::vector<StatisticCheck> checks;
  const auto add = [&](const char* name, double target, double measured) {
    const bool ok = std::abs(measured - target) <= targets.tolerance * target;
    checks.push_back({name, target, measured, ok});
  };
  const auto& layers = statistics.layers;
  const auto count = static_cast<uint32_t>(layers.size());
  const LayerFigures& all = statistics.all;
  add("active", targets.active, all.ActiveShare());
  add("active, first layer", targets.active_first, layers.front().ActiveShare());
  add("active, middle layer", targets.active_middle, layers[MiddleLayer(count)].ActiveShare());
  add("active, last layer", targets.active_last, layers.back().ActiveShare());
  add("predicted", targets.predicted, all.PredictedShare());
  add("union of 5 tokens", targets.union_of_window, all.UnionShare());
  add("new per token", targets.new_per_token, all.FreshShare());
  add("recall", targets.recall, all.Recall());
  checks.back().ok = checks.back().ok && all.Recall() >= targets.least_recall;
  return checks;
}

bool AllOk(const std::vector<StatisticCheck>& checks) {
  return std::all_of(checks.begin(), checks.end(), [](const auto& check) { return check.ok; });
}

nlohmann::json StatisticsJson(const Statistics& statistics,
                              const std::vector<StatisticCheck>& checks) {
  nlohmann::json list = nlohmann::json::array(), layers = nlohmann::json::array();
  for (const StatisticCheck& check : checks) {
    list.push_back({{"name", check.name},
                    {"target", check.target},
                    {"measured", check.measured},
                    {"ok", check.ok}});
  }
  for (const LayerFigures& layer : statistics.layers) layers.push_back(layer.ToJson());
  return {{"statistics_ok", AllOk(checks)},
          {"checks", std::move(list)},
          {"mean", statistics.all.ToJson()},
          {"similarity", statistics.similarity},
          {"similarity_behind_first", MeanBehindFirst(statistics.similarity)},
          {"layers", std::move(layers)}};
}

std::string StatisticsText(const Statistics& statistics,
                           const std::vector<StatisticCheck>& checks) {
  std::string text = "layer    active predicted     union       new  recall   run  "
                     "similar  guess recall precision\n";
  for (size_t i = 0; i < statistics.layers.size(); ++i) {
    const LayerFigures& layer = statistics.layers[i];
    absl::StrAppendFormat(&text, "%5d  %s  %s  %s  %s  %.4f  %.2f", i,
                          Percent(layer.ActiveShare()), Percent(layer.PredictedShare()),
                          Percent(layer.UnionShare()), Percent(layer.FreshShare()),
                          layer.Recall(), layer.MeanRun());
    if (i > 0) absl::StrAppendFormat(&text, "   %.4f", statistics.similarity[i - 1]);
    if (layer.guessed > 0) {
      absl::StrAppendFormat(&text, "        %.4f    %.4f", layer.GuessRecall(),
                            layer.GuessPrecision());
    }
    text += "\n";
  }
  for (const StatisticCheck& check : checks) {
    absl::StrAppendFormat(&text, "%-22s %s   target %s   %s\n", check.name,
                          Percent(check.measured), Percent(check.target),
                          check.ok ? "ok" : "MISSED");
  }
  absl::StrAppendFormat(&text,
                        "mean run of new neurons %.2f, similarity of layers behind the first two "
                        "%.4f\n",
                        statistics.all.MeanRun(), MeanBehindFirst(statistics.similarity));
  if (statistics.has_lookahead) {
    absl::StrAppendFormat(&text, "look-ahead guesses %s, recall %.4f, precision %.4f\n",
                          Percent(statistics.all.GuessedShare()), statistics.all.GuessRecall(),
                          statistics.all.GuessPrecision());
  }
  return text;
}

absl::StatusOr<std::vector<double>> MeasureSimilarity(const std::string& path,
                                                      const std::string& text) {
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModelImpl> model,
                          OpenFor(path, kTextWindow, Mode::kDense));
  SLUICE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, model->Tokenize(text, false));
  if (ids.empty()) return absl::InvalidArgumentError("the text has no tokens");
  const ModelConfig& config = model->config();
  SetRecorder recorder(config, /*keep_sets=*/false);
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<SessionImpl> session, model->CreateSessionImpl());
  session->set_observer(&recorder);
  for (size_t w = 0; w < kTextWindows && w * kTextWindow < ids.size(); ++w) {
    session->Reset();
    SLUICE_RETURN_IF_ERROR(session->Prefill(
        absl::MakeConstSpan(ids).subspan(w * kTextWindow, kTextWindow), {}, PrefillOptions()));
  }
  session->set_observer(nullptr);
  std::vector<double> similarity;
  for (uint32_t i = 1; i < config.num_layers; ++i) {
    const std::vector<float>&a = recorder.inputs(i - 1), &b = recorder.inputs(i);
    similarity.push_back(
        MeanCosine(a.data(), b.data(), a.size() / config.d_model, config.d_model));
  }
  return similarity;
}

}  // namespace sluice::synth
