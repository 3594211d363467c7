#include <algorithm>
#include <limits>

#include "tests/unit/kernels/kernel_test_util.h"

namespace sluice::testing {
namespace {

TEST_CASE("LayerNorm", "[kernels]") {
  Random random(1);
  ForEachTarget([&] {
    for (int round = 0; round < 60; ++round) {
      const size_t n = round < 50 ? random.Between(1, 300) : random.Between(1000, 9000);
      std::vector<float> x = random.Floats(n);
      for (float& v : x) v += 5.0f;  // a mean that would drown the variance of one pass
      const std::vector<float> gamma = random.Floats(n), beta = random.Floats(n);
      double mean = 0, variance = 0;
      for (float v : x) mean += v / static_cast<double>(n);
      for (float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(n);
      GuardedBytes y(n * sizeof(float)), plain(n * sizeof(float));
      kernels::LayerNorm(x.data(), gamma.data(), beta.data(), n, 1e-5f, y.floats());
      kernels::LayerNorm(x.data(), nullptr, nullptr, n, 1e-5f, plain.floats());
      for (size_t i = 0; i < n; ++i) {
        const double expected = (x[i] - mean) / std::sqrt(variance + 1e-5);
        // f32 keeps 5.x to 5e-7; a small n may divide that by a small deviation.
        const double tolerance = 1e-5 + 4e-6 / std::sqrt(variance + 1e-5);
        REQUIRE(std::abs(plain.floats()[i] - expected) < tolerance);
        REQUIRE(std::abs(y.floats()[i] - (expected * gamma[i] + beta[i])) < tolerance);
      }
      kernels::LayerNorm(x.data(), gamma.data(), beta.data(), n, 1e-5f, x.data());
      REQUIRE(SameBits(x.data(), y.floats(), n));
    }
  });
}

TEST_CASE("Add and Scale", "[kernels]") {
  Random random(2);
  ForEachTarget([&] {
    for (size_t n = 0; n <= 70; ++n) {
      GuardedBytes x(n * sizeof(float)), y(n * sizeof(float));
      const std::vector<float> a = random.Floats(n), b = random.Floats(n);
      std::copy(a.begin(), a.end(), x.floats());
      std::copy(b.begin(), b.end(), y.floats());
      kernels::Add(x.floats(), n, y.floats());
      for (size_t i = 0; i < n; ++i) REQUIRE(y.floats()[i] == a[i] + b[i]);
      kernels::Scale(x.floats(), 0.3f, n, y.floats());
      for (size_t i = 0; i < n; ++i) REQUIRE(y.floats()[i] == a[i] * 0.3f);
    }
  });
}

TEST_CASE("ArgMax takes the first of the largest and passes over NaN", "[kernels]") {
  const float inf = std::numeric_limits<float>::infinity();
  const auto arg_max = [](std::vector<float> x) { return kernels::ArgMax(x.data(), x.size()); };
  REQUIRE(arg_max({1}) == 0);
  REQUIRE(arg_max({1, 3, 2, 3}) == 1);
  REQUIRE(arg_max({NAN, -5, NAN, -4, NAN}) == 3);
  REQUIRE(arg_max({NAN, NAN}) == 0);
  REQUIRE(arg_max({-inf, -inf, -1e30f}) == 2);
  REQUIRE(arg_max({0, inf, inf}) == 1);
}

TEST_CASE("LogSumExp", "[kernels]") {
  const auto of = [](std::vector<float> x) { return kernels::LogSumExp(x.data(), x.size()); };
  REQUIRE(of({2.5f}) == Approx(2.5));
  REQUIRE(of({1000, 1000}) == Approx(1000 + std::log(2.0)));
  REQUIRE(of({-1000, -1001}) == Approx(-1000 + std::log1p(std::exp(-1.0))));
  REQUIRE(of({-INFINITY, 1}) == Approx(1.0));
  REQUIRE(of({-INFINITY, -INFINITY}) == -INFINITY);
  REQUIRE(std::isnan(of({1, NAN})));
}

TEST_CASE("HasNonFinite sees every place", "[kernels]") {
  ForEachTarget([&] {
    for (size_t n = 0; n <= 70; ++n) {
      GuardedBytes x(n * sizeof(float));
      std::fill(x.floats(), x.floats() + n, std::numeric_limits<float>::max());
      REQUIRE_FALSE(kernels::HasNonFinite(x.floats(), n));
      for (size_t i = 0; i < n; ++i) {
        for (float bad : {INFINITY, -INFINITY, NAN, -NAN}) {
          x.floats()[i] = bad;
          REQUIRE(kernels::HasNonFinite(x.floats(), n));
        }
        x.floats()[i] = std::numeric_limits<float>::denorm_min();
      }
    }
  });
}

TEST_CASE("targets can be forced and released", "[kernels]") {
  const std::vector<std::string> targets = kernels::AvailableTargets();
  REQUIRE_FALSE(targets.empty());
  REQUIRE(kernels::TargetName() == targets.front());
  for (const std::string& target : targets) {
    REQUIRE(kernels::ForceTarget(target));
    REQUIRE(kernels::TargetName() == target);
    REQUIRE(kernels::AvailableTargets() == targets);
    REQUIRE_FALSE(kernels::ForceTarget("abacus"));
    REQUIRE(kernels::TargetName() == target);
  }
  REQUIRE(kernels::ForceTarget(""));
  REQUIRE(kernels::TargetName() == targets.front());
}

}  // namespace
}  // namespace sluice::testing
