#include "lib/convert/placement.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/support/catch.h"

using namespace sluice;

namespace {

using Sets = std::vector<std::vector<uint32_t>>;

bool IsPermutation(std::vector<uint32_t> order, uint32_t n) {
  std::sort(order.begin(), order.end());
  std::vector<uint32_t> all(n);
  std::iota(all.begin(), all.end(), 0u);
  return order == all;
}

// Clusters of `size` neurons whose ids are shuffled; a token has a few whole clusters, each member
// with probability `keep`.
struct Planted {
  std::vector<uint32_t> cluster;  // of each neuron
  Sets sets;
};

Planted Plant(uint32_t clusters, uint32_t size, int tokens, double keep, std::mt19937_64* random) {
  Planted out;
  std::vector<uint32_t> shuffled(clusters * size);
  std::iota(shuffled.begin(), shuffled.end(), 0u);
  std::shuffle(shuffled.begin(), shuffled.end(), *random);
  out.cluster.resize(shuffled.size());
  for (uint32_t i = 0; i < shuffled.size(); ++i) out.cluster[shuffled[i]] = i / size;
  std::bernoulli_distribution chosen(0.1), kept(keep);
  for (int t = 0; t < tokens; ++t) {
    out.sets.emplace_back();
    for (uint32_t c = 0; c < clusters; ++c) {
      if (!chosen(*random)) continue;
      for (uint32_t k = 0; k < size; ++k) {
        if (kept(*random)) out.sets.back().push_back(shuffled[c * size + k]);
      }
    }
    std::sort(out.sets.back().begin(), out.sets.back().end());
  }
  return out;
}

// Runs of adjacent members of `sets` in the file.
size_t CountRuns(const Sets& sets, const std::vector<uint32_t>& order) {
  const std::vector<uint32_t> at = InverseOrder(order);
  size_t runs = 0;
  for (const std::vector<uint32_t>& set : sets) {
    std::vector<uint32_t> places;
    for (const uint32_t n : set) places.push_back(at[n]);
    std::sort(places.begin(), places.end());
    for (size_t i = 0; i < places.size(); ++i) runs += i == 0 || places[i] != places[i - 1] + 1;
  }
  return runs;
}

}  // namespace

TEST_CASE("shuffled clusters lie together again", "[convert]") {
  std::mt19937_64 random(testing::Seed());
  const Planted planted = Plant(24, 16, 400, 0.9, &random);
  const std::vector<uint32_t> order = PlaceByCoactivation(planted.sets, 24 * 16, nullptr);
  REQUIRE(IsPermutation(order, 24 * 16));
  size_t changes = 0;
  for (size_t p = 1; p < order.size(); ++p) {
    changes += planted.cluster[order[p]] != planted.cluster[order[p - 1]];
  }
  CHECK(changes == 23);
}

TEST_CASE("a placement learnt from some tokens makes longer runs of others", "[convert]") {
  std::mt19937_64 random(testing::Seed());
  Planted planted = Plant(64, 8, 800, 0.7, &random);
  const Sets unseen(planted.sets.begin() + 400, planted.sets.end());
  planted.sets.resize(400);
  const std::vector<uint32_t> order = PlaceByCoactivation(planted.sets, 64 * 8, nullptr);
  std::vector<uint32_t> as_is(64 * 8);
  std::iota(as_is.begin(), as_is.end(), 0u);
  CHECK(CountRuns(unseen, order) * 2 < CountRuns(unseen, as_is));
}

TEST_CASE("the placement does not depend on threads", "[convert]") {
  std::mt19937_64 random(testing::Seed());
  const Planted planted = Plant(40, 10, 300, 0.5, &random);
  const std::vector<uint32_t> alone = PlaceByCoactivation(planted.sets, 400, nullptr);
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    CHECK(PlaceByCoactivation(planted.sets, 400, &pool) == alone);
  }
}

TEST_CASE("neurons without any link are placed by how often they are active", "[convert]") {
  CHECK(PlaceByCoactivation({}, 0, nullptr).empty());
  CHECK(PlaceByCoactivation({}, 4, nullptr) == std::vector<uint32_t>{0, 1, 2, 3});
  const Sets empty(7);
  CHECK(PlaceByCoactivation(empty, 3, nullptr) == std::vector<uint32_t>{0, 1, 2});
  const Sets single = {{1}, {3}, {3}, {2}};
  CHECK(PlaceByCoactivation(single, 5, nullptr) == std::vector<uint32_t>{3, 1, 2, 0, 4});
}

TEST_CASE("equal links are taken by id, and a chain never closes", "[convert]") {
  std::vector<uint32_t> everyone(100);
  std::iota(everyone.begin(), everyone.end(), 0u);
  const Sets sets(3, everyone);
  const std::vector<uint32_t> order = PlaceByCoactivation(sets, 100, nullptr);
  CHECK(IsPermutation(order, 100));
  CHECK(order == PlaceByCoactivation(sets, 100, nullptr));
}

TEST_CASE("ids beyond the layer are passed over", "[convert]") {
  const Sets sets = {{0, 2, 9}, {0, 2, UINT32_MAX}};
  CHECK(PlaceByCoactivation(sets, 3, nullptr) == std::vector<uint32_t>{0, 2, 1});
}

TEST_CASE("the inverse of an order says where a neuron lies", "[convert]") {
  CHECK(InverseOrder(std::vector<uint32_t>{2, 0, 1}) == std::vector<uint32_t>{1, 2, 0});
}
