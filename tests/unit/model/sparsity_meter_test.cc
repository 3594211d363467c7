#include "lib/model/sparsity_meter.h"

#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "tests/support/catch.h"

namespace sluice {
namespace {

constexpr uint32_t kNeurons = 50, kPerRecord = 4;

// Sizes of unions and of what is new, the plain way.
struct Plain {
  std::vector<std::set<uint32_t>> sets;  // by token

  uint64_t Union(uint32_t window) const {
    uint64_t sum = 0;
    for (size_t t = 0; t < sets.size(); ++t) {
      std::set<uint32_t> all;
      for (size_t s = t + 1 >= window ? t + 1 - window : 0; s <= t; ++s) {
        all.insert(sets[s].begin(), sets[s].end());
      }
      sum += all.size();
    }
    return sum;
  }
  uint64_t New(uint32_t window) const {
    uint64_t sum = 0;
    for (size_t t = 0; t < sets.size(); ++t) {
      std::set<uint32_t> past;
      for (size_t s = t >= window ? t - window : 0; s < t; ++s) {
        past.insert(sets[s].begin(), sets[s].end());
      }
      for (uint32_t n : sets[t]) sum += past.count(n) == 0;
    }
    return sum;
  }
  Plain Records() const {
    Plain records;
    for (const auto& set : sets) {
      std::set<uint32_t> of;
      for (uint32_t n : set) of.insert(n / kPerRecord);
      records.sets.push_back(of);
    }
    return records;
  }
};

TEST_CASE("unions, recall and precision agree with plain sets", "[model]") {
  std::mt19937_64 random(testing::Seed());
  RecordLayout layout;
  layout.num_neurons = kNeurons;
  layout.neurons_per_record = kPerRecord;
  layout.num_records = (kNeurons + kPerRecord - 1) / kPerRecord;
  SparsityMeter meter(absl::MakeConstSpan(&layout, 1), /*use_truth=*/false);
  Plain plain;
  uint64_t active = 0, predicted_count = 0, both = 0;
  for (int chunk = 0; chunk < 40; ++chunk) {
    const size_t tokens = 1 + random() % 70;
    NeuronMasks predicted;
    predicted.words = (tokens + 63) / 64;
    predicted.bits.assign(kNeurons * predicted.words, 0);
    std::vector<float> outputs(kNeurons * tokens);
    plain.sets.resize(plain.sets.size() + tokens);
    for (size_t t = 0; t < tokens; ++t) {
      for (uint32_t n = 0; n < kNeurons; ++n) {
        const bool is_active = random() % (5 + n) == 0, is_predicted = random() % (4 + n) == 0;
        outputs[n * tokens + t] = is_active ? 1.0f : 0.0f;
        active += is_active;
        predicted_count += is_predicted;
        both += is_active && is_predicted;
        if (!is_predicted) continue;
        predicted.bits[n * predicted.words + t / 64] |= uint64_t{1} << (t % 64);
        plain.sets[plain.sets.size() - tokens + t].insert(n);
      }
    }
    meter.OnInput(0, tokens, nullptr);
    // In two calls, as batches would.
    std::vector<uint32_t> ids(kNeurons);
    std::iota(ids.begin(), ids.end(), 0u);
    meter.OnNeurons(0, tokens, absl::MakeSpan(ids).first(24), outputs.data(), predicted);
    meter.OnNeurons(0, tokens, absl::MakeSpan(ids).subspan(24), outputs.data(), predicted);
  }
  meter.Finish();
  const LayerSparsity& layer = meter.layers()[0];
  CHECK(layer.tokens == plain.sets.size());
  CHECK(layer.active == active);
  CHECK(layer.predicted == predicted_count);
  CHECK(layer.both == both);
  for (size_t k = 0; k < kUnionWindows.size(); ++k) {
    CHECK(layer.neuron_union[k] == plain.Union(kUnionWindows[k]));
    CHECK(layer.neuron_new[k] == plain.New(kUnionWindows[k]));
    CHECK(layer.record_union[k] == plain.Records().Union(kUnionWindows[k]));
  }
}

}  // namespace
}  // namespace sluice
