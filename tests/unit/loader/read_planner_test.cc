#include "lib/loader/read_planner.h"

#include <algorithm>
#include <random>
#include <utility>

#include "tests/support/catch.h"

namespace sluice {
namespace {

using Pairs = std::vector<std::pair<uint32_t, uint32_t>>;

Pairs Plan(const std::vector<uint32_t>& records, uint64_t record_bytes, uint64_t max_bytes) {
  std::vector<Extent> extents = {{9, 9}};
  PlanExtents(records, record_bytes, max_bytes, &extents);
  Pairs out;
  for (const Extent& extent : extents) out.emplace_back(extent.first, extent.count);
  return out;
}

TEST_CASE("adjacent records are joined", "[loader]") {
  CHECK(Plan({}, 4096, 1 << 20).empty());
  CHECK(Plan({7}, 4096, 1 << 20) == Pairs{{0, 1}});
  CHECK(Plan({0, 1, 2, 4, 6, 7}, 4096, 1 << 20) == Pairs{{0, 3}, {3, 1}, {4, 2}});
  CHECK(Plan({UINT32_MAX - 1, UINT32_MAX}, 4096, 1 << 20) == Pairs{{0, 2}});
}

TEST_CASE("a long run is split by bytes and by segments", "[loader]") {
  CHECK(Plan({0, 1, 2, 3, 4}, 4096, 8192) == Pairs{{0, 2}, {2, 2}, {4, 1}});
  CHECK(Plan({0, 1, 2, 3, 4}, 4096, 12287) == Pairs{{0, 2}, {2, 2}, {4, 1}});
  // A record that is larger than an extent may be is still read.
  CHECK(Plan({5, 6}, 4096, 100) == Pairs{{0, 1}, {1, 1}});
  CHECK(Plan({5, 6}, 4096, 0) == Pairs{{0, 1}, {1, 1}});
  std::vector<uint32_t> run(IoEngine::kMaxSegments + 3);
  for (uint32_t i = 0; i < run.size(); ++i) run[i] = 100 + i;
  CHECK(Plan(run, 4096, UINT64_MAX) ==
        Pairs{{0, IoEngine::kMaxSegments}, {IoEngine::kMaxSegments, 3}});
}

TEST_CASE("extents cover the list once, in order, within their limits", "[loader]") {
  const uint64_t seed = testing::Seed();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 500; ++round) {
    const uint64_t record_bytes = 4096 * (1 + rng() % 8);
    const uint64_t max_bytes = rng() % (1 << 20);
    std::vector<uint32_t> records;
    for (uint32_t r = 0; r < 300; ++r) {
      if (rng() % 10 < 8) records.push_back(r);
    }
    std::vector<Extent> extents;
    extents.reserve(records.size());
    const Extent* memory = extents.data();
    PlanExtents(records, record_bytes, max_bytes, &extents);
    REQUIRE(extents.data() == memory);
    uint32_t next = 0;
    for (size_t i = 0; i < extents.size(); ++i) {
      const Extent& extent = extents[i];
      REQUIRE(extent.first == next);
      REQUIRE(extent.count >= 1);
      REQUIRE(extent.count <= IoEngine::kMaxSegments);
      REQUIRE((extent.count == 1 || extent.count * record_bytes <= max_bytes));
      REQUIRE(records[extent.first + extent.count - 1] ==
              records[extent.first] + extent.count - 1);
      next += extent.count;
      // No two that could have been one.
      if (next == records.size() || records[next] != records[next - 1] + 1) continue;
      const bool full = extent.count == IoEngine::kMaxSegments ||
                        (extent.count + 1) * record_bytes > max_bytes;
      REQUIRE(full);
    }
    REQUIRE(next == records.size());
  }
}

// A request costs `request_us`, its bytes 1 us for each 4 KiB.
DeviceCurve LinearCurve(double request_us) {
  std::vector<CurvePoint> points;
  for (uint64_t bytes : {4 << 10, 1 << 20}) {
    const double us = request_us + static_cast<double>(bytes) / 4096;
    points.push_back({bytes, 1, static_cast<double>(bytes) / (us * 1e3), us});
  }
  const auto curve = DeviceCurve::FromPoints(points, "linear");
  REQUIRE_OK(curve);
  return *curve;
}

Pairs PlanBridged(const std::vector<uint32_t>& records, double request_us, uint64_t max_bytes,
                  uint64_t* gap_records) {
  std::vector<Extent> extents;
  PlanExtents(records, 4096, max_bytes, &extents);
  *gap_records = BridgeGaps(records, ReadCosts(LinearCurve(request_us), 4096, max_bytes), &extents);
  Pairs out;
  for (const Extent& extent : extents) out.emplace_back(extent.first, extent.count);
  return out;
}

std::vector<uint32_t> Run(uint32_t first, uint32_t count) {
  std::vector<uint32_t> out(count);
  for (uint32_t i = 0; i < count; ++i) out[i] = first + i;
  return out;
}

TEST_CASE("a gap is read through where that is cheaper than another request", "[loader]") {
  std::vector<uint32_t> records = Run(0, 10);
  for (uint32_t record : Run(11, 10)) records.push_back(record);
  for (uint32_t record : Run(24, 10)) records.push_back(record);
  uint64_t gaps = 9;
  // Gaps of one record and of three.
  CHECK(PlanBridged(records, 0.5, 1 << 20, &gaps) == Pairs{{0, 10}, {10, 10}, {20, 10}});
  CHECK(gaps == 0);
  CHECK(PlanBridged(records, 2.5, 1 << 20, &gaps) == Pairs{{0, 20}, {20, 10}});
  CHECK(gaps == 1);
  CHECK(PlanBridged(records, 6.5, 1 << 20, &gaps) == Pairs{{0, 30}});
  CHECK(gaps == 4);
  // Cheaper, but not by the margin.
  CHECK(PlanBridged(records, 1.3, 1 << 20, &gaps).size() == 3);
  CHECK(PlanBridged(records, 4.2, 1 << 20, &gaps) == Pairs{{0, 20}, {20, 10}});
  // Never beyond the limits of an extent.
  CHECK(PlanBridged(records, 3.5, 20 * 4096, &gaps) == Pairs{{0, 10}, {10, 10}, {20, 10}});
  CHECK(PlanBridged(records, 3.5, 21 * 4096, &gaps) == Pairs{{0, 20}, {20, 10}});
}

TEST_CASE("bytes that nobody needs are bounded unless they save much", "[loader]") {
  const std::vector<uint32_t> records = {0, 2, 4, 100, 200, 300, 400, 500, 600, 700};
  uint64_t gaps = 9;
  // One gap record is within 15 % of ten, two are not; each saves a third of two reads.
  CHECK(PlanBridged(records, 5, 1 << 20, &gaps).size() == 9);
  CHECK(gaps == 1);
  CHECK(PlanBridged(records, 50, 1 << 20, &gaps).size() == 8);
  CHECK(gaps == 2);
}

double CostOf(const std::vector<Extent>& extents, const std::vector<uint32_t>& records,
              const ReadCosts& costs) {
  double us = 0;
  for (const Extent& extent : extents) us += costs.us(SpanOf(extent, records));
  return us;
}

DeviceCurve RandomCurve(std::mt19937_64& rng) {
  std::vector<CurvePoint> points;
  double gb_per_s = 0.01 + static_cast<double>(rng() % 100) / 100;
  for (uint64_t bytes = 4 << 10; bytes <= 1 << 20; bytes *= 2) {
    points.push_back({bytes, 1, gb_per_s, static_cast<double>(bytes) / (gb_per_s * 1e3)});
    gb_per_s *= 0.8 + static_cast<double>(rng() % 120) / 100;
  }
  const auto curve = DeviceCurve::FromPoints(points, "random");
  REQUIRE_OK(curve);
  return *curve;
}

// Each record once, in order, within the limits; the gaps are those that were reported.
void CheckPlan(const std::vector<Extent>& extents, const std::vector<uint32_t>& records,
               const ReadCosts& costs, uint64_t gap_records) {
  uint32_t next = 0;
  uint64_t gaps = 0;
  for (const Extent& extent : extents) {
    REQUIRE(extent.first == next);
    REQUIRE(extent.count >= 1);
    next += extent.count;
    const uint32_t span = SpanOf(extent, records);
    REQUIRE(span <= costs.max_span());
    gaps += span - extent.count;
    size_t num_segments = extent.count;
    for (uint32_t i = extent.first + 1; i < next; ++i) {
      const uint32_t gap = records[i] - records[i - 1] - 1;
      REQUIRE(gap <= costs.max_gap());
      REQUIRE(gap * costs.record_bytes() <= ReadCosts::kMaxGapBytes);
      if (gap > 0) ++num_segments;
    }
    REQUIRE(num_segments <= IoEngine::kMaxSegments);
  }
  REQUIRE(next == records.size());
  REQUIRE(gaps == gap_records);
}

TEST_CASE("any plan covers its records once and costs no more than simpler ones", "[loader]") {
  const uint64_t seed = testing::Seed();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  int num_bridged = 0;
  for (int round = 0; round < 500; ++round) {
    const uint64_t record_bytes = 4096 << rng() % 5;
    const uint64_t max_bytes = rng() % (1 << 20);
    const uint64_t tenths = 1 + rng() % 9;
    std::vector<uint32_t> records;
    for (uint32_t r = 0; r < 400; ++r) {
      if (rng() % 10 < tenths) records.push_back(r);
    }
    const ReadCosts costs(RandomCurve(rng), record_bytes, max_bytes);
    std::vector<Extent> extents;
    PlanExtents(records, record_bytes, max_bytes, &extents);
    const double joined_us = CostOf(extents, records, costs);
    const Extent* memory = extents.data();
    const uint64_t gap_records = BridgeGaps(records, costs, &extents);
    REQUIRE(extents.data() == memory);
    CheckPlan(extents, records, costs, gap_records);
    const double bridged_us = CostOf(extents, records, costs);
    const double single_us = static_cast<double>(records.size()) * costs.us(1);
    REQUIRE(bridged_us <= joined_us * (1 + 1e-9));
    REQUIRE(joined_us <= single_us * (1 + 1e-9));
    // Beyond the bound only for a large gain.
    const auto needed = static_cast<double>(records.size());
    if (needed + static_cast<double>(gap_records) > kMaxReadRatio * needed) {
      REQUIRE(bridged_us < joined_us);
    }
    if (gap_records > 0) ++num_bridged;
  }
  CHECK(num_bridged > 50);
}

}  // namespace
}  // namespace sluice
