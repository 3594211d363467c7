#include "lib/train/lookahead.h"

#include <algorithm>

#include "lib/train/active_sets.h"
#include "tests/unit/train/synthetic.h"

namespace sluice::train {
namespace {

constexpr size_t kModel = 24, kNeurons = 160, kRank = 6;

// Inputs of two layers: the second is a linear map of the first, and noise.
struct Pair {
  FloatMatrix before, inputs;
};

Pair MakePair(size_t tokens, float noise, uint64_t seed) {
  ThreadPool pool(1);
  Pair out;
  out.before = RandomMatrix(tokens, kModel, seed);
  out.inputs = Product(out.before, RandomMatrix(kModel, kModel, 77), &pool);
  const FloatMatrix more = RandomMatrix(tokens, kModel, seed + 1);
  for (size_t i = 0; i < more.values.size(); ++i) {
    out.before.values[i] += 0.5f;
    out.inputs.values[i] += noise * more.values[i] - 1;
  }
  return out;
}

StoredPredictor MakePredictor(uint64_t seed) {
  Factors factors;
  factors.in_t = RandomMatrix(kModel, kRank, seed);
  factors.out_t = RandomMatrix(kRank, kNeurons, seed + 1);
  factors.bias.assign(kNeurons, -15);
  return Round(factors, std::vector<float>(kModel));
}

absl::StatusOr<TrainedLookahead> TrainPair(const StoredPredictor& predictor, float noise,
                                    float threshold, int threads) {
  ThreadPool pool(threads);
  Pair training = MakePair(3000, noise, testing::Seed() + 10);
  Pair held_out = MakePair(800, noise, testing::Seed() + 20);
  return TrainLookahead({std::move(training.before), std::move(training.inputs),
                         std::move(held_out.before), std::move(held_out.inputs)},
                        predictor, threshold, &pool);
}

TEST_CASE("A lookahead finds what is a linear map of the layer before", "[train]") {
  const StoredPredictor predictor = MakePredictor(testing::Seed());
  const auto exact = TrainPair(predictor, 0, 0.5f, 2);
  REQUIRE_OK(exact);
  CHECK(exact->recall > 0.98);
  CHECK(exact->precision > 0.98);
  CHECK(exact->guessed_fraction > 0.02);
  CHECK(exact->guessed_fraction < 0.5);
  CHECK(exact->in_t.rows == kModel);
  CHECK(exact->in_t.cols == kRank);

  const auto noisy = TrainPair(predictor, 2, 0.5f, 2);
  REQUIRE_OK(noisy);
  CHECK(noisy->recall < exact->recall);
  CHECK(noisy->recall > 0.5);
  // As many guesses as predictions.
  CHECK(std::abs(noisy->recall - noisy->precision) < 0.03);
}

TEST_CASE("The figures of a lookahead are those of its tensors", "[train]") {
  ThreadPool pool(1);
  const StoredPredictor predictor = MakePredictor(testing::Seed());
  const float threshold = 1.5f;
  const auto lookahead = TrainPair(predictor, 1, threshold, 1);
  REQUIRE_OK(lookahead);
  const Pair held_out = MakePair(800, 1, testing::Seed() + 20);
  Factors guess = predictor.rounded;
  guess.in_t = lookahead->in_t;
  guess.bias = lookahead->bias;
  const auto guessed = PredictedSets(held_out.before, guess, 0, &pool);
  const auto predicted = PredictedSets(held_out.inputs, predictor.rounded, threshold, &pool);
  size_t both = 0, wanted = 0;
  for (size_t t = 0; t < guessed.size(); ++t) {
    wanted += predicted[t].size();
    std::vector<uint32_t> common;
    std::set_intersection(guessed[t].begin(), guessed[t].end(), predicted[t].begin(),
                          predicted[t].end(), std::back_inserter(common));
    both += common.size();
  }
  CHECK(static_cast<double>(both) / static_cast<double>(wanted) ==
        Approx(lookahead->recall).margin(1e-3));
}

TEST_CASE("A lookahead does not depend on threads", "[train]") {
  const StoredPredictor predictor = MakePredictor(testing::Seed());
  const auto one = TrainPair(predictor, 1, 0, 1), three = TrainPair(predictor, 1, 0, 3);
  REQUIRE_OK(one);
  REQUIRE_OK(three);
  CHECK(one->in_t.values == three->in_t.values);
  CHECK(one->bias == three->bias);
}

TEST_CASE("A predictor that predicts none, or all, has a lookahead that does too", "[train]") {
  const StoredPredictor predictor = MakePredictor(testing::Seed());
  const auto none = TrainPair(predictor, 1, 1e30f, 1), all = TrainPair(predictor, 1, -1e30f, 1);
  REQUIRE_OK(none);
  REQUIRE_OK(all);
  CHECK(none->guessed_fraction == 0);
  CHECK(none->bias[0] < -1e29f);
  CHECK(all->guessed_fraction == 1);
  CHECK(all->bias[0] > 1e29f);
}

TEST_CASE("Factors in another order score the same neurons", "[train]") {
  ThreadPool pool(1);
  const Factors factors = MakePredictor(testing::Seed()).rounded;
  std::vector<uint32_t> order(kNeurons);
  for (uint32_t p = 0; p < kNeurons; ++p) order[p] = (p * 7 + 3) % kNeurons;
  const Factors moved = InOrder(factors, order);
  const FloatMatrix inputs = RandomMatrix(40, kModel, testing::Seed() + 3);
  const auto before = PredictedSets(inputs, factors, 0, &pool);
  auto after = PredictedSets(inputs, moved, 0, &pool);
  for (size_t t = 0; t < before.size(); ++t) {
    for (uint32_t& n : after[t]) n = order[n];
    std::sort(after[t].begin(), after[t].end());
    CHECK(after[t] == before[t]);
  }
}

}  // namespace
}  // namespace sluice::train
