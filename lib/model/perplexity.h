// Feeds text through a session in windows and sums up how well it was predicted.
#ifndef SLUICE_LIB_MODEL_PERPLEXITY_H_
#define SLUICE_LIB_MODEL_PERPLEXITY_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/model/session_impl.h"

namespace sluice {

struct PerplexityOptions {
  std::vector<int32_t> prefix;   // in front of each window (the tokenizer's special tokens)
  uint32_t window_tokens = 256;  // of text; the first is predicted from the prefix
  std::function<bool(uint64_t tokens_done, uint64_t tokens_total)> on_progress;
};

struct Perplexity {
  double value = 0;  // exp of the mean negative log-likelihood
  uint64_t tokens = 0;
};

// Windows do not overlap; what is left at the end and fills no window is passed over, unless the
// text is shorter than one. Resets the session before each window. kInvalidArgument: a window
// does not fit into the context, or there is nothing to predict.
absl::StatusOr<Perplexity> MeasurePerplexity(SessionImpl& session,
                                             absl::Span<const int32_t> text,
                                             const PerplexityOptions& options);

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_PERPLEXITY_H_
