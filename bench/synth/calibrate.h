// Carries a batch of tokens through the model while it is being made, layer by layer, and sets
// what depends on the activations: scales, biases, thresholds, the order of placement.
#ifndef SLUICE_BENCH_SYNTH_CALIBRATE_H_
#define SLUICE_BENCH_SYNTH_CALIBRATE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/synth/layer_sets.h"
#include "bench/synth/shape.h"
#include "lib/base/thread_pool.h"

namespace sluice::synth {

struct CalibrationOptions {
  uint64_t seed = 1;
  uint32_t tokens = 256;
  // Of the FFN inputs of neighbouring layers, MeanCosine(): of the first pair and of all others.
  // As measured on tales-7m over held-out.txt: 0.060; 0.881 to 0.951, mean 0.923.
  double first_similarity = 0.060, similarity = 0.923;
  bool place = false;       // find the order of placement too
  std::function<void(uint32_t layers_done)> on_layer;
};

// What the calibration decided about one layer.
struct LayerPlan {
  float out_scale = 0, down_scale = 0;    // of the rows of `attn.out` and the down columns
  std::vector<float> out_bias, down_bias;  // [d_model]: minus the mean output
  std::vector<float> up_bias, predictor_bias;  // [d_ffn]
  float lookahead_scale = 0;              // lookahead.in = scale * predictor.in; 0: none
  std::vector<float> lookahead_bias;      // [d_ffn]; empty in layer 0
  std::vector<uint32_t> order;            // [position] = neuron; empty unless asked for
  LayerFigures figures;                   // of the calibration tokens
  LayerFigures placed_figures;            // the same with the neurons in `order`
  double similarity = 0;                  // with the layer before
};

// Of the layer and the next one.
inline double SimilarityToNext(const CalibrationOptions& options, uint32_t layer) {
  return layer == 0 ? options.first_similarity : options.similarity;
}

// Memory: a few arrays of [tokens, d_ffn] and one layer's predictor.
absl::StatusOr<std::vector<LayerPlan>> Calibrate(const Shape& shape,
                                                 const CalibrationOptions& options,
                                                 ThreadPool* pool);

}  // namespace sluice::synth

#endif  // SLUICE_BENCH_SYNTH_CALIBRATE_H_
