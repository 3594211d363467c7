// From scores to active sets: where to cut, and what that leaves out.
#ifndef SLUICE_LIB_TRAIN_THRESHOLDS_H_
#define SLUICE_LIB_TRAIN_THRESHOLDS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lib/base/thread_pool.h"
#include "lib/train/closed_form.h"
#include "lib/train/float_matrix.h"

namespace sluice::train {

// Scores of one layer's neurons over some tokens, sorted into bins: enough for every question
// about thresholds, whatever the number of tokens. Scores outside the range are in the end bins.
struct ScoreHistogram {
  static constexpr size_t kBins = 8192;
  static constexpr double kLow = -40, kHigh = 40;

  std::vector<uint64_t> all = std::vector<uint64_t>(kBins);
  std::vector<uint64_t> active = std::vector<uint64_t>(kBins);
  // Of active neurons: squared contribution to the layer's output, and cost of missing them.
  std::vector<double> energy = std::vector<double>(kBins);
  std::vector<double> cost = std::vector<double>(kBins);
  uint64_t tokens = 0;

  static size_t BinOf(float score);
  static double LowerEdge(size_t bin);
};

struct ScoredLayer {
  const FloatMatrix* up_t = nullptr;              // [d_model, d_ffn]
  const std::vector<float>* up_bias = nullptr;    // [d_ffn]
  const std::vector<float>* down_norm = nullptr;  // [d_ffn]
  double mean_contribution = 1;
};

// Scores by `factors` and truth by the layer for `inputs`, shape [tokens, d_model].
ScoreHistogram Score(const FloatMatrix& inputs, const ScoredLayer& layer, const Factors& factors,
                     ThreadPool* pool);

// What FineTune() minimises, per token (from the bins' middles).
double MeanLoss(const ScoreHistogram& histogram);

// Energy per token that is left out when the best-scored neurons are predicted, `ratio` times as
// many as are active.
double MissedEnergy(const ScoreHistogram& histogram, double ratio);

struct Thresholds {
  double recall = 0;           // the same for all layers
  std::vector<float> values;   // by layer: predicted where score > value
};

// The largest recall (up to 0.999) for which all layers together predict at most `ratio` times as
// many neurons as are active. A layer without any active neuron predicts none, one in which all
// always are predicts all.
Thresholds ChooseThresholds(absl::Span<const ScoreHistogram> layers, double ratio);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_THRESHOLDS_H_
