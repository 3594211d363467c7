#include "lib/train/rank_choice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>

namespace sluice::train {
namespace {

// In units of d_model: what came out as useful ranks for models of any size lies about there.
constexpr uint32_t kPilotDivisors[] = {16, 8, 4};
constexpr uint32_t kFirstRank = 4;
// Ladder steps are 4 up to here, then 8, then an eighth to a quarter of the rank.
constexpr uint32_t kFineSteps = 16, kEvenSteps = 96;
// Errors below this are noise.
constexpr double kErrorFloor = 1e-15;

std::vector<uint32_t> Ladder(uint32_t max_rank) {
  std::vector<uint32_t> ranks;
  uint32_t step = 4;
  for (uint32_t rank = std::min(kFirstRank, max_rank); rank <= max_rank; rank += step) {
    ranks.push_back(rank);
    if (rank >= kFineSteps) step = 8;
    // 96, 112, 128, 160, 192, 224, 256, 320, ...
    if (rank >= kEvenSteps) step = std::max(16u, std::bit_floor(rank) / 4);
  }
  return ranks;
}

double Estimate(const PilotErrors& pilots, uint32_t rank) {
  if (pilots.empty()) return 0;
  const auto log_error = [](PilotErrors::const_iterator p) {
    return std::log(std::max(p->second, kErrorFloor));
  };
  if (pilots.size() == 1) {
    const auto only = pilots.begin();
    return std::exp(log_error(only)) * only->first / rank;
  }
  // The pair of pilots around `rank`, or the first or last pair.
  auto right = pilots.lower_bound(rank);
  if (right == pilots.end()) right = std::prev(right);
  if (right == pilots.begin()) right = std::next(right);
  const auto left = std::prev(right);
  const double slope = (log_error(right) - log_error(left)) / (right->first - left->first);
  return std::exp(log_error(left) +
                  slope * (static_cast<double>(rank) - static_cast<double>(left->first)));
}

}  // namespace

std::vector<uint32_t> PilotRanks(const PredictorShape& shape) {
  std::vector<uint32_t> ranks;
  for (uint32_t divisor : kPilotDivisors) {
    const uint32_t rank = std::clamp(shape.d_model / divisor, 1u, shape.max_rank());
    if (ranks.empty() || rank > ranks.back()) ranks.push_back(rank);
  }
  return ranks;
}

std::vector<uint32_t> AllocateRanks(absl::Span<const PilotErrors> layers,
                                    const PredictorShape& shape, double max_parameters) {
  const std::vector<uint32_t> ladder = Ladder(shape.max_rank());
  std::vector<size_t> at(layers.size(), 0);
  double total = static_cast<double>(layers.size()) *
                 static_cast<double>(shape.Parameters(ladder[0]));
  for (;;) {
    size_t best = layers.size();
    double best_gain = 0, best_cost = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      if (at[i] + 1 >= ladder.size()) continue;
      const uint32_t rank = ladder[at[i]], next = ladder[at[i] + 1];
      const double cost =
          static_cast<double>(shape.Parameters(next) - shape.Parameters(rank));
      if (total + cost > max_parameters) continue;
      const double gain = (Estimate(layers[i], rank) - Estimate(layers[i], next)) / cost;
      if (gain <= best_gain) continue;
      best = i;
      best_gain = gain;
      best_cost = cost;
    }
    if (best == layers.size()) break;
    ++at[best];
    total += best_cost;
  }
  std::vector<uint32_t> ranks;
  for (size_t position : at) ranks.push_back(ladder[position]);
  return ranks;
}

}  // namespace sluice::train
