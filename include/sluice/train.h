// Trains the predictors of a bundle file.
#ifndef SLUICE_TRAIN_H_
#define SLUICE_TRAIN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice {

struct TrainOptions {
  uint32_t rank = 0;         // the same for all layers; 0: per layer, what each needs
  double parameter_share = 0.075;  // with rank 0: at most this share of the model's parameters
  uint64_t seed = 1;
  uint32_t threads = 0;      // 0: by affinity mask and CPU quota
  // Stage ("calibrate", "train", "place", "lookahead", "quality") and the share of it that is
  // done; false stops with kCancelled.
  std::function<bool(const std::string& stage, double done)> on_progress;
};

// Measured on calibration text that was held out of the training. Fractions of d_ffn.
struct LayerQuality {
  uint32_t layer = 0;
  uint32_t rank = 0;
  double recall = 0;              // truly active neurons that were predicted
  double precision = 0;           // predicted neurons that were truly active
  double active_fraction = 0;
  double predicted_fraction = 0;
  // Of the guess that is made one layer early, against the predicted set; 0 for the first layer.
  double lookahead_recall = 0;
  double lookahead_precision = 0;
};

// (Re)trains the predictors of the bundle file `path` on the UTF-8 text at `calibration_path` and
// writes them into the file (a new file replaces it when all is done). kFailedPrecondition: the
// file has no tokenizer. kInvalidArgument: too little text.
absl::StatusOr<std::vector<LayerQuality>> TrainPredictors(const std::string& path,
                                                          const std::string& calibration_path,
                                                          const TrainOptions& options);

}  // namespace sluice

#endif  // SLUICE_TRAIN_H_
