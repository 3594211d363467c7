#include "lib/model/logprobs.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/kernels.h"

namespace sluice {

void Logprobs::Take(absl::Span<const float> logits) {
  logits_.assign(logits.begin(), logits.end());
  max_ = logits_[kernels::ArgMax(logits_.data(), logits_.size())];
  double sum = 0;
  for (float logit : logits_) sum += std::exp(logit - max_);
  log_sum_ = std::log(sum);
}

TokenLogprob Logprobs::Of(int32_t token) const {
  return {token, static_cast<float>(logits_[static_cast<size_t>(token)] - max_ - log_sum_)};
}

absl::Span<const TokenLogprob> Logprobs::Top(uint32_t count) {
  top_.clear();
  heap_.clear();
  if (count == 0) return top_;
  const auto before = [this](int32_t a, int32_t b) {
    const float left = logits_[static_cast<size_t>(a)], right = logits_[static_cast<size_t>(b)];
    return left != right ? left > right : a < b;
  };
  // A heap with the least likely of those kept at its front: one pass, no copy of the vocabulary.
  for (size_t i = 0; i < logits_.size(); ++i) {
    const auto token = static_cast<int32_t>(i);
    if (std::isinf(logits_[i])) continue;
    if (heap_.size() == count) {
      if (!before(token, heap_.front())) continue;
      std::pop_heap(heap_.begin(), heap_.end(), before);
      heap_.pop_back();
    }
    heap_.push_back(token);
    std::push_heap(heap_.begin(), heap_.end(), before);
  }
  std::sort_heap(heap_.begin(), heap_.end(), before);
  for (int32_t token : heap_) top_.push_back(Of(token));
  return top_;
}

}  // namespace sluice
