#include "lib/model/sparsity_meter.h"

#include <algorithm>

namespace sluice {

SparsityMeter::SparsityMeter(absl::Span<const RecordLayout> layouts, bool use_truth)
    : layouts_(layouts.begin(), layouts.end()), use_truth_(use_truth), layers_(layouts.size()) {
  for (const RecordLayout& layout : layouts) {
    neuron_stamps_.emplace_back(layout.num_neurons);
    record_stamps_.emplace_back(layout.num_records);
  }
}

void SparsityMeter::OnInput(uint32_t layer, size_t num_tokens, const float*) {
  layers_[layer].tokens += num_tokens;
}

// A use keeps its neuron in the window for k tokens, or until the next use, which starts anew:
// summing min(k, gap) over uses gives the sizes of all unions without listing any.
void SparsityMeter::Use(uint64_t now, uint32_t* stamp,
                        std::array<uint64_t, kUnionWindows.size()>* union_sum,
                        std::array<uint64_t, kUnionWindows.size()>* new_sum) {
  for (size_t k = 0; k < kUnionWindows.size(); ++k) {
    const uint64_t gap = *stamp == 0 ? UINT64_MAX : now - *stamp;
    if (*stamp != 0) (*union_sum)[k] += std::min<uint64_t>(kUnionWindows[k], gap);
    if (new_sum != nullptr && gap > kUnionWindows[k]) ++(*new_sum)[k];
  }
  *stamp = static_cast<uint32_t>(now);
}

void SparsityMeter::OnNeurons(uint32_t layer, size_t num_tokens,
                              absl::Span<const uint32_t> neurons, const float* outputs,
                              const NeuronMasks& predicted) {
  LayerSparsity& sums = layers_[layer];
  const uint64_t first = sums.tokens - num_tokens + 1;  // stamp of the first of these tokens
  std::vector<bool> record_used(num_tokens);
  uint32_t record = UINT32_MAX;
  const auto close_record = [&] {
    if (record == UINT32_MAX) return;
    for (size_t t = 0; t < num_tokens; ++t) {
      if (!record_used[t]) continue;
      Use(first + t, &record_stamps_[layer][record], &sums.record_union, nullptr);
    }
    std::fill(record_used.begin(), record_used.end(), false);
  };
  for (uint32_t n : neurons) {
    if (layouts_[layer].record_of(n) != record) {
      close_record();
      record = layouts_[layer].record_of(n);
    }
    for (size_t t = 0; t < num_tokens; ++t) {
      const bool active = outputs[n * num_tokens + t] != 0;
      const bool chosen = use_truth_ ? active : predicted.Has(n, t);
      sums.active += active;
      sums.predicted += chosen;
      sums.both += active && chosen;
      if (!chosen) continue;
      record_used[t] = true;
      Use(first + t, &neuron_stamps_[layer][n], &sums.neuron_union, &sums.neuron_new);
    }
  }
  close_record();
}

void SparsityMeter::Finish() {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    LayerSparsity& sums = layers_[layer];
    const uint64_t end = sums.tokens + 1;
    for (uint32_t& stamp : neuron_stamps_[layer]) {
      if (stamp != 0) Use(end, &stamp, &sums.neuron_union, nullptr);
    }
    for (uint32_t& stamp : record_stamps_[layer]) {
      if (stamp != 0) Use(end, &stamp, &sums.record_union, nullptr);
    }
  }
}

}  // namespace sluice
