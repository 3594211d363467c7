#include "lib/cache/neuron_window.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/support/catch.h"

namespace sluice {
namespace {

using Records = std::vector<uint32_t>;

Records RecordsOf(const std::vector<SlotFill>& fills) {
  Records out;
  for (const SlotFill& fill : fills) out.push_back(fill.record);
  return out;
}

Records Residents(const NeuronWindow& window) {
  Records out;
  for (uint32_t record = 0; record < window.num_records(); ++record) {
    if (window.slot(record) != NeuronWindow::kNoSlot) out.push_back(record);
  }
  return out;
}

// What Advance() reports as missing; the call must succeed.
Records Missing(NeuronWindow& window, const Records& active) {
  std::vector<SlotFill> missing;
  REQUIRE_OK(window.Advance(active, &missing));
  return RecordsOf(missing);
}

TEST_CASE("a fixed window holds the union of the last active sets", "[cache]") {
  NeuronWindow window(10, 10, 2);
  CHECK(window.span_tokens() == 0);
  CHECK(Missing(window, {1, 2, 3}) == Records{1, 2, 3});
  CHECK(window.span_tokens() == 1);
  CHECK(Missing(window, {3, 4}) == Records{4});
  CHECK(Residents(window) == Records{1, 2, 3, 4});
  CHECK(window.span_tokens() == 2);
  CHECK(Missing(window, {4, 9}) == Records{9});
  CHECK(Residents(window) == Records{3, 4, 9});
  CHECK(Missing(window, {}).empty());
  CHECK(Residents(window) == Records{4, 9});
  CHECK(Missing(window, {}).empty());
  CHECK(Residents(window).empty());
  CHECK(window.span_tokens() == 0);
  CHECK(window.num_used() == 0);
  CHECK(window.num_forced_evictions() == 0);
}

TEST_CASE("the automatic window forgets only for lack of slots, the oldest first", "[cache]") {
  NeuronWindow window(10, 4, NeuronWindow::kWindowAuto);
  CHECK(Missing(window, {0, 1}) == Records{0, 1});
  CHECK(Missing(window, {5}) == Records{5});
  CHECK(Missing(window, {6}) == Records{6});
  CHECK(window.span_tokens() == 3);
  CHECK(Missing(window, {7}) == Records{7});
  CHECK(Residents(window) == Records{1, 5, 6, 7});
  CHECK(window.span_tokens() == 3);  // record 0 had been idle for so long
  CHECK(Missing(window, {1, 8}) == Records{8});
  CHECK(Residents(window) == Records{1, 6, 7, 8});
  CHECK(window.num_forced_evictions() == 0);
}

TEST_CASE("what many tokens use outlasts what came once, and half-lives end that", "[cache]") {
  NeuronWindow window(1000, 2, NeuronWindow::kWindowAuto);
  for (int token = 0; token < 4; ++token) Missing(window, {0});
  uint32_t next = 1;
  // Four uses are worth as much as one that is two half-lives younger.
  const uint32_t least = 2 * NeuronWindow::kHalfLife - 4;
  for (uint32_t token = 0; token < least; ++token) Missing(window, {next++});
  CHECK(window.slot(0) != NeuronWindow::kNoSlot);
  for (uint32_t token = 0; token < 8; ++token) Missing(window, {next++});
  CHECK(window.slot(0) == NeuronWindow::kNoSlot);
}

TEST_CASE("a record that lost its slot is still known for its uses", "[cache]") {
  NeuronWindow window(10, 2, NeuronWindow::kWindowAuto);
  for (int token = 0; token < 4; ++token) Missing(window, {0});
  Missing(window, {1, 2});
  CHECK(Missing(window, {0}) == Records{0});
  for (const uint32_t record : {3u, 4u, 5u}) Missing(window, {record});
  CHECK(Residents(window) == Records{0, 5});
  window.Clear();  // forgets that too
  Missing(window, {0});
  for (const uint32_t record : {3u, 4u, 5u}) Missing(window, {record});
  CHECK(Residents(window) == Records{4, 5});
}

TEST_CASE("a token's use counts once, whatever its batches", "[cache]") {
  NeuronWindow window(10, 2, NeuronWindow::kWindowAuto);
  std::vector<SlotFill> missing;
  for (int batch = 0; batch < 4; ++batch) {
    REQUIRE_OK(window.AdvanceBatch({0}, batch == 0, &missing));
  }
  Missing(window, {1});
  CHECK(Missing(window, {2}) == Records{2});
  CHECK(Residents(window) == Records{1, 2});
}

TEST_CASE("a fixed window that shrinks counts what it forgot", "[cache]") {
  NeuronWindow window(10, 3, 5);
  CHECK(Missing(window, {0, 1}) == Records{0, 1});
  CHECK(Missing(window, {2, 3}) == Records{2, 3});
  CHECK(window.num_forced_evictions() == 1);
  CHECK(Residents(window) == Records{1, 2, 3});
}

TEST_CASE("an incoming record takes over a freed slot", "[cache]") {
  NeuronWindow window(100, 8, NeuronWindow::kWindowAuto);
  std::vector<SlotFill> missing;
  REQUIRE_OK(window.Advance({10, 11, 12, 13, 40, 41, 42, 43}, &missing));
  // Adjacent records start in adjacent slots, and those that follow them do too.
  for (uint32_t i = 0; i < 8; ++i) CHECK(missing[i].slot == i);
  REQUIRE_OK(window.Advance({40, 41, 42, 43}, &missing));
  CHECK(missing.empty());
  REQUIRE_OK(window.Advance({70, 71, 72, 73}, &missing));
  for (uint32_t i = 0; i < 4; ++i) CHECK(missing[i].slot == i);
  CHECK(window.slot(10) == NeuronWindow::kNoSlot);
  CHECK(window.slot(73) == 3);
}

TEST_CASE("after an error nothing has moved", "[cache]") {
  NeuronWindow window(10, 4, 1);
  CHECK(Missing(window, {2, 5}) == Records{2, 5});
  const Records bad[] = {{5, 2}, {2, 2}, {2, 10}, {1, 2, 3, 4, 5}};
  const absl::StatusCode codes[] = {
      absl::StatusCode::kInvalidArgument, absl::StatusCode::kInvalidArgument,
      absl::StatusCode::kOutOfRange, absl::StatusCode::kResourceExhausted};
  for (size_t i = 0; i < std::size(bad); ++i) {
    std::vector<SlotFill> missing = {{7, 7}};
    CHECK(window.Advance(bad[i], &missing).code() == codes[i]);
    CHECK(missing.empty());
    CHECK(window.AdvanceBatch(bad[i], true, &missing).code() == codes[i]);
    CHECK(missing.empty());
    CHECK(Residents(window) == Records{2, 5});
    CHECK(window.span_tokens() == 1);
  }
  CHECK(Missing(window, {2}).empty());
  CHECK(Residents(window) == Records{2});
}

TEST_CASE("Drop frees what was not read and passes over the rest", "[cache]") {
  NeuronWindow window(10, 3, NeuronWindow::kWindowAuto);
  std::vector<SlotFill> missing;
  REQUIRE_OK(window.Advance({1, 2, 3}, &missing));
  window.Drop({missing[1], missing[1], {9, 0}, {50, 0}, {7, NeuronWindow::kNoSlot}});
  CHECK(Residents(window) == Records{1, 3});
  window.Drop({{1, missing[2].slot}});  // an old fill: record 1 owns another slot
  CHECK(Residents(window) == Records{1, 3});
  CHECK(Missing(window, {1, 2}) == Records{2});
  window.Clear();
  CHECK(Residents(window).empty());
  CHECK(window.num_used() == 0);
  CHECK(window.span_tokens() == 0);
  CHECK(Missing(window, {1, 2}) == Records{1, 2});
}

TEST_CASE("sizes are cut to what makes sense", "[cache]") {
  CHECK(NeuronWindow(10, 50, 1).num_slots() == 10);
  CHECK(NeuronWindow(10, 0, 1).num_slots() == 1);
  CHECK(NeuronWindow(10, 3, 1).num_slots() == 3);
  CHECK(NeuronWindow(10, 3, 1).num_records() == 10);
  CHECK(NeuronWindow::BytesFor(10, 50) == NeuronWindow::BytesFor(10, 10));
  CHECK(NeuronWindow::BytesFor(16384, 8192) > 16384 * 4);
}

TEST_CASE("batches evict this token's newest, but only when nothing older is left", "[cache]") {
  NeuronWindow window(12, 6, NeuronWindow::kWindowAuto);
  std::vector<SlotFill> missing;
  REQUIRE_OK(window.AdvanceBatch({0, 1, 2}, true, &missing));
  REQUIRE_OK(window.AdvanceBatch({3, 4, 5}, false, &missing));
  REQUIRE_OK(window.AdvanceBatch({6, 7}, false, &missing));
  CHECK(Residents(window) == Records{0, 1, 2, 5, 6, 7});
  REQUIRE_OK(window.AdvanceBatch({8, 9, 10}, false, &missing));
  CHECK(Residents(window) == Records{0, 1, 2, 8, 9, 10});
  // The next token takes from the last one before it takes from itself.
  REQUIRE_OK(window.AdvanceBatch({0, 1, 11}, true, &missing));
  CHECK(RecordsOf(missing) == Records{11});
  CHECK(Residents(window) == Records{0, 1, 8, 9, 10, 11});
}

TEST_CASE("a fixed window keeps what it is leaving for the token's later batches", "[cache]") {
  NeuronWindow window(8, 8, 1);
  std::vector<SlotFill> missing;
  REQUIRE_OK(window.AdvanceBatch({0, 1}, true, &missing));
  REQUIRE_OK(window.AdvanceBatch({2, 3}, false, &missing));
  REQUIRE_OK(window.AdvanceBatch({0}, true, &missing));
  CHECK(missing.empty());
  REQUIRE_OK(window.AdvanceBatch({3, 4}, false, &missing));
  CHECK(RecordsOf(missing) == Records{4});
  CHECK(window.span_tokens() == 1);
  CHECK(Missing(window, {4}).empty());
  CHECK(Residents(window) == Records{4});
  CHECK(window.num_forced_evictions() == 0);
}

// Hits of each token of a dense scan in batches, from the second token on, are at least the slots
// that a batch leaves over.
void CheckDenseScan(uint32_t num_records, uint32_t num_slots, uint32_t batch, uint32_t window) {
  INFO(num_records << " records, " << num_slots << " slots, batch " << batch << ", window "
                   << window);
  NeuronWindow layer(num_records, num_slots, window);
  Records all(num_records);
  std::iota(all.begin(), all.end(), 0u);
  std::vector<SlotFill> missing;
  for (int token = 0; token < 6; ++token) {
    uint32_t num_hits = 0;
    for (uint32_t first = 0; first < num_records; first += batch) {
      const uint32_t count = std::min(batch, num_records - first);
      const auto part = absl::MakeConstSpan(all).subspan(first, count);
      REQUIRE_OK(layer.AdvanceBatch(part, first == 0, &missing));
      num_hits += count - static_cast<uint32_t>(missing.size());
      for (uint32_t record : part) REQUIRE(layer.slot(record) != NeuronWindow::kNoSlot);
    }
    if (token > 0) REQUIRE(num_hits >= num_slots - batch);
  }
}

TEST_CASE("a repeated dense scan keeps the part that fits", "[cache]") {
  const uint64_t seed = testing::Seed();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 300; ++round) {
    const uint32_t num_records = 2 + rng() % 200;
    const uint32_t num_slots = 1 + rng() % num_records;
    const uint32_t batch = 1 + rng() % num_slots;
    CheckDenseScan(num_records, num_slots, batch, rng() % 4);
  }
}

}  // namespace
}  // namespace sluice
