#include "lib/loader/read_planner.h"

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

}  // namespace
}  // namespace sluice
