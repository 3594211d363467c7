#include "lib/model/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "lib/kernels/kernels.h"

namespace sluice {
namespace {

absl::Status Refuse(const char* name, double value, const char* range) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", expected ", range));
}

}  // namespace

absl::Status Sampler::Check(const SamplingOptions& o) {
  if (!(o.temperature >= 0) || !std::isfinite(o.temperature)) {
    return Refuse("temperature", o.temperature, "0 or more");
  }
  if (!(o.top_p > 0 && o.top_p <= 1)) return Refuse("top_p", o.top_p, "more than 0, at most 1");
  if (!(o.min_p >= 0 && o.min_p <= 1)) return Refuse("min_p", o.min_p, "0 to 1");
  if (!(o.repetition_penalty > 0) || !std::isfinite(o.repetition_penalty)) {
    return Refuse("repetition_penalty", o.repetition_penalty, "more than 0");
  }
  return absl::OkStatus();
}

Sampler::Sampler(const SamplingOptions& options, uint32_t vocab_size)
    : options_(options), random_(options.seed), seen_(vocab_size) {
  if (options.temperature > 0) {
    candidates_.reserve(vocab_size);
    weights_.reserve(vocab_size);
  }
}

void Sampler::Observe(absl::Span<const int32_t> tokens) {
  for (int32_t token : tokens) seen_[static_cast<size_t>(token)] = true;
}

int32_t Sampler::Sample(absl::Span<float> logits) {
  Penalise(logits);
  int32_t chosen = 0;
  if (options_.temperature == 0) {
    chosen = static_cast<int32_t>(kernels::ArgMax(logits.data(), logits.size()));
  } else {
    KeepTopK(logits);
    KeepTopPAndMinP();
    double total = 0;
    for (double weight : weights_) total += weight;
    // 53 random bits: the same number on every platform, unlike std::uniform_real_distribution.
    double left = static_cast<double>(random_() >> 11) * 0x1.0p-53 * total;
    size_t i = 0;
    for (; i + 1 < weights_.size() && left >= weights_[i]; ++i) left -= weights_[i];
    chosen = candidates_[i].token;
  }
  seen_[static_cast<size_t>(chosen)] = true;
  return chosen;
}

void Sampler::Penalise(absl::Span<float> logits) const {
  if (options_.repetition_penalty == 1) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!seen_[i]) continue;
    float& logit = logits[i];
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
  }
}

// The candidates, the most likely first (of equals the smaller id).
void Sampler::KeepTopK(absl::Span<const float> logits) {
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates_.push_back({logits[i], static_cast<int32_t>(i)});
  }
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  size_t keep = candidates_.size();
  if (options_.top_k != 0) keep = std::min<size_t>(keep, options_.top_k);
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(keep),
                    candidates_.end(), before);
  candidates_.resize(keep);
}

void Sampler::KeepTopPAndMinP() {
  weights_.clear();
  double total = 0;
  for (const Candidate& candidate : candidates_) {
    // In double, and after the difference: a tiny temperature must not make infinities meet.
    const double below = static_cast<double>(candidate.logit) - candidates_[0].logit;
    weights_.push_back(std::exp(below / options_.temperature));
    total += weights_.back();
  }
  size_t keep = weights_.size();
  if (options_.top_p < 1) {
    double sum = 0;
    for (keep = 0; keep < weights_.size() && sum < options_.top_p * total; ++keep) {
      sum += weights_[keep];
    }
  }
  // weights_[0] is 1, so a weight is its share of the most likely one's probability. What has none
  // at all must not be where rounding ends the draw: it may be forbidden.
  while (keep > 1 && (weights_[keep - 1] < options_.min_p || weights_[keep - 1] == 0)) --keep;
  keep = std::max<size_t>(keep, 1);
  weights_.resize(keep);
  candidates_.resize(keep);
}

}  // namespace sluice
