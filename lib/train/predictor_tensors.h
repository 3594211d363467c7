// Predictors as the bundle file stores them.
#ifndef SLUICE_LIB_TRAIN_PREDICTOR_TENSORS_H_
#define SLUICE_LIB_TRAIN_PREDICTOR_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/element_type.h"
#include "lib/format/bundle_writer.h"
#include "lib/train/closed_form.h"

namespace sluice::train {

struct StoredPredictor {
  ElementType type = ElementType::kF16;  // of both factors
  Factors rounded;                       // values that `type` holds exactly
};

// Factors in f16, or in f32 when a value is too large for that. What rounding moves the scores by
// at the inputs' mean goes into the bias.
//   factors     for inputs as the layer gets them
//   input_mean  shape [d_model]
StoredPredictor Round(const Factors& factors, const std::vector<float>& input_mean);

// Values that fit into `type`.
NamedTensor MakeNamedTensor(std::string name, ElementType type, std::vector<uint64_t> shape,
                            const std::vector<float>& values);

// "layers.<i>.predictor.in", ".out" and ".bias", the threshold taken off the bias.
void AppendTensors(uint32_t layer, const StoredPredictor& predictor, float threshold,
                   std::vector<NamedTensor>* tensors);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_PREDICTOR_TENSORS_H_
