#include "lib/convert/record_size.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "lib/base/checked.h"
#include "lib/format/record_layout.h"

namespace sluice {
namespace {

constexpr uint32_t kMaxNeurons = 16;
// Share of a layer's neurons that a token misses with half of the model in memory ("LLM in a
// flash", section 3.1), and how often the next one in the file is missing too: 1 - 1 / (mean run)
// as bench/placement/placement_report measures it, placed and not.
constexpr double kMissing = 0.024;
constexpr double kNextPlaced = 0.2, kNextUnplaced = 0.05;
// A larger record must save this much at least: less is noise of a measurement.
constexpr double kWorthwhile = 0.02;

// The chance that a record of `neurons` has a missing one, missing ones following one another
// with the chance `next`.
double ChanceOfRead(uint32_t neurons, double next) {
  const double begins = kMissing * (1 - next) / (1 - kMissing);
  return 1 - (1 - kMissing) * std::pow(1 - begins, neurons - 1);
}

}  // namespace

uint32_t NeuronsPerRecordFor(const DeviceCurve& curve, uint64_t bundle_bytes, bool placed) {
  const auto record_bytes = [&](uint32_t neurons) {
    return (Checked(bundle_bytes) * neurons).RoundUp(kRecordAlignment);
  };
  std::vector<std::pair<uint32_t, double>> choices;  // cost for each neuron that is needed
  for (uint32_t neurons = 1; neurons <= kMaxNeurons; ++neurons) {
    const Checked bytes = record_bytes(neurons);
    if (!bytes.valid_and_at_most(kMaxRecordBytes)) break;
    // One more neuron that fits into what would be padding costs nothing.
    const Checked next = record_bytes(neurons + 1);
    if (neurons < kMaxNeurons && next.valid_and_at_most(bytes.value())) continue;
    const double chance = ChanceOfRead(neurons, placed ? kNextPlaced : kNextUnplaced);
    choices.emplace_back(neurons, curve.CostUs(bytes.value()) * chance / (kMissing * neurons));
  }
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [neurons, us] : choices) least = std::min(least, us);
  for (const auto& [neurons, us] : choices) {
    if (us <= least * (1 + kWorthwhile)) return neurons;
  }
  return 1;
}

}  // namespace sluice
