#include "lib/model/perplexity.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/kernels/kernels.h"

namespace sluice {

absl::StatusOr<Perplexity> MeasurePerplexity(SessionImpl& session,
                                             absl::Span<const int32_t> text,
                                             const PerplexityOptions& options) {
  const size_t prefix = options.prefix.size();
  const size_t window = std::min<size_t>(options.window_tokens, text.size());
  if (window == 0 || prefix + window < 2) {
    return absl::InvalidArgumentError("there is too little text to predict anything of it");
  }
  // The last token of a window is predicted, not fed.
  if (prefix + window - 1 > session.context_tokens()) {
    return absl::InvalidArgumentError(
        absl::StrCat("windows of ", window, " tokens need a context of ", prefix + window - 1,
                     ", this one has ", session.context_tokens()));
  }
  const size_t windows = text.size() / window;
  double sum = 0;
  uint64_t tokens = 0;
  std::vector<int32_t> ids;
  for (size_t w = 0; w < windows; ++w) {
    ids = options.prefix;
    ids.insert(ids.end(), text.begin() + static_cast<ptrdiff_t>(w * window),
               text.begin() + static_cast<ptrdiff_t>((w + 1) * window));
    PrefillOptions prefill;
    prefill.on_logits = [&](uint32_t position, absl::Span<const float> logits) {
      if (position + 1 < prefix) return;  // the prefix itself is given, not predicted
      sum += kernels::LogSumExp(logits.data(), logits.size()) -
             static_cast<double>(logits[static_cast<size_t>(ids[position + 1])]);
      ++tokens;
    };
    session.Reset();
    SLUICE_RETURN_IF_ERROR(
        session.Prefill(absl::MakeConstSpan(ids).first(ids.size() - 1), {}, prefill));
    if (options.on_progress && !options.on_progress(tokens, windows * window)) {
      return absl::CancelledError("cancelled");
    }
  }
  session.Reset();
  return Perplexity{std::exp(sum / static_cast<double>(tokens)), tokens};
}

}  // namespace sluice
