// Feed-forward layers and inputs with known properties.
#ifndef SLUICE_TESTS_UNIT_TRAIN_SYNTHETIC_H_
#define SLUICE_TESTS_UNIT_TRAIN_SYNTHETIC_H_

#include <cstdint>
#include <random>

#include "lib/train/closed_form.h"
#include "lib/train/ffn_layer.h"
#include "lib/train/fine_tune.h"
#include "lib/train/thresholds.h"
#include "tests/support/catch.h"

namespace sluice::train {

inline FloatMatrix RandomMatrix(size_t rows, size_t cols, uint64_t seed) {
  FloatMatrix m(rows, cols);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (float& v : m.values) v = normal(random);
  return m;
}

// Up rows that span `rank` directions, and a little noise beside them.
inline FfnLayer RandomLayer(size_t d_model, size_t d_ffn, size_t rank, float noise, float bias,
                            uint64_t seed) {
  ThreadPool pool(1);
  FfnLayer layer;
  layer.up = Product(RandomMatrix(d_ffn, rank, seed), RandomMatrix(rank, d_model, seed + 1), &pool);
  const FloatMatrix more = RandomMatrix(d_ffn, d_model, seed + 2);
  for (size_t i = 0; i < more.values.size(); ++i) layer.up.values[i] += noise * more.values[i];
  layer.up_bias.assign(d_ffn, bias);
  layer.down_norm.assign(d_ffn, 1);
  return layer;
}

// Everything up to the fine-tuning.
struct TrainingCase {
  TrainingCase(FfnLayer of, FloatMatrix raw, ThreadPool* pool)
      : layer(std::move(of)), up_t(Transposed(layer.up)), inputs(raw), white_inputs(raw) {
    absl::StatusOr<Whitening> w = Whiten(&white_inputs, pool);
    REQUIRE_OK(w);
    whitening = *std::move(w);
    white = MakeWhiteLayer(layer, whitening, pool);
    mean = MeanContribution(white_inputs, white, layer.down_norm, pool);
  }
  Factors Closed(size_t rank, ThreadPool* pool) const {
    return ClosedForm(white, MainDirections(white, rank, 1, pool), rank, pool);
  }
  TuneData data() const { return {&white_inputs, &white, &layer.down_norm, mean}; }
  ScoreHistogram ScoreWhite(const Factors& factors, ThreadPool* pool) const {
    return Score(white_inputs, {&white.up_t, &white.bias, &layer.down_norm, mean}, factors, pool);
  }

  FfnLayer layer;
  FloatMatrix up_t, inputs, white_inputs;
  Whitening whitening;
  WhiteLayer white;
  double mean = 1;
};

}  // namespace sluice::train

#endif  // SLUICE_TESTS_UNIT_TRAIN_SYNTHETIC_H_
