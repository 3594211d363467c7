#include "lib/model/lookahead_gain.h"

#include <algorithm>

#include "lib/base/clock.h"

namespace sluice {
namespace {

// How fast a layer's share follows what is learned. It falls faster than it rises, so that it
// settles below the permitted waste.
constexpr double kFall = 0.9;
constexpr double kRise = 1.03;
// Below it nothing is worth the guess; kept above zero so that a layer can recover.
constexpr double kLeastShare = 0.02;

}  // namespace

LookaheadGain::LookaheadGain(bool enabled, uint32_t num_layers)
    : enabled_(enabled), shares_(num_layers, 1.0) {}

void LookaheadGain::Learn(uint32_t layer, size_t read, size_t used, size_t on_demand) {
  const double wasted = static_cast<double>(read - used);
  const double needed = static_cast<double>(used + on_demand);
  double& share = shares_[layer];
  if (wasted > kMostWaste * needed) {
    share = std::max(kLeastShare, share * kFall);
  } else {
    share = std::min(1.0, share * kRise);
  }
}

void LookaheadGain::BeginPass() { BeginPassAt(NowNs()); }
void LookaheadGain::EndPass() { EndPassAt(NowNs()); }

void LookaheadGain::BeginPassAt(int64_t ns) { began_ns_ = ns; }

void LookaheadGain::EndPassAt(int64_t ns) {
  if (!enabled_) return;
  if (trial_ < kTrialPasses) {
    took_ns_[trial_++] = ns - began_ns_;
    if (trial_ == kTrialPasses) Decide();
    return;
  }
  if (--wait_ == 0) trial_ = 0;
}

void LookaheadGain::Decide() {
  // Even passes went without. The median of each kind.
  std::array<int64_t, kTrialPasses / 2> without{}, with{};
  for (uint32_t i = 0; i < kTrialPasses; ++i) {
    (i % 2 == 0 ? without : with)[i / 2] = took_ns_[i];
  }
  const auto median = [](auto& values) {
    std::sort(values.begin(), values.end());
    return (values[values.size() / 2 - 1] + values[values.size() / 2]) / 2;
  };
  pays_ = static_cast<double>(median(with)) < kMostLoss * static_cast<double>(median(without));
  wait_ = kPassesBetweenTrials;
}

}  // namespace sluice
