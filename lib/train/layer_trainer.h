// Trains the predictor of one layer after another.
#ifndef SLUICE_LIB_TRAIN_LAYER_TRAINER_H_
#define SLUICE_LIB_TRAIN_LAYER_TRAINER_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "lib/base/thread_pool.h"
#include "lib/format/bundle_file.h"
#include "lib/train/capture.h"
#include "lib/train/predictor_tensors.h"
#include "lib/train/rank_choice.h"
#include "lib/train/thresholds.h"

namespace sluice::train {

// Predicted neurons for each active one, over all layers: what a sparse run may compute.
inline constexpr double kPredictedPerActive = 1.8;

struct TrainedLayer {
  StoredPredictor predictor;  // without a threshold
  ScoreHistogram histogram;   // of the held-out tokens
};

// All borrowed. Threads: one at a time.
class LayerTrainer {
 public:
  LayerTrainer(const BundleFile* file, const Capture* capture, uint64_t seed, ThreadPool* pool)
      : file_(file), capture_(capture), seed_(seed), pool_(pool) {}

  using Progress = absl::FunctionRef<bool(double)>;

  // Missed energy at the pilot ranks, from predictors trained on part of the tokens.
  absl::StatusOr<PilotErrors> Pilot(uint32_t layer, absl::Span<const uint32_t> ranks,
                                    Progress on_progress) const;
  absl::StatusOr<TrainedLayer> Train(uint32_t layer, uint32_t rank, Progress on_progress) const;

 private:
  struct Prepared;
  absl::StatusOr<Prepared> Prepare(uint32_t layer, size_t stride) const;
  absl::StatusOr<std::vector<Factors>> Fit(const Prepared& prepared,
                                           absl::Span<const uint32_t> ranks, uint64_t seed,
                                           Progress on_progress) const;

  const BundleFile* const file_;
  const Capture* const capture_;
  const uint64_t seed_;
  ThreadPool* const pool_;
};

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_LAYER_TRAINER_H_
