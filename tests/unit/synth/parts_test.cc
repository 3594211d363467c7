// The parts of bench/synth that need no file.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "bench/synth/layer_sets.h"
#include "bench/synth/planted_weights.h"
#include "bench/synth/random_rows.h"
#include "bench/synth/shape.h"
#include "bench/synth/statistics.h"
#include "lib/kernels/kernels.h"
#include "tests/support/catch.h"

namespace sluice::synth {
namespace {

TEST_CASE("random rows are normal, and the same whoever asks", "[synth]") {
  const RandomRows random(testing::Seed(), 1), other(testing::Seed(), 2);
  std::vector<float> row(100003), again(row.size()), next(row.size());
  random.Fill(7, 0.5f, absl::MakeSpan(row));
  random.Fill(7, 0.5f, absl::MakeSpan(again));
  REQUIRE(row == again);
  double sum = 0, squares = 0, fourths = 0;
  for (float value : row) {
    const double v = static_cast<double>(value);
    sum += v;
    squares += v * v;
    fourths += v * v * v * v;
  }
  const auto count = static_cast<double>(row.size());
  REQUIRE(std::abs(sum / count) < 0.5 * 5 / std::sqrt(count));
  REQUIRE(squares / count == Approx(0.25).epsilon(0.03));
  REQUIRE(fourths / count == Approx(3 * 0.25 * 0.25).epsilon(0.06));
  // Independent of the next row, of another stream, and of itself further on.
  random.Fill(8, 1, absl::MakeSpan(next));
  other.Fill(7, 1, absl::MakeSpan(again));
  double with_next = 0, with_other = 0, with_itself = 0;
  for (size_t i = 0; i + 1 < row.size(); ++i) {
    with_next += static_cast<double>(row[i] * next[i]);
    with_other += static_cast<double>(row[i] * again[i]);
    with_itself += static_cast<double>(row[i] * row[i + 1]);
  }
  for (double product : {with_next, with_other, with_itself * 2}) {
    REQUIRE(std::abs(product) < 0.5 * 5 * std::sqrt(count));
  }
}

TEST_CASE("the normal quantile is the inverse", "[synth]") {
  for (double p : {0.001, 0.016, 0.5, 0.95}) REQUIRE(NormalCdf(NormalQuantile(p)) == Approx(p));
  REQUIRE(NormalQuantile(0.047) == Approx(-1.6747).epsilon(0.001));
}

TEST_CASE("active shares go through the published points", "[synth]") {
  const Targets targets;
  for (uint32_t layers : {12u, 24u, 32u, 48u}) {
    const std::vector<double> curve = ActiveByLayer(layers, targets);
    REQUIRE(curve.front() == Approx(targets.active_first));
    REQUIRE(curve.back() == Approx(targets.active_last));
    REQUIRE(curve[MiddleLayer(layers)] == Approx(targets.active_middle).epsilon(0.06));
    REQUIRE(std::accumulate(curve.begin(), curve.end(), 0.0) / layers ==
            Approx(targets.active).epsilon(0.001));
  }
  REQUIRE(ActiveByLayer(1, targets).size() == 1);
}

TEST_CASE("shapes have the paper's ranks, and refuse sizes that do not fit", "[synth]") {
  const auto opt = MakeShape("opt-6.7b", {});
  REQUIRE_OK(opt);
  REQUIRE(opt->ranks[27] == 128);
  REQUIRE(opt->ranks[28] == 1024);
  const auto falcon = MakeShape("falcon-7b", {});
  REQUIRE_OK(falcon);
  REQUIRE(falcon->config.head_dim() == 64);
  REQUIRE(falcon->ranks[0] == 256);
  REQUIRE(falcon->ranks[31] == 1152);
  REQUIRE(MakeShape("opt-1t", {}).status().code() == absl::StatusCode::kInvalidArgument);
  ShapeOverrides odd;
  odd.heads = 5;
  REQUIRE(MakeShape("opt-125m", odd).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("sets are summed up as a window of five tokens sees them", "[synth]") {
  LayerSets sets;
  // Neuron 0 comes back after four tokens, 4 after five, 8 after six.
  sets.predicted = {{0, 4, 8, 9}, {1}, {1}, {1}, {0, 1}, {4, 5}, {8, 9}};
  sets.active = {{}, {}, {}, {}, {0}, {4, 7}, {9}};
  sets.guessed = {{}, {}, {}, {}, {0, 2}, {5}, {8}};
  const auto layout = MakeRecordLayout(10, 1024, 2, ElementType::kF16);
  REQUIRE_OK(layout);
  const LayerFigures figures = Summarise(sets, *layout, 4);
  REQUIRE(figures.tokens == 3);
  REQUIRE(figures.neurons == 30);
  REQUIRE(figures.predicted == 6);
  REQUIRE(figures.active == 4);
  REQUIRE(figures.both == 3);
  // {0,1,4,8,9}, {0,1,4,5}, {0,1,4,5,8,9}
  REQUIRE(figures.window_union == 15);
  REQUIRE(figures.fresh == 4);             // 4 5, 8 9; 0 was used four tokens before
  REQUIRE(figures.fresh_after_five == 3);  // 5, 8 9
  REQUIRE(figures.runs == 2);
  REQUIRE(figures.guessed == 4);
  REQUIRE(figures.guessed_right == 3);
}

TEST_CASE("targets that are missed are named", "[synth]") {
  Statistics statistics;
  LayerFigures figures;
  figures.tokens = 1;
  figures.neurons = 1000;
  figures.active = 33;
  figures.both = 31.5;
  figures.predicted = 100;
  figures.window_union = 240;
  figures.fresh = 24;
  statistics.layers = {figures, figures, figures};
  statistics.layers[0].active = 16;
  statistics.layers[1].active = 27;
  statistics.layers[2].active = 54;
  statistics.all = figures;
  REQUIRE(AllOk(CheckStatistics(statistics, Targets())));
  statistics.all.fresh = 21;
  const auto checks = CheckStatistics(statistics, Targets());
  REQUIRE_FALSE(AllOk(checks));
  for (const StatisticCheck& check : checks) REQUIRE(check.ok == (check.name != "new per token"));
  statistics.all.fresh = 24;
  statistics.all.both = 30.9;  // within a tenth, but below the least recall
  REQUIRE_FALSE(AllOk(CheckStatistics(statistics, Targets())));
}

TEST_CASE("a row of a layer is the same whichever others are made with it", "[synth]") {
  ShapeOverrides small;
  small.d_model = 256;
  small.d_ffn = 512;
  small.heads = 4;
  small.layers = 2;
  const auto shape = MakeShape("opt-125m", small);
  REQUIRE_OK(shape);
  ThreadPool pool(2);
  const PlantedLayer layer(*shape, testing::Seed(), 1, &pool);
  const std::vector<uint32_t> ids = {5, 6, 300, 7, 511};
  const size_t row = size_t{shape->config.d_model} * 2;
  std::vector<float> scratch(ids.size() * (shape->config.d_model + layer.rank()));
  std::vector<std::byte> all(ids.size() * row), one(row);
  layer.UpRows(ids, scratch.data(), all.data());
  for (size_t i = 0; i < ids.size(); ++i) {
    layer.UpRows({&ids[i], 1}, scratch.data(), one.data());
    REQUIRE(std::equal(one.begin(), one.end(), all.begin() + static_cast<ptrdiff_t>(i * row)));
    std::vector<float> values(shape->config.d_model);
    kernels::ToF32(ElementType::kF16, one.data(), values.size(), values.data());
    double squares = 0;
    for (float v : values) squares += static_cast<double>(v * v);
    REQUIRE(squares == Approx(1).epsilon(0.4));
  }
}

}  // namespace
}  // namespace sluice::synth
