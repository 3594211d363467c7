#include <cmath>

#include "tests/unit/train/synthetic.h"

namespace sluice::train {
namespace {

constexpr size_t kModel = 48, kFfn = 160, kTokens = 5000;

const auto kGoOn = [](double) { return true; };

TrainingCase SparseCase(ThreadPool* pool) {
  return TrainingCase(RandomLayer(kModel, kFfn, 12, 0.4f, -6, testing::Seed() + 40),
                      RandomMatrix(kTokens, kModel, testing::Seed() + 50), pool);
}

TEST_CASE("Fine-tuning lowers the loss of the closed form", "[train]") {
  INFO("seed " << testing::Seed());
  ThreadPool pool(2);
  const TrainingCase c = SparseCase(&pool);
  std::vector<Factors> factors = {c.Closed(8, &pool), c.Closed(16, &pool)};
  std::vector<double> before, after;
  for (const Factors& f : factors) before.push_back(MeanLoss(c.ScoreWhite(f, &pool)));
  REQUIRE_OK(FineTune(c.data(), 1, &pool, kGoOn, &factors));
  for (const Factors& f : factors) after.push_back(MeanLoss(c.ScoreWhite(f, &pool)));
  CHECK(after[0] < 0.8 * before[0]);
  CHECK(after[1] < 0.8 * before[1]);
  CHECK(after[1] < after[0]);
}

TEST_CASE("A seed gives the same bits with any number of threads", "[train]") {
  std::vector<Factors> results;
  for (int threads : {1, 2, 3, 1}) {
    ThreadPool pool(threads);
    const TrainingCase c = SparseCase(&pool);
    std::vector<Factors> factors = {c.Closed(8, &pool)};
    REQUIRE_OK(FineTune(c.data(), 7, &pool, kGoOn, &factors));
    results.push_back(Unwhiten(factors[0], c.whitening, &pool));
  }
  for (const Factors& f : results) {
    CHECK(f.in_t.values == results[0].in_t.values);
    CHECK(f.out_t.values == results[0].out_t.values);
    CHECK(f.bias == results[0].bias);
  }
}

TEST_CASE("A candidate does not depend on those trained beside it", "[train]") {
  ThreadPool pool(2);
  const TrainingCase c = SparseCase(&pool);
  std::vector<Factors> alone = {c.Closed(8, &pool)};
  std::vector<Factors> beside = {c.Closed(4, &pool), alone[0]};
  REQUIRE_OK(FineTune(c.data(), 7, &pool, kGoOn, &alone));
  REQUIRE_OK(FineTune(c.data(), 7, &pool, kGoOn, &beside));
  CHECK(alone[0].out_t.values == beside[1].out_t.values);
}

TEST_CASE("Fine-tuning stops when it is told to", "[train]") {
  ThreadPool pool(1);
  const TrainingCase c = SparseCase(&pool);
  std::vector<Factors> factors = {c.Closed(4, &pool)};
  const absl::Status status =
      FineTune(c.data(), 1, &pool, [](double done) { return done < 0.5; }, &factors);
  CHECK(status.code() == absl::StatusCode::kCancelled);
}

TEST_CASE("Layers that are never or always active train to numbers", "[train]") {
  ThreadPool pool(2);
  for (float bias : {-1000.0f, 1000.0f}) {
    const TrainingCase c(RandomLayer(32, 96, 4, 0.1f, bias, 61), RandomMatrix(300, 32, 62), &pool);
    std::vector<Factors> factors = {c.Closed(8, &pool)};
    REQUIRE_OK(FineTune(c.data(), 1, &pool, kGoOn, &factors));
    for (const auto* values :
         {&factors[0].in_t.values, &factors[0].out_t.values, &factors[0].bias}) {
      for (float v : *values) REQUIRE(std::isfinite(v));
    }
    const ScoreHistogram h = c.ScoreWhite(factors[0], &pool);
    CHECK(std::isfinite(MeanLoss(h)));
    const Thresholds t = ChooseThresholds({&h, 1}, 1.8);
    CHECK((t.values[0] > 1e6f) == (bias < 0));
    CHECK((t.values[0] < -1e6f) == (bias > 0));
  }
}

}  // namespace
}  // namespace sluice::train
