// The window against a model made of plain sets, over long random runs; and its promise that a
// token costs no allocation.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <random>

#include "lib/cache/neuron_window.h"
#include "tests/support/catch.h"
#include "tests/unit/cache/window_model.h"

namespace {
std::atomic<uint64_t> num_allocations{0};
}  // namespace

void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(bytes == 0 ? 1 : bytes);
}
void* operator new(size_t bytes) {
  if (void* memory = operator new(bytes, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace sluice {
namespace {

using Records = std::vector<uint32_t>;

// Active sets that drift like a model's: most members stay from one token to the next.
class ActiveSets {
 public:
  ActiveSets(uint32_t num_records, uint64_t seed) : num_records_(num_records), rng_(seed) {}

  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(rng_() % limit); }

  // At most `limit` members.
  Records Next(uint32_t limit) {
    const uint32_t wanted = Below(8) == 0 ? Below(limit + 1) : std::min(limit, num_records_ / 4);
    Records active;
    for (uint32_t record : last_) {
      if (active.size() < wanted && Below(4) != 0) active.push_back(record);
    }
    while (active.size() < wanted) {
      const uint32_t record = Below(num_records_);
      if (std::find(active.begin(), active.end(), record) == active.end()) {
        active.push_back(record);
      }
    }
    std::sort(active.begin(), active.end());
    last_ = active;
    return active;
  }

 private:
  uint32_t num_records_;
  std::mt19937_64 rng_;
  Records last_;
};

// The window and its model side by side.
class Pair {
 public:
  Pair(uint32_t num_records, uint32_t num_slots, uint32_t window_tokens)
      : window_tokens_(window_tokens),
        window_(num_records, num_slots, window_tokens),
        model_(num_slots, window_tokens) {}

  void Token(const Records& active) {
    const Records expected = model_.Token(active);
    REQUIRE_OK(window_.Advance(active, &missing_));
    Compare(active, expected);
    CompareWithUnion();
  }

  void Batch(const Records& batch, bool first) {
    const Records expected = model_.Batch(batch, first);
    REQUIRE_OK(window_.AdvanceBatch(batch, first, &missing_));
    Compare(batch, expected);
    tokens_since_shortage_ = 0;  // batches may leave more than the union
  }

  // Gives up `count` of the records that were missing last.
  void DropMissing(size_t count) {
    const auto dropped = absl::MakeConstSpan(missing_).first(std::min(count, missing_.size()));
    window_.Drop(dropped);
    for (const SlotFill& fill : dropped) model_.Drop(fill.record);
    CompareSlots();
  }

  void Clear() {
    window_.Clear();
    model_.Clear();
    CompareSlots();
  }

 private:
  void Compare(const Records& active, const Records& expected) {
    Records found;
    bool slots_agree = true;
    for (const SlotFill& fill : missing_) {
      found.push_back(fill.record);
      slots_agree &= window_.slot(fill.record) == fill.slot;
    }
    for (uint32_t record : active) slots_agree &= window_.slot(record) != NeuronWindow::kNoSlot;
    REQUIRE(found == expected);
    REQUIRE(slots_agree);
    REQUIRE(model_.Judge(Residents()));
    CompareSlots();
  }

  std::set<uint32_t> Residents() const {
    std::set<uint32_t> residents;
    for (uint32_t record = 0; record < window_.num_records(); ++record) {
      if (window_.slot(record) != NeuronWindow::kNoSlot) residents.insert(record);
    }
    return residents;
  }

  // Residents are the model's, each with a slot of its own.
  void CompareSlots() {
    const std::set<uint32_t> residents = Residents();
    std::set<uint32_t> slots;
    bool in_range = true;
    for (uint32_t record : residents) {
      slots.insert(window_.slot(record));
      in_range &= window_.slot(record) < window_.num_slots();
    }
    REQUIRE(in_range);
    REQUIRE(residents == model_.residents());
    REQUIRE(slots.size() == residents.size());
    REQUIRE(window_.num_used() == residents.size());
    REQUIRE(window_.span_tokens() == model_.span_tokens());
    REQUIRE(window_.num_forced_evictions() == model_.forced_evictions());
  }

  // With a fixed window, and slots enough for a whole window's tokens: exactly the union.
  void CompareWithUnion() {
    if (window_tokens_ == NeuronWindow::kWindowAuto) return;
    const std::set<uint32_t> members = model_.LastActiveSets();
    const bool short_of_slots = members.size() > window_.num_slots();
    tokens_since_shortage_ = short_of_slots ? 0 : tokens_since_shortage_ + 1;
    if (tokens_since_shortage_ <= window_tokens_) return;
    REQUIRE(model_.residents() == members);
    ++num_union_checks_;
  }

 public:
  uint64_t num_union_checks() const { return num_union_checks_; }

 private:
  uint32_t window_tokens_;
  NeuronWindow window_;
  testing::WindowModel model_;
  std::vector<SlotFill> missing_;
  uint64_t tokens_since_shortage_ = 0;
  uint64_t num_union_checks_ = 0;
};

void Step(Pair& pair, ActiveSets& sets, uint32_t num_slots, bool with_batches) {
  const uint32_t kind = sets.Below(100);
  if (kind == 0) {
    pair.Clear();
  } else if (kind < 5) {
    pair.DropMissing(sets.Below(6));
  } else if (kind < 30 && with_batches) {
    const uint32_t num_batches = 1 + sets.Below(4);
    for (uint32_t i = 0; i < num_batches; ++i) pair.Batch(sets.Next(num_slots), i == 0);
  } else {
    pair.Token(sets.Next(num_slots));
  }
}

TEST_CASE("the window does what the plain sets do", "[cache]") {
  const uint64_t first_seed = testing::Seed() * 1000;
  uint64_t num_union_checks = 0;
  for (uint64_t seed = first_seed; seed < first_seed + 180; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 rng(seed);
    const uint32_t num_records = 1 + rng() % 64;
    const uint32_t num_slots = rng() % 3 == 0 ? num_records : 1 + rng() % num_records;
    const uint32_t window_tokens = seed % 9;  // 0 is kWindowAuto
    INFO(num_records << " records, " << num_slots << " slots, window " << window_tokens);
    Pair pair(num_records, num_slots, window_tokens);
    ActiveSets sets(num_records, seed);
    for (int step = 0; step < 500; ++step) Step(pair, sets, num_slots, seed % 2 == 0);
    num_union_checks += pair.num_union_checks();
  }
  CHECK(num_union_checks > 5000);
}

TEST_CASE("a token allocates nothing", "[cache]") {
  constexpr uint32_t kRecords = 512;
  constexpr uint32_t kSlots = 200;
  for (uint32_t window_tokens : {NeuronWindow::kWindowAuto, 4u}) {
    NeuronWindow window(kRecords, kSlots, window_tokens);
    ActiveSets sets(kRecords, testing::Seed());
    std::vector<Records> tokens;
    for (int i = 0; i < 100; ++i) tokens.push_back(sets.Next(kSlots));
    std::vector<SlotFill> missing;
    missing.reserve(kSlots);
    bool ok = true;
    const uint64_t before = num_allocations.load();
    for (const Records& active : tokens) {
      ok &= window.Advance(active, &missing).ok();
      window.Drop(absl::MakeConstSpan(missing).first(missing.size() / 8));
      ok &= window.AdvanceBatch(active, true, &missing).ok();
    }
    const uint64_t after = num_allocations.load();
    CHECK(ok);
    CHECK(after == before);
  }
}

}  // namespace
}  // namespace sluice
