#include "lib/model/neuron_cache.h"

#include <chrono>
#include <utility>

#include "lib/base/status_macros.h"
#include "lib/io/host.h"

namespace sluice {
namespace {

// How often somebody who waits for a layer looks whether he has been cancelled.
constexpr std::chrono::milliseconds kLook(10);

}  // namespace

LayerSlots::Lease::Lease(LayerSlots* slots, const std::atomic<bool>& cancelled) : slots_(slots) {
  std::unique_lock<std::mutex> lock(slots->mutex_);
  while (slots->leased_) {
    if (cancelled.load(std::memory_order_relaxed)) {
      slots_ = nullptr;
      return;
    }
    if (const std::shared_ptr<IdleHolder> holder = slots->idle_holder_) {
      lock.unlock();
      holder->GiveUp();
      lock.lock();
      if (!slots->leased_) break;
    }
    slots->freed_.wait_for(lock, kLook);
  }
  slots->leased_ = true;
}

LayerSlots::Lease LayerSlots::Lease::Try(LayerSlots* slots) {
  Lease lease;
  std::lock_guard<std::mutex> lock(slots->mutex_);
  if (!slots->leased_) lease.slots_ = slots;
  slots->leased_ = true;
  return lease;
}

void LayerSlots::Lease::Release() {
  if (slots_ == nullptr) return;
  {
    std::lock_guard<std::mutex> lock(slots_->mutex_);
    slots_->leased_ = false;
    slots_->idle_holder_ = nullptr;
  }
  slots_->freed_.notify_one();
  slots_ = nullptr;
}

void LayerSlots::Lease::SetIdleHolder(std::shared_ptr<IdleHolder> holder) {
  std::lock_guard<std::mutex> lock(slots_->mutex_);
  slots_->idle_holder_ = std::move(holder);
}

void LayerSlots::PublishWindow() {
  span_tokens_.store(window.span_tokens(), std::memory_order_relaxed);
  forced_evictions_.store(window.num_forced_evictions(), std::memory_order_relaxed);
}

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
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer memory,
                          AlignedBuffer::AllocateAdvised(total, PreferLargePages));
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

double NeuronCache::MeanSpanTokens() const {
  double sum = 0;
  for (const auto& layer : layers_) sum += layer->span_tokens();
  return layers_.empty() ? 0 : sum / static_cast<double>(layers_.size());
}

uint64_t NeuronCache::ForcedEvictions() const {
  uint64_t sum = 0;
  for (const auto& layer : layers_) sum += layer->forced_evictions();
  return sum;
}

}  // namespace sluice
