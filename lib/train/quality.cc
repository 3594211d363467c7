#include "lib/train/quality.h"

#include <algorithm>

#include "lib/base/status_macros.h"

namespace sluice::train {
namespace {

// A whole window at once: each record then serves all its tokens.
constexpr uint32_t kChunkTokens = 256;
// The window that memory_plan.cc shares slots out by.
constexpr size_t kPlanWindow = 2;
static_assert(kUnionWindows[kPlanWindow] == 5);

double Ratio(uint64_t part, uint64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<uint64_t>(whole, 1));
}

}  // namespace

ModelOptions OptionsFor(Mode mode, uint32_t context_tokens, uint32_t threads) {
  ModelOptions options;
  options.mode = mode;
  options.threads = threads;
  options.prefill_chunk_tokens = kChunkTokens;
  options.context_tokens = context_tokens;
  return options;
}

absl::StatusOr<Quality> MeasureQuality(const std::string& path, const Windows& windows,
                                       uint32_t threads,
                                       absl::FunctionRef<bool(double)> on_progress) {
  const ModelOptions sparse = OptionsFor(Mode::kSparse, windows.context_tokens, threads);
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModelImpl> model,
                          FlashModelImpl::Open(path, sparse, nullptr));
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<SessionImpl> session, model->CreateSessionImpl());
  Quality quality;
  quality.layouts = model->file().layers();
  SparsityMeter meter(quality.layouts, /*use_truth=*/false);
  session->set_observer(&meter);
  PerplexityOptions options;
  options.prefix = windows.prefix;
  options.window_tokens = windows.window_tokens;
  options.on_progress = [&](uint64_t done, uint64_t total) {
    return on_progress(static_cast<double>(done) / static_cast<double>(total));
  };
  SLUICE_ASSIGN_OR_RETURN(quality.sparse,
                          MeasurePerplexity(*session, windows.held_out, options));
  session->set_observer(nullptr);
  meter.Finish();
  quality.layers = meter.layers();
  return quality;
}

nlohmann::json SparsityJson(const std::vector<LayerSparsity>& layers,
                            const std::vector<RecordLayout>& layouts) {
  LayerSparsity sum;
  uint64_t neurons = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    sum.active += layers[i].active;
    sum.predicted += layers[i].predicted;
    sum.both += layers[i].both;
    neurons += layers[i].tokens * layouts[i].num_neurons;
  }
  return {{"recall", sum.recall()},
          {"precision", sum.precision()},
          {"active_fraction", Ratio(sum.active, neurons)},
          {"predicted_fraction", Ratio(sum.predicted, neurons)}};
}

nlohmann::json UnionJson(const LayerSparsity& layer, const RecordLayout& layout) {
  return {{"record_union_5",
           Ratio(layer.record_union[kPlanWindow], layer.tokens * layout.num_records)},
          {"neuron_union_5",
           Ratio(layer.neuron_union[kPlanWindow], layer.tokens * layout.num_neurons)}};
}

}  // namespace sluice::train
