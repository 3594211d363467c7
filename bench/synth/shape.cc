#include "bench/synth/shape.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"

namespace sluice::synth {
namespace {

struct NamedShape {
  const char* name;
  uint32_t d_model, d_ffn, layers, heads, vocab;
  uint32_t rank, last_rank;  // 0: as OPT 6.7B's in proportion to d_model
};

// The last has Falcon's sizes in OPT's wiring, and the paper's ranks for Falcon.
constexpr NamedShape kShapes[] = {
    {"opt-125m", 768, 3072, 12, 12, 50272, 0, 0},
    {"opt-1.3b", 2048, 8192, 24, 32, 50272, 0, 0},
    {"opt-6.7b", 4096, 16384, 32, 32, 50272, 0, 0},
    {"falcon-7b", 4544, 18176, 32, 71, 65024, 256, 1152},
};
constexpr uint32_t kDefaultContext = 2048;
constexpr uint32_t kPositionOffset = 2;  // as OPT's table has
// OPT 6.7B has rank 128 in its first 28 layers and 1024 in its last 4. With fewer than 64 the
// length of a token's planted part, which all neurons share, varies so much that layers do too.
constexpr uint32_t kRankShare = 32, kLastRankShare = 4, kLastLayersShare = 8, kLeastRank = 64;

uint32_t Or(uint32_t value, uint32_t fallback) { return value != 0 ? value : fallback; }

}  // namespace

std::vector<std::string> ShapeNames() {
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) names.push_back(shape.name);
  return names;
}

absl::StatusOr<Shape> MakeShape(const std::string& name, const ShapeOverrides& overrides) {
  const NamedShape* base = nullptr;
  for (const NamedShape& shape : kShapes) {
    if (name == shape.name) base = &shape;
  }
  if (base == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no shape \"", name, "\"; there are ", absl::StrJoin(ShapeNames(), ", ")));
  }
  Shape shape;
  shape.name = name;
  ModelConfig& config = shape.config;
  config.d_model = config.embed_dim = Or(overrides.d_model, base->d_model);
  config.d_ffn = Or(overrides.d_ffn, base->d_ffn);
  config.num_layers = Or(overrides.layers, base->layers);
  config.num_heads = Or(overrides.heads, base->heads);
  config.vocab_size = Or(overrides.vocab, base->vocab);
  config.max_positions = Or(overrides.context, kDefaultContext);
  config.position_offset = kPositionOffset;
  SLUICE_RETURN_IF_ERROR(config.Validate());
  if (config.vocab_size < 2) {
    return absl::InvalidArgumentError("the vocabulary needs at least two tokens");
  }
  const bool scaled = base->rank == 0 || overrides.d_model != 0;
  const uint32_t least = std::min(kLeastRank, config.d_model);
  const uint32_t rank = scaled ? std::max(config.d_model / kRankShare, least) : base->rank;
  const uint32_t last = scaled ? std::max(config.d_model / kLastRankShare, least) : base->last_rank;
  shape.ranks.assign(config.num_layers, rank);
  for (uint32_t i = config.num_layers - config.num_layers / kLastLayersShare; i < config.num_layers;
       ++i) {
    shape.ranks[i] = last;
  }
  return shape;
}

std::vector<double> ActiveByLayer(uint32_t num_layers, const Targets& targets) {
  // A parabola through the points, and a bump that is zero at all three of them and takes the
  // mean to where it is to be.
  const double first = targets.active_first, middle = targets.active_middle,
               last = targets.active_last;
  std::vector<double> curve, bump;
  double curve_sum = 0, bump_sum = 0;
  for (uint32_t i = 0; i < num_layers; ++i) {
    const double u = num_layers == 1 ? 0.5 : i / (num_layers - 1.0);
    const double s = u - 0.5;
    curve.push_back(middle + (last - first) * s + 2 * (first + last - 2 * middle) * s * s);
    bump.push_back((0.25 - s * s) * s * s);
    curve_sum += curve.back();
    bump_sum += bump.back();
  }
  const double missing = targets.active * num_layers - curve_sum;
  // With a few layers there is no place for the bump: they keep near the points.
  const double factor = bump_sum > 0 ? std::clamp(missing / bump_sum, 0.0, 0.6) : 0;
  for (uint32_t i = 0; i < num_layers; ++i) curve[i] += factor * bump[i];
  return curve;
}

}  // namespace sluice::synth
