#include "lib/model/neuron_cache.h"

#include <utility>

#include "lib/base/status_macros.h"

namespace sluice {

absl::StatusOr<std::unique_ptr<NeuronCache>> NeuronCache::Create(
    absl::Span<const RecordLayout> layouts, absl::Span<const uint32_t> slots_per_layer,
    uint32_t window_tokens) {
  auto cache = std::make_unique<NeuronCache>();
  // One buffer for all layers: a small model's layers would waste most of a huge page each, and
  // registration is by buffer.
  uint64_t total = 0;
  for (size_t i = 0; i < layouts.size(); ++i) {
    total += uint64_t{slots_per_layer[i]} * layouts[i].record_bytes;
  }
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer memory, AlignedBuffer::Allocate(total));
  std::byte* next = memory.data();
  for (size_t i = 0; i < layouts.size(); ++i) {
    cache->layers_.push_back(
        std::make_unique<LayerSlots>(layouts[i], slots_per_layer[i], window_tokens, next));
    next += uint64_t{slots_per_layer[i]} * layouts[i].record_bytes;
  }
  cache->segments_.push_back({memory.data(), memory.size()});
  cache->memory_.push_back(std::move(memory));
  return cache;
}

double NeuronCache::MeanSpanTokens() {
  double sum = 0;
  for (const auto& layer : layers_) {
    std::lock_guard<std::mutex> lock(layer->mutex);
    sum += layer->window.span_tokens();
  }
  return layers_.empty() ? 0 : sum / static_cast<double>(layers_.size());
}

uint64_t NeuronCache::ForcedEvictions() {
  uint64_t sum = 0;
  for (const auto& layer : layers_) {
    std::lock_guard<std::mutex> lock(layer->mutex);
    sum += layer->window.num_forced_evictions();
  }
  return sum;
}

}  // namespace sluice
