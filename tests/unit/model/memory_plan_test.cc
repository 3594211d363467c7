#include "lib/model/memory_plan.h"

#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "sluice/flash_model.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

struct Fixture {
  testing::TempDir dir;
  std::string path = dir.File("tiny.flash");
  Fixture() {
    testing::TinyModelOptions tiny;
    tiny.d_ffn = 2000;
    testing::WriteTinyModel(path, tiny);
  }
};

TEST_CASE("a plan's parts add up to at most the budget", "[model]") {
  const Fixture fixture;
  ModelOptions options;
  options.threads = 1;
  auto plan = PlanMemory(fixture.path, options);
  REQUIRE_OK(plan);
  CHECK(plan->floor_bytes < plan->recommended_bytes);
  uint64_t last_slots = 0;
  for (uint64_t budget = plan->floor_bytes; budget < plan->floor_bytes + (1 << 20);
       budget += 50'001) {
    options.dram_budget_bytes = budget;
    auto got = PlanMemory(fixture.path, options);
    REQUIRE_OK(got);
    CHECK(got->fits);
    CHECK(got->resident + got->predictor + got->kv + got->slots + got->scratch + got->io <=
          budget);
    CHECK(got->slots >= last_slots);
    last_slots = got->slots;
  }
  CHECK(last_slots > 0);
}

TEST_CASE("a budget below the floor does not fit, and opening says the floor", "[model]") {
  const Fixture fixture;
  ModelOptions options;
  options.threads = 1;
  auto plan = PlanMemory(fixture.path, options);
  REQUIRE_OK(plan);
  options.dram_budget_bytes = plan->floor_bytes - 1;
  auto below = PlanMemory(fixture.path, options);
  REQUIRE_OK(below);
  CHECK(!below->fits);
  const absl::Status status = FlashModel::Open(fixture.path, options).status();
  CHECK(absl::IsResourceExhausted(status));
  CHECK(absl::StrContains(status.message(), absl::StrCat(plan->floor_bytes)));
  options.dram_budget_bytes = plan->floor_bytes;
  REQUIRE_OK(FlashModel::Open(fixture.path, options));
}

TEST_CASE("context, sessions and dense mode are in the plan", "[model]") {
  const Fixture fixture;
  ModelOptions options;
  options.threads = 1;
  options.context_tokens = 8;
  auto small = PlanMemory(fixture.path, options);
  options.context_tokens = 16;
  options.max_sessions = 3;
  auto large = PlanMemory(fixture.path, options);
  REQUIRE_OK(small);
  REQUIRE_OK(large);
  CHECK(large->kv == 6 * small->kv);
  CHECK(small->mode == Mode::kSparse);
  CHECK(small->predictor > 0);
  options.mode = Mode::kDense;
  auto dense = PlanMemory(fixture.path, options);
  REQUIRE_OK(dense);
  CHECK(dense->predictor == 0);
  CHECK(dense->recommended_bytes > dense->floor_bytes);
}

TEST_CASE("q8 weights and an f16 KV cache are planned at their size", "[model]") {
  const Fixture fixture;
  ModelOptions options;
  options.threads = 1;
  auto plain = PlanMemory(fixture.path, options);
  options.kv_type = KvType::kF16;
  auto half = PlanMemory(fixture.path, options);
  options.resident_type = ResidentType::kQ8;
  auto q8 = PlanMemory(fixture.path, options);
  REQUIRE_OK(plain);
  REQUIRE_OK(half);
  REQUIRE_OK(q8);
  CHECK(plain->kv_element_type == "f32");
  CHECK(half->kv_element_type == "f16");
  CHECK(2 * half->kv == plain->kv);
  CHECK(half->resident == plain->resident);
  CHECK(q8->predictor == plain->predictor);
  CHECK(q8->resident < plain->resident);
  CHECK(q8->floor_bytes < half->floor_bytes);
}

TEST_CASE("a large prefill chunk gives way at the floor", "[model]") {
  const Fixture fixture;
  ModelOptions options;
  options.threads = 1;
  auto plan = PlanMemory(fixture.path, options);
  REQUIRE_OK(plan);
  options.prefill_chunk_tokens = 90;
  options.dram_budget_bytes = plan->floor_bytes;
  auto large = PlanMemory(fixture.path, options);
  REQUIRE_OK(large);
  CHECK(large->floor_bytes == plan->floor_bytes);
  CHECK(large->fits);
  CHECK(large->scratch == plan->scratch);
  REQUIRE_OK(FlashModel::Open(fixture.path, options));
  options.dram_budget_bytes = 64 << 20;
  auto roomy = PlanMemory(fixture.path, options);
  REQUIRE_OK(roomy);
  CHECK(roomy->scratch > plan->scratch);
}

TEST_CASE("options that make no sense are refused", "[model]") {
  const Fixture fixture;
  ModelOptions options;
  options.context_tokens = 97;
  CHECK(absl::IsInvalidArgument(PlanMemory(fixture.path, options).status()));
  options = ModelOptions();
  options.queue_depth = 1 << 20;
  CHECK(absl::IsInvalidArgument(PlanMemory(fixture.path, options).status()));
  options = ModelOptions();
  options.max_sessions = 1 << 20;
  CHECK(absl::IsInvalidArgument(PlanMemory(fixture.path, options).status()));

  testing::TinyModelOptions bare;
  bare.predictor_rank = 0;
  const std::string path = fixture.dir.File("bare.flash");
  testing::WriteTinyModel(path, bare);
  options = ModelOptions();
  options.mode = Mode::kSparse;
  CHECK(absl::IsFailedPrecondition(PlanMemory(path, options).status()));
}

TEST_CASE("slots are shared by need, within floors and layers", "[model]") {
  std::mt19937_64 random(testing::Seed());
  for (int round = 0; round < 500; ++round) {
    const size_t layers = 1 + random() % 6;
    std::vector<RecordLayout> layouts(layers);
    std::vector<uint32_t> floor(layers);
    std::vector<double> need(layers);
    uint64_t floor_bytes = 0, all_bytes = 0;
    for (size_t i = 0; i < layers; ++i) {
      layouts[i].record_bytes = 4096 * static_cast<uint32_t>(1 + random() % 4);
      layouts[i].num_records = static_cast<uint32_t>(1 + random() % 200);
      floor[i] = static_cast<uint32_t>(1 + random() % layouts[i].num_records);
      need[i] = static_cast<double>(random() % 100) + 0.5;
      floor_bytes += uint64_t{floor[i]} * layouts[i].record_bytes;
      all_bytes += uint64_t{layouts[i].num_records} * layouts[i].record_bytes;
    }
    const uint64_t bytes = floor_bytes + random() % (2 * all_bytes);
    const std::vector<uint32_t> slots = ShareSlots(bytes, layouts, floor, need);
    uint64_t used = 0;
    bool all_full = true;
    for (size_t i = 0; i < layers; ++i) {
      REQUIRE(slots[i] >= floor[i]);
      REQUIRE(slots[i] <= layouts[i].num_records);
      used += uint64_t{slots[i]} * layouts[i].record_bytes;
      all_full = all_full && slots[i] == layouts[i].num_records;
    }
    REQUIRE(used <= bytes);
    // What is left buys no more than a few records, unless there is nothing left to buy.
    REQUIRE((all_full || bytes - used < layers * 4 * 4096));
  }
}

}  // namespace
}  // namespace sluice
