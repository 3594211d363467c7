// What a predictor says about captured tokens, and predictors for neurons in another order.
#ifndef SLUICE_LIB_TRAIN_ACTIVE_SETS_H_
#define SLUICE_LIB_TRAIN_ACTIVE_SETS_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "lib/base/thread_pool.h"
#include "lib/train/closed_form.h"
#include "lib/train/float_matrix.h"

namespace sluice::train {

// Scores of `factors` for `inputs`, shape [tokens, d_model], some tokens at a time:
// on_scores(first token, scores), scores of shape [some tokens, d_ffn], in order, on this thread.
void ForScores(const FloatMatrix& inputs, const Factors& factors, ThreadPool* pool,
               absl::FunctionRef<void(size_t first, const FloatMatrix& scores)> on_scores);

// By token, the neurons whose score is above `threshold`, ascending.
std::vector<std::vector<uint32_t>> PredictedSets(const FloatMatrix& inputs,
                                                 const Factors& factors, float threshold,
                                                 ThreadPool* pool);

// Neuron p of the result is neuron order[p] of `factors`.
Factors InOrder(const Factors& factors, absl::Span<const uint32_t> order);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_ACTIVE_SETS_H_
