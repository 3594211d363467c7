#include "lib/train/layer_trainer.h"

#include <algorithm>
#include <utility>

#include "lib/base/status_macros.h"
#include "lib/train/closed_form.h"
#include "lib/train/ffn_layer.h"
#include "lib/train/fine_tune.h"

namespace sluice::train {
namespace {

// Pilots see every fourth token, or all when those would be fewer than this.
constexpr size_t kPilotStride = 4;
constexpr size_t kPilotTokens = 16384;
// Held-out tokens that decide errors and thresholds: neighbours say much the same.
constexpr size_t kScoredTokens = 4096;
// Seeds of a layer's uses of randomness lie this far apart.
constexpr uint64_t kLayerSeeds = 16;

}  // namespace

struct LayerTrainer::Prepared {
  FfnLayer ffn;
  FloatMatrix up_t;    // of ffn.up
  FloatMatrix inputs;  // training tokens, white
  Whitening whitening;
  WhiteLayer white;
  double mean_contribution = 1;
  FloatMatrix held_out;

  ScoredLayer scored() const { return {&up_t, &ffn.up_bias, &ffn.down_norm, mean_contribution}; }
};

absl::StatusOr<LayerTrainer::Prepared> LayerTrainer::Prepare(uint32_t layer,
                                                             size_t stride) const {
  Prepared p;
  SLUICE_ASSIGN_OR_RETURN(p.ffn, ReadFfnLayer(*file_, layer, capture_->up_bias[layer]));
  p.up_t = Transposed(p.ffn.up);
  p.inputs = capture_->training.Take(layer, stride);
  SLUICE_ASSIGN_OR_RETURN(p.whitening, Whiten(&p.inputs, pool_));
  p.white = MakeWhiteLayer(p.ffn, p.whitening, pool_);
  p.mean_contribution = MeanContribution(p.inputs, p.white, p.ffn.down_norm, pool_);
  const size_t held_out = capture_->held_out.tokens(layer);
  p.held_out = capture_->held_out.Take(layer, std::max<size_t>(held_out / kScoredTokens, 1));
  return p;
}

absl::StatusOr<std::vector<Factors>> LayerTrainer::Fit(const Prepared& prepared,
                                                       absl::Span<const uint32_t> ranks,
                                                       uint64_t seed,
                                                       Progress on_progress) const {
  const uint32_t most = *std::max_element(ranks.begin(), ranks.end());
  const FloatMatrix directions = MainDirections(prepared.white, most, seed, pool_);
  std::vector<Factors> factors;
  for (uint32_t rank : ranks) {
    factors.push_back(ClosedForm(prepared.white, directions, rank, pool_));
  }
  const TuneData data{&prepared.inputs, &prepared.white, &prepared.ffn.down_norm,
                      prepared.mean_contribution};
  SLUICE_RETURN_IF_ERROR(FineTune(data, seed + 1, pool_, on_progress, &factors));
  for (Factors& f : factors) f = Unwhiten(f, prepared.whitening, pool_);
  return factors;
}

absl::StatusOr<PilotErrors> LayerTrainer::Pilot(uint32_t layer, absl::Span<const uint32_t> ranks,
                                                Progress on_progress) const {
  const size_t tokens = capture_->training.tokens(layer);
  const size_t stride = std::clamp<size_t>(tokens / kPilotTokens, 1, kPilotStride);
  SLUICE_ASSIGN_OR_RETURN(const Prepared prepared, Prepare(layer, stride));
  const uint64_t seed = seed_ * (uint64_t{1} << 32) + kLayerSeeds * layer;
  SLUICE_ASSIGN_OR_RETURN(const std::vector<Factors> factors,
                          Fit(prepared, ranks, seed, on_progress));
  PilotErrors errors;
  const double energy = capture_->residual_energy[layer];
  for (const Factors& f : factors) {
    const ScoreHistogram scores = Score(prepared.held_out, prepared.scored(), f, pool_);
    const double missed = MissedEnergy(scores, kPredictedPerActive);
    errors[static_cast<uint32_t>(f.rank())] = energy > 0 ? missed / energy : missed;
  }
  return errors;
}

absl::StatusOr<TrainedLayer> LayerTrainer::Train(uint32_t layer, uint32_t rank,
                                                 Progress on_progress) const {
  SLUICE_ASSIGN_OR_RETURN(const Prepared prepared, Prepare(layer, 1));
  const uint64_t seed = seed_ * (uint64_t{1} << 32) + kLayerSeeds * layer + kLayerSeeds / 2;
  SLUICE_ASSIGN_OR_RETURN(const std::vector<Factors> factors,
                          Fit(prepared, {&rank, 1}, seed, on_progress));
  TrainedLayer out;
  out.predictor = Round(factors[0], prepared.whitening.mean);
  out.histogram =
      Score(prepared.held_out, prepared.scored(), out.predictor.rounded, pool_);
  return out;
}

}  // namespace sluice::train
