// Which model is made: its sizes, the ranks of its predictors, and how active each layer is to be.
#ifndef SLUICE_BENCH_SYNTH_SHAPE_H_
#define SLUICE_BENCH_SYNTH_SHAPE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/model_config.h"

namespace sluice::synth {

struct Shape {
  std::string name;
  ModelConfig config;
  std::vector<uint32_t> ranks;  // of the predictors, by layer
};

// Sizes that differ from the named shape's; 0: as it is.
struct ShapeOverrides {
  uint32_t d_model = 0;
  uint32_t d_ffn = 0;
  uint32_t layers = 0;
  uint32_t heads = 0;
  uint32_t vocab = 0;
  uint32_t context = 0;  // positions; 2048 unless said
};

std::vector<std::string> ShapeNames();

// kInvalidArgument: an unknown name, or sizes that do not go together.
absl::StatusOr<Shape> MakeShape(const std::string& name, const ShapeOverrides& overrides);

// Of "LLM in a flash" (OPT 6.7B, sections 3.1 and 4): shares of a layer's neurons.
struct Targets {
  double active = 0.033;
  double active_first = 0.016, active_middle = 0.027, active_last = 0.054;
  double predicted = 0.10;
  double union_of_window = 0.24;   // predicted for any of five tokens
  double new_per_token = 0.024;    // predicted, and not for the four tokens before
  double recall = 0.95;
  double least_recall = 0.94;
  double tolerance = 0.10;         // of each target but recall
};

// The truly active share by layer: a smooth curve through the three published points whose mean
// over the layers is the published one.
std::vector<double> ActiveByLayer(uint32_t num_layers, const Targets& targets);

// The layer that "middle" names (16 of 32, counted from one).
inline uint32_t MiddleLayer(uint32_t num_layers) { return (num_layers - 1) / 2; }

}  // namespace sluice::synth

#endif  // SLUICE_BENCH_SYNTH_SHAPE_H_
