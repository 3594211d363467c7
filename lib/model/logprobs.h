// Log probabilities of one token's logits: the natural logarithm of their softmax.
#ifndef SLUICE_LIB_MODEL_LOGPROBS_H_
#define SLUICE_LIB_MODEL_LOGPROBS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "sluice/session.h"

namespace sluice {

// Threads: one at a time.
class Logprobs {
 public:
  // Copies `logits`: finite numbers, at least one of them, or -infinity.
  void Take(absl::Span<const float> logits);

  // Of what was taken last.
  TokenLogprob Of(int32_t token) const;
  // The `count` most likely ones, most likely first and of equals the smaller id; fewer where the
  // others have a probability of zero. Valid until the next call.
  absl::Span<const TokenLogprob> Top(uint32_t count);

 private:
  std::vector<float> logits_;
  // Apart, so that large logits take nothing from the other's digits.
  double max_ = 0;
  double log_sum_ = 0;  // of the exponentials of logit - max_
  std::vector<int32_t> heap_;
  std::vector<TokenLogprob> top_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_LOGPROBS_H_
