// What training needs of one feed-forward layer.
#ifndef SLUICE_LIB_TRAIN_FFN_LAYER_H_
#define SLUICE_LIB_TRAIN_FFN_LAYER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/format/bundle_file.h"
#include "lib/train/float_matrix.h"

namespace sluice::train {

// Neuron n is active for an input x where up row n . x + up_bias[n] > 0.
struct FfnLayer {
  FloatMatrix up;                // [d_ffn, d_model]
  std::vector<float> up_bias;    // [d_ffn]
  std::vector<float> down_norm;  // [d_ffn]: length of the neuron's down column

  size_t d_model() const { return up.cols; }
  size_t d_ffn() const { return up.rows; }
};

// Reads and verifies the layer's records.
//   up_bias  shape [d_ffn], or empty: zeros
absl::StatusOr<FfnLayer> ReadFfnLayer(const BundleFile& file, uint32_t layer,
                                      absl::Span<const float> up_bias);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_FFN_LAYER_H_
