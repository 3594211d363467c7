// Predictors without iteration: the best low-rank map in whitened inputs.
#ifndef SLUICE_LIB_TRAIN_CLOSED_FORM_H_
#define SLUICE_LIB_TRAIN_CLOSED_FORM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/thread_pool.h"
#include "lib/train/ffn_layer.h"
#include "lib/train/float_matrix.h"

namespace sluice::train {

// Coordinates in which the inputs have mean 0 and unit covariance: x = mean + root y. One learning
// rate then suits every parameter.
struct Whitening {
  std::vector<float> mean;  // [d_model]
  FloatMatrix root;         // [d_model, d_model], lower triangular
  FloatMatrix inverse;      // of root
};

// Measures `inputs`, shape [tokens, d_model], and turns them into white ones in place. Directions
// without any variance get a little, so that `root` can be inverted.
absl::StatusOr<Whitening> Whiten(FloatMatrix* inputs, ThreadPool* pool);

// A layer's up projection as it acts on white inputs.
struct WhiteLayer {
  FloatMatrix up;           // [d_ffn, d_model]
  FloatMatrix up_t;         // transposed
  std::vector<float> bias;  // [d_ffn]
};
WhiteLayer MakeWhiteLayer(const FfnLayer& layer, const Whitening& whitening, ThreadPool* pool);

// A low-rank predictor in training: score = out (in x) + bias, both factors transposed.
struct Factors {
  FloatMatrix in_t;         // [d_model, rank]
  FloatMatrix out_t;        // [rank, d_ffn]
  std::vector<float> bias;  // [d_ffn]

  size_t rank() const { return in_t.cols; }
};

// The `count` eigenvectors of a symmetric, positive semidefinite matrix that have the largest
// eigenvalues: columns of the result, largest first. Large matrices by subspace iteration, which
// starts from random directions given by `seed`.
FloatMatrix TopEigenvectors(const FloatMatrix& matrix, size_t count, uint64_t seed,
                            ThreadPool* pool);
// The iteration alone, for any size. A few rounds: the result begins a fine-tuning.
FloatMatrix IterateSubspace(const FloatMatrix& matrix, size_t count, uint64_t seed,
                            ThreadPool* pool);

// The directions of white inputs that matter most to the layer, shape [d_model, count].
FloatMatrix MainDirections(const WhiteLayer& layer, size_t count, uint64_t seed,
                           ThreadPool* pool);

// The best map of `rank` <= directions.cols. Each neuron's score is scaled by the width of what
// the map leaves out, so that it can be read as a logit.
Factors ClosedForm(const WhiteLayer& layer, const FloatMatrix& directions, size_t rank,
                   ThreadPool* pool);

// The same scores from inputs as the layer gets them.
Factors Unwhiten(const Factors& factors, const Whitening& whitening, ThreadPool* pool);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_CLOSED_FORM_H_
