#include "lib/loader/cost_estimate.h"

#include <random>

#include "lib/loader/read_planner.h"
#include "tests/support/catch.h"
#include "tests/unit/loader/loader_rig.h"

namespace sluice {
namespace {

constexpr uint64_t kRecord = 16 << 10;
constexpr uint64_t kExtent = 256 << 10;

// Layers' reads of a device that costs so much; 10 % noise.
void Read(CostEstimate* estimate, double us_per_read, double us_per_byte, int count) {
  std::mt19937_64 random(testing::Seed());
  for (int i = 0; i < count; ++i) {
    const uint64_t reads = 50 + random() % 400;
    const uint64_t bytes = reads * kRecord * (10 + random() % 30) / 10;
    const double us = static_cast<double>(reads) * us_per_read +
                      static_cast<double>(bytes) * us_per_byte;
    const double noise = 0.95 + 0.1 * static_cast<double>(random() % 1000) / 1000;
    estimate->Observe(reads, bytes, static_cast<int64_t>(us * 1e3 * noise));
  }
}

TEST_CASE("an estimate begins with the curve and follows the device", "[loader]") {
  const DeviceCurve generic = DeviceCurve::Generic();
  CostEstimate estimate(generic, kRecord, kExtent);
  const double before = estimate.us_per_read() + estimate.us_per_byte() * kRecord;
  CHECK(before == Approx(generic.CostUs(kRecord)).epsilon(0.01));
  CHECK(!estimate.TakeUpdate());

  Read(&estimate, 60, 0.0005, 4000);
  CHECK(estimate.TakeUpdate());
  CHECK(!estimate.TakeUpdate());
  CHECK(estimate.us_per_read() == Approx(60).epsilon(0.15));
  CHECK(estimate.us_per_byte() == Approx(0.0005).epsilon(0.15));
  // Requests as dear as that make the planner read through gaps.
  const ReadCosts costs(estimate.Curve(), kRecord, kExtent);
  CHECK(costs.Pays(1, 1, 1));

  // Another hour: requests cost next to nothing, bytes more.
  Read(&estimate, 1, 0.001, 20000);
  CHECK(estimate.us_per_read() < 5);
  CHECK(estimate.us_per_byte() == Approx(0.001).epsilon(0.15));
  CHECK(!ReadCosts(estimate.Curve(), kRecord, kExtent).Pays(1, 1, 1));
}

TEST_CASE("few reads and odd clocks teach nothing", "[loader]") {
  CostEstimate estimate(DeviceCurve::Generic(), kRecord, kExtent);
  const double before = estimate.us_per_read();
  for (int i = 0; i < 2000; ++i) {
    estimate.Observe(3, 3 * kRecord, 1000000);
    estimate.Observe(100, 100 * kRecord, 0);
    estimate.Observe(100, 100 * kRecord, -5);
  }
  CHECK(estimate.us_per_read() == before);
  CHECK(!estimate.TakeUpdate());
}

}  // namespace
}  // namespace sluice
