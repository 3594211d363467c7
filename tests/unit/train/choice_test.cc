#include <cmath>
#include <numeric>

#include "lib/train/predictor_tensors.h"
#include "lib/train/rank_choice.h"
#include "tests/unit/train/synthetic.h"

namespace sluice::train {
namespace {

// Scores of active neurons lie `gap` above those of the others.
ScoreHistogram TwoNormals(double share, float gap, uint64_t seed) {
  ScoreHistogram h;
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  h.tokens = 100;
  for (int i = 0; i < 100000; ++i) {
    const bool active = i < 100000 * share;
    const size_t bin = ScoreHistogram::BinOf(normal(random) + (active ? gap : 0));
    ++h.all[bin];
    h.active[bin] += active;
    h.energy[bin] += active;
  }
  return h;
}

uint64_t CountAbove(const std::vector<uint64_t>& counts, float threshold) {
  return std::accumulate(counts.begin() + static_cast<ptrdiff_t>(ScoreHistogram::BinOf(threshold)),
                         counts.end(), uint64_t{0});
}

TEST_CASE("Thresholds keep the stated recall and the bound on what is predicted", "[train]") {
  const std::vector<ScoreHistogram> layers = {TwoNormals(0.1, 3, 1), TwoNormals(0.02, 4, 2),
                                              TwoNormals(0.3, 2.5f, 3)};
  const Thresholds t = ChooseThresholds(layers, 1.8);
  REQUIRE(t.values.size() == 3);
  CHECK(t.recall > 0.9);
  CHECK(t.recall <= 0.999);
  uint64_t predicted = 0, active = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const uint64_t all_active = CountAbove(layers[i].active, -1e9f);
    const uint64_t kept = CountAbove(layers[i].active, t.values[i]);
    CHECK(static_cast<double>(kept) >= t.recall * static_cast<double>(all_active));
    predicted += CountAbove(layers[i].all, t.values[i]);
    active += all_active;
  }
  CHECK(static_cast<double>(predicted) <= 1.8 * static_cast<double>(active));
  CHECK(static_cast<double>(predicted) > 1.7 * static_cast<double>(active));
}

TEST_CASE("Missed energy falls as more is predicted", "[train]") {
  const ScoreHistogram h = TwoNormals(0.1, 2, 5);
  CHECK(MissedEnergy(h, 1.0) > MissedEnergy(h, 1.8));
  CHECK(MissedEnergy(h, 10.0) == 0);
  CHECK(MissedEnergy(h, 0) == Approx(100));
}

TEST_CASE("Scores that are no numbers or out of range have bins", "[train]") {
  CHECK(ScoreHistogram::BinOf(std::nanf("")) == 0);
  CHECK(ScoreHistogram::BinOf(-1e30f) == 0);
  CHECK(ScoreHistogram::BinOf(1e30f) == ScoreHistogram::kBins - 1);
}

TEST_CASE("Ranks respect the cap and go where they help", "[train]") {
  const PredictorShape shape{256, 1024};
  CHECK(PilotRanks(shape) == std::vector<uint32_t>{16, 32, 64});
  const std::vector<PilotErrors> layers = {{{16, 0.02}, {32, 0.007}, {64, 0.001}},
                                           {{16, 0.0007}, {32, 0.00006}, {64, 1e-6}},
                                           {{16, 0}, {32, 0}, {64, 0}}};
  for (double cap : {0.0, 50000.0, 200000.0, 1e9}) {
    const std::vector<uint32_t> ranks = AllocateRanks(layers, shape, cap);
    double total = 0;
    for (uint32_t rank : ranks) {
      CHECK(rank >= 4);
      CHECK(rank <= 256);
      total += static_cast<double>(shape.Parameters(rank));
    }
    if (cap > 0) CHECK(total <= cap);
    CHECK(ranks[0] >= ranks[1]);
    CHECK(ranks[1] >= ranks[2]);
  }
  CHECK(AllocateRanks(layers, shape, 0) == std::vector<uint32_t>{4, 4, 4});
}

TEST_CASE("Tiny layers have ranks too", "[train]") {
  for (uint32_t d : {1u, 3u, 8u, 32u}) {
    const PredictorShape shape{d, 96};
    const std::vector<uint32_t> pilots = PilotRanks(shape);
    PilotErrors errors;
    for (uint32_t rank : pilots) {
      CHECK(rank >= 1);
      CHECK(rank <= d);
      errors[rank] = 1.0 / rank;
    }
    const std::vector<uint32_t> ranks = AllocateRanks({&errors, 1}, shape, 1e9);
    CHECK(ranks[0] >= 1);
    CHECK(ranks[0] <= d);
  }
}

TEST_CASE("Factors are rounded to f16, or kept where one does not fit", "[train]") {
  Factors f;
  f.in_t = RandomMatrix(32, 4, 71);
  f.out_t = RandomMatrix(4, 96, 72);
  f.bias.assign(96, 0.5f);
  const std::vector<float> mean(32, 1.0f);
  const StoredPredictor half = Round(f, mean);
  CHECK(half.type == ElementType::kF16);
  std::vector<NamedTensor> tensors;
  AppendTensors(3, half, 0.25f, &tensors);
  REQUIRE(tensors.size() == 3);
  CHECK(tensors[0].name == "layers.3.predictor.in");
  CHECK(tensors[0].shape == std::vector<uint64_t>{4, 32});
  CHECK(tensors[0].data.size() == 4 * 32 * 2);
  CHECK(tensors[1].shape == std::vector<uint64_t>{96, 4});
  CHECK(tensors[2].type == ElementType::kF32);

  f.out_t.values[5] = 1e6f;
  CHECK(Round(f, mean).type == ElementType::kF32);
}

}  // namespace
}  // namespace sluice::train
