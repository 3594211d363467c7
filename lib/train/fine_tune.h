// Fits low-rank predictors to the truth by stochastic gradient descent.
#ifndef SLUICE_LIB_TRAIN_FINE_TUNE_H_
#define SLUICE_LIB_TRAIN_FINE_TUNE_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "lib/base/thread_pool.h"
#include "lib/train/closed_form.h"
#include "lib/train/float_matrix.h"

namespace sluice::train {

// What a missed neuron costs: `kMissWeight` times its contribution to the layer's output, measured
// in mean contributions of active neurons and capped. A neuron predicted for nothing costs 1.
inline constexpr float kMissWeight = 30;
inline constexpr float kContributionCap = 10;

// The mean of |output| x |down column| over the layer's active neurons; 1 where none is active.
double MeanContribution(const FloatMatrix& inputs, const WhiteLayer& layer,
                        const std::vector<float>& down_norm, ThreadPool* pool);

struct TuneData {
  const FloatMatrix* inputs = nullptr;  // [tokens, d_model], white
  const WhiteLayer* layer = nullptr;
  const std::vector<float>* down_norm = nullptr;  // [d_ffn]
  double mean_contribution = 1;
};

// One pass over the tokens in an order given by `seed` (a few passes where that would be too few
// steps) with Adam, minimising, per token,
//   sum over active neurons of cost softplus(-score) + sum over the others of softplus(score).
// All `candidates` see the same batches and share the computation of the truth. The result has the
// same bits for any number of threads.
//   on_progress  gets the share done; false stops with kCancelled
absl::Status FineTune(const TuneData& data, uint64_t seed, ThreadPool* pool,
                      absl::FunctionRef<bool(double)> on_progress,
                      std::vector<Factors>* candidates);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_FINE_TUNE_H_
