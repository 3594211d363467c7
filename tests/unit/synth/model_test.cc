// A small synthetic model, made, opened and measured.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "bench/synth/calibrate.h"
#include "bench/synth/shape.h"
#include "bench/synth/statistics.h"
#include "bench/synth/write_model.h"
#include "lib/format/bundle_file.h"
#include "sluice/flash_model.h"
#include "tests/support/catch.h"

namespace sluice::synth {
namespace {

// What it is like depends on the seed a little, since it is small: a fixed one.
constexpr uint64_t kSeed = 3;

Shape SmallShape() {
  ShapeOverrides small;
  small.d_model = 256;
  small.d_ffn = 1024;
  small.layers = 4;
  small.heads = 4;
  small.vocab = 2000;
  small.context = 256;
  const auto shape = MakeShape("opt-125m", small);
  REQUIRE_OK(shape);
  return *shape;
}

void Make(const std::string& path, const std::string& placed, int threads) {
  const Shape shape = SmallShape();
  ThreadPool pool(threads);
  WriteOptions options;
  options.calibration.seed = kSeed;
  options.calibration.place = !placed.empty();
  const auto plans = Calibrate(shape, options.calibration, &pool);
  REQUIRE_OK(plans);
  REQUIRE_OK(WriteModel(path, shape, *plans, options, &pool));
  if (placed.empty()) return;
  options.placed = true;
  REQUIRE_OK(WriteModel(placed, shape, *plans, options, &pool));
}

Statistics Measure(const std::string& path) {
  const auto statistics = MeasureStatistics(path, {});
  REQUIRE_OK(statistics);
  return *statistics;
}

std::vector<float> DenseLogits(const std::string& path) {
  ModelOptions options;
  options.mode = Mode::kDense;
  const auto model = FlashModel::Open(path, options);
  REQUIRE_OK(model);
  const auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  std::vector<float> logits((*model)->info().vocab_size);
  REQUIRE_OK((*session)->Prefill(std::vector<int32_t>{5, 77, 1234, 9}, absl::MakeSpan(logits)));
  return logits;
}

TEST_CASE("a synthetic model is whole and has the statistics it was made for", "[synth]") {
  const testing::TempDir dir;
  const std::string path = dir.File("model.flash"), placed = dir.File("placed.flash");
  Make(path, placed, 2);
  for (const std::string& file : {path, placed}) {
    const auto opened = BundleFile::Open(file);
    REQUIRE_OK(opened);
    REQUIRE((*opened)->manifest().contains("synthetic"));
    REQUIRE((*opened)->manifest().contains("placement") == (file == placed));
    const auto report = VerifyBundle(**opened, {});
    REQUIRE_OK(report);
    REQUIRE(report->bad.empty());
    const auto expected = ExpectedBytes(SmallShape());
    REQUIRE_OK(expected);
    REQUIRE((*opened)->file_bytes() <= *expected);
  }

  const Statistics plain = Measure(path), moved = Measure(placed);
  // Tokens and neurons are few, so this is coarse; sizes that are used are measured with --check.
  REQUIRE(plain.all.ActiveShare() == Approx(0.033).epsilon(0.25));
  REQUIRE(plain.all.PredictedShare() == Approx(0.10).epsilon(0.25));
  REQUIRE(plain.all.UnionShare() == Approx(0.24).epsilon(0.25));
  REQUIRE(plain.all.FreshShare() == Approx(0.024).epsilon(0.25));
  REQUIRE(plain.all.Recall() > 0.92);
  REQUIRE(plain.layers.front().ActiveShare() < plain.layers.back().ActiveShare());
  REQUIRE(plain.has_lookahead);
  REQUIRE(plain.all.GuessRecall() > 0.6);
  REQUIRE(plain.similarity[0] < 0.3);
  REQUIRE(MeanBehindFirst(plain.similarity) == Approx(0.923).margin(0.03));
  // Shuffled ids leave neurons alone; placement puts them together.
  REQUIRE(plain.all.MeanRun() < 1.2);
  REQUIRE(moved.all.MeanRun() > 2);
  REQUIRE(moved.all.active == Approx(plain.all.active).epsilon(0.01));
  REQUIRE(moved.all.predicted == Approx(plain.all.predicted).epsilon(0.01));

  // Moved neurons make the same sums in another order.
  const std::vector<float> a = DenseLogits(path), b = DenseLogits(placed);
  for (size_t i = 0; i < a.size(); ++i) REQUIRE(std::abs(a[i] - b[i]) < 1e-3f);
}

TEST_CASE("a synthetic model is the same for any number of threads", "[synth]") {
  const testing::TempDir dir;
  Make(dir.File("one.flash"), "", 1);
  Make(dir.File("three.flash"), "", 3);
  REQUIRE((testing::ReadFileOrDie(dir.File("one.flash")) ==
           testing::ReadFileOrDie(dir.File("three.flash"))));
}

TEST_CASE("a file that does not fit is refused before any work", "[synth]") {
  const testing::TempDir dir;
  const absl::Status status = CheckFreeSpace({dir.File("a.flash")}, uint64_t{1} << 60);
  REQUIRE(status.code() == absl::StatusCode::kResourceExhausted);
  REQUIRE_OK(CheckFreeSpace({dir.File("a.flash")}, 4096));
}

TEST_CASE("statistics need room for their windows", "[synth]") {
  StatisticsOptions options;
  options.warm_up = 3;
  REQUIRE(MeasureStatistics("none.flash", options).status().code() ==
          absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace sluice::synth
