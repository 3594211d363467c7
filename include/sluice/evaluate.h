// Perplexity on a text, and how well the predictors do on it.
#ifndef SLUICE_EVALUATE_H_
#define SLUICE_EVALUATE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sluice/flash_model.h"

namespace sluice {

struct WindowPoint {
  uint32_t window_tokens = 0;
  double union_fraction = 0;  // of d_ffn: neurons used in a window of that many tokens
  double new_fraction = 0;    // of d_ffn: neurons of the next token that are not in it
};

struct EvaluateOptions {
  // The text is cut into windows: the special tokens that the tokenizer puts in front, then this
  // many tokens of text. 0: 256, or what the context holds.
  uint32_t window_tokens = 0;
  uint64_t max_tokens = 0;  // stop after so many; 0: all
  std::function<bool(uint64_t tokens_done, uint64_t tokens_total)> on_progress;
};

struct EvaluateReport {
  double perplexity = 0;  // exp of the mean negative log-likelihood per token of text
  uint64_t tokens = 0;    // that were predicted
  // Means over layers and tokens. In sparse mode the truth is every neuron's own output at the
  // same input; the sets are the predictors', whatever the cache held. In dense mode recall,
  // precision and predicted_fraction are 1, and the window curve is that of the truly active.
  double recall = 0;
  double precision = 0;
  double active_fraction = 0;
  double predicted_fraction = 0;
  std::vector<WindowPoint> window_curve;  // windows of 1, 2, 5, 10, 30 tokens
};

// Uses one session of `model`, in the mode that the model was opened with. Reads every neuron
// also in sparse mode (for the truth).
absl::StatusOr<EvaluateReport> Evaluate(FlashModel& model, const std::string& text,
                                        const EvaluateOptions& options);

}  // namespace sluice

#endif  // SLUICE_EVALUATE_H_
