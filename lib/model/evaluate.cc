#include "sluice/evaluate.h"

#include <algorithm>

#include "lib/base/status_macros.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/perplexity.h"
#include "lib/model/sparsity_meter.h"

namespace sluice {
namespace {

constexpr uint32_t kDefaultWindow = 256;

void Summarise(const std::vector<LayerSparsity>& layers, uint32_t d_ffn, EvaluateReport* report) {
  LayerSparsity all;
  for (const LayerSparsity& layer : layers) {
    all.tokens += layer.tokens;
    all.active += layer.active;
    all.predicted += layer.predicted;
    all.both += layer.both;
    for (size_t k = 0; k < kUnionWindows.size(); ++k) {
      all.neuron_union[k] += layer.neuron_union[k];
      all.neuron_new[k] += layer.neuron_new[k];
    }
  }
  const double neurons = static_cast<double>(std::max<uint64_t>(all.tokens, 1)) * d_ffn;
  report->recall = all.recall();
  report->precision = all.precision();
  report->active_fraction = static_cast<double>(all.active) / neurons;
  report->predicted_fraction = static_cast<double>(all.predicted) / neurons;
  for (size_t k = 0; k < kUnionWindows.size(); ++k) {
    report->window_curve.push_back({kUnionWindows[k],
                                    static_cast<double>(all.neuron_union[k]) / neurons,
                                    static_cast<double>(all.neuron_new[k]) / neurons});
  }
}

}  // namespace

absl::StatusOr<EvaluateReport> Evaluate(FlashModel& model, const std::string& text,
                                        const EvaluateOptions& options) {
  // There is one implementation of FlashModel.
  auto& impl = static_cast<FlashModelImpl&>(model);
  SLUICE_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, impl.Tokenize(text, false));
  if (options.max_tokens != 0 && tokens.size() > options.max_tokens) {
    tokens.resize(options.max_tokens);
  }
  PerplexityOptions perplexity;
  SLUICE_ASSIGN_OR_RETURN(perplexity.prefix, impl.Tokenize("", true));
  const size_t room = impl.plan().context_tokens + 1 - std::min<size_t>(
      perplexity.prefix.size(), impl.plan().context_tokens);
  perplexity.window_tokens = options.window_tokens != 0
                                 ? options.window_tokens
                                 : std::min(kDefaultWindow, static_cast<uint32_t>(room));
  perplexity.on_progress = options.on_progress;

  const bool dense = impl.plan().mode == Mode::kDense;
  SparsityMeter meter(impl.file().layers(), /*use_truth=*/dense);
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<SessionImpl> session, impl.CreateSessionImpl());
  session->set_observer(&meter);
  SLUICE_ASSIGN_OR_RETURN(const Perplexity measured,
                          MeasurePerplexity(*session, tokens, perplexity));
  session->set_observer(nullptr);
  meter.Finish();
  EvaluateReport report;
  report.perplexity = measured.value;
  report.tokens = measured.tokens;
  Summarise(meter.layers(), impl.config().d_ffn, &report);
  if (dense) report.predicted_fraction = 1;
  return report;
}

}  // namespace sluice
