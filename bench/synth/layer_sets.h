// Figures of one layer's sets of neurons, token by token: what was active, what the predictor
// chose, what a look ahead from the layer before guessed.
#ifndef SLUICE_BENCH_SYNTH_LAYER_SETS_H_
#define SLUICE_BENCH_SYNTH_LAYER_SETS_H_

#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/format/record_layout.h"

namespace sluice::synth {

// Tokens that the window holds, the one at hand included.
inline constexpr uint32_t kWindowTokens = 5;

// [token]: ascending neuron ids. `guessed` is empty where the file has no look-ahead predictor.
struct LayerSets {
  std::vector<std::vector<uint32_t>> active, predicted, guessed;
};

// Sums over the counted tokens, so that layers add up; shares are of neurons and tokens.
struct LayerFigures {
  double tokens = 0;
  double neurons = 0;          // counted tokens times the layer's neurons
  double records = 0;          // counted tokens times its records
  double active = 0, predicted = 0, both = 0;
  double window_union = 0;     // predicted for one of the last kWindowTokens tokens, this included
  double fresh = 0;            // predicted, and not for the kWindowTokens - 1 tokens before
  double fresh_after_five = 0; // ... and not for the kWindowTokens before
  double runs = 0;             // that the fresh ones form: neurons side by side in the file
  double record_union = 0;     // records of window_union
  double guessed = 0, guessed_right = 0;  // right: predicted then

  void Add(const LayerFigures& other);
  double ActiveShare() const { return Ratio(active, neurons); }
  double PredictedShare() const { return Ratio(predicted, neurons); }
  double UnionShare() const { return Ratio(window_union, neurons); }
  double FreshShare() const { return Ratio(fresh, neurons); }
  double Recall() const { return Ratio(both, active); }
  double Precision() const { return Ratio(both, predicted); }
  double MeanRun() const { return Ratio(fresh, runs); }
  double RecordUnionShare() const { return Ratio(record_union, records); }
  double GuessedShare() const { return Ratio(guessed, neurons); }
  double GuessRecall() const { return Ratio(guessed_right, predicted); }
  double GuessPrecision() const { return Ratio(guessed_right, guessed); }
  nlohmann::json ToJson() const;

 private:
  static double Ratio(double a, double b) { return b == 0 ? 0 : a / b; }
};

// Tokens from `first` on count; those before them are only part of windows.
LayerFigures Summarise(const LayerSets& sets, const RecordLayout& layout, size_t first);

// The mean over tokens of the cosine between two layers' inputs, each [tokens, d_model] and less
// its own mean over these tokens.
double MeanCosine(const float* a, const float* b, size_t tokens, size_t d_model);

}  // namespace sluice::synth

#endif  // SLUICE_BENCH_SYNTH_LAYER_SETS_H_
