#include <cmath>

#include "tests/unit/train/synthetic.h"

namespace sluice::train {
namespace {

TEST_CASE("White inputs have mean 0 and unit covariance, and the same outputs", "[train]") {
  ThreadPool pool(2);
  const size_t d = 24, tokens = 3000;
  FloatMatrix mix = RandomMatrix(d, d, 2);
  for (size_t i = 0; i < d; ++i) mix.row(i)[i] += 12;
  FloatMatrix raw = Product(RandomMatrix(tokens, d, 1), mix, &pool);
  for (size_t t = 0; t < tokens; ++t) raw.row(t)[3] += 5;
  const TrainingCase c(RandomLayer(d, 40, 8, 0.1f, -1, 3), raw, &pool);
  const FloatMatrix scatter = ProductTransposedLeft(c.white_inputs, c.white_inputs, &pool);
  for (size_t i = 0; i < d; ++i) {
    for (size_t j = 0; j < d; ++j) {
      CHECK(scatter.row(i)[j] / tokens == Approx(i == j ? 1 : 0).margin(0.05));
    }
  }
  const FloatMatrix before = Product(c.inputs, c.up_t, &pool);
  const FloatMatrix after = Product(c.white_inputs, c.white.up_t, &pool);
  for (size_t n = 0; n < 40; ++n) {
    CHECK(after.row(7)[n] + c.white.bias[n] ==
          Approx(before.row(7)[n] + c.layer.up_bias[n]).margin(0.01));
  }
}

TEST_CASE("The closed form recovers a map of exactly its rank", "[train]") {
  ThreadPool pool(2);
  const size_t d = 64, rank = 5;
  const TrainingCase c(RandomLayer(d, 96, rank, 0, -0.5f, 11), RandomMatrix(2000, d, 12), &pool);
  const Factors raw = Unwhiten(c.Closed(rank, &pool), c.whitening, &pool);
  const ScoreHistogram h =
      Score(c.inputs, {&c.up_t, &c.layer.up_bias, &c.layer.down_norm, c.mean}, raw, &pool);
  // The sign of every score is that of the truth, but for ties within rounding.
  const size_t zero = ScoreHistogram::BinOf(0);
  uint64_t wrong = 0;
  for (size_t k = 0; k < ScoreHistogram::kBins; ++k) {
    if (k + 1 < zero) wrong += h.active[k];
    if (k > zero + 1) wrong += h.all[k] - h.active[k];
  }
  CHECK(wrong == 0);
}

TEST_CASE("Subspace iteration finds the main directions", "[train]") {
  ThreadPool pool(2);
  const size_t d = 96, count = 6;
  const FloatMatrix rows =
      Product(RandomMatrix(400, count, 21), RandomMatrix(count, d, 22), &pool);
  FloatMatrix matrix = ProductTransposedLeft(rows, rows, &pool);
  for (size_t i = 0; i < d; ++i) matrix.row(i)[i] += 0.01f;
  const FloatMatrix direct = TopEigenvectors(matrix, count, 1, &pool);
  const FloatMatrix iterated = IterateSubspace(matrix, count, 1, &pool);
  const FloatMatrix overlap = ProductTransposedLeft(direct, iterated, &pool);
  for (size_t i = 0; i < count; ++i) CHECK(std::abs(overlap.row(i)[i]) == Approx(1).margin(1e-3));
  CHECK(IterateSubspace(matrix, d, 1, &pool).cols == d);
}

TEST_CASE("Constant inputs and a layer of zeros give finite factors", "[train]") {
  ThreadPool pool(1);
  FloatMatrix constant(100, 32);
  for (float& v : constant.values) v = 2;
  FfnLayer layer = RandomLayer(32, 96, 4, 0, 0, 31);
  layer.up = FloatMatrix(96, 32);
  for (const TrainingCase& c :
       {TrainingCase(layer, RandomMatrix(100, 32, 32), &pool),
        TrainingCase(RandomLayer(32, 96, 4, 0.1f, 0, 33), constant, &pool)}) {
    const Factors f = Unwhiten(c.Closed(8, &pool), c.whitening, &pool);
    for (const auto* values : {&f.in_t.values, &f.out_t.values, &f.bias}) {
      for (float v : *values) REQUIRE(std::isfinite(v));
    }
  }
}

}  // namespace
}  // namespace sluice::train
