#include "lib/text/bpe.h"

#include <random>

#include "tests/support/catch.h"

namespace sluice {
namespace {

// By the definition: again and again the pair of lowest rank, of equals the leftmost.
std::vector<int32_t> MergeSlowly(const MergeTable& merges, std::vector<int32_t> ids) {
  while (true) {
    const MergeTable::Merge* best = nullptr;
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const MergeTable::Merge* merge = merges.Find(ids[i], ids[i + 1]);
      if (merge != nullptr && (best == nullptr || merge->rank < best->rank)) {
        best = merge;
        best_at = i;
      }
    }
    if (best == nullptr) return ids;
    ids[best_at] = best->result;
    ids.erase(ids.begin() + best_at + 1);
  }
}

TEST_CASE("random merges agree with the definition", "[text]") {
  std::mt19937_64 random(testing::Seed());
  INFO("seed " << testing::Seed());
  for (int round = 0; round < 200; ++round) {
    const int num_letters = 1 + static_cast<int>(random() % 4);
    const int num_merges = static_cast<int>(random() % 40);
    MergeTable merges(num_merges);
    for (int i = 0; i < num_merges; ++i) {
      const int num_known = num_letters + i;
      const int32_t left = static_cast<int32_t>(random() % num_known);
      const int32_t right = static_cast<int32_t>(random() % num_known);
      if (merges.Find(left, right) != nullptr) continue;
      merges.Insert({left, right, static_cast<uint32_t>(i), num_letters + i});
    }
    BpeMerger merger(merges);
    for (int text = 0; text < 20; ++text) {
      std::vector<int32_t> ids(random() % 60);
      for (int32_t& id : ids) id = static_cast<int32_t>(random() % num_letters);
      std::vector<int32_t> merged = ids;
      merger.MergePiece(&merged);
      CHECK(merged == MergeSlowly(merges, ids));
    }
  }
}

TEST_CASE("of two merges of a pair the later counts", "[text]") {
  MergeTable merges(2);
  merges.Insert({1, 2, 0, 10});
  merges.Insert({1, 2, 1, 11});
  REQUIRE(merges.Find(1, 2) != nullptr);
  CHECK(merges.Find(1, 2)->result == 11);
  CHECK(merges.Find(2, 1) == nullptr);
  CHECK(MergeTable().Find(0, 0) == nullptr);
}

TEST_CASE("a table keeps all its merges", "[text]") {
  constexpr int kMerges = 5000;
  MergeTable merges(kMerges);
  for (int i = 0; i < kMerges; ++i) merges.Insert({i % 71, i / 71, 0, i});
  for (int i = 0; i < kMerges; ++i) {
    REQUIRE(merges.Find(i % 71, i / 71) != nullptr);
    CHECK(merges.Find(i % 71, i / 71)->result == i);
  }
  CHECK(merges.Find(71, 0) == nullptr);
  CHECK(merges.resident_bytes() <= kMerges * 22);
}

}  // namespace
}  // namespace sluice
