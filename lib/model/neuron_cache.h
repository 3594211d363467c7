// The DRAM that neurons are streamed into: for each layer a matrix of slots and the window that
// says which record is in which. Shared by a model's sessions.
#ifndef SLUICE_LIB_MODEL_NEURON_CACHE_H_
#define SLUICE_LIB_MODEL_NEURON_CACHE_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/aligned_buffer.h"
#include "lib/cache/neuron_window.h"
#include "lib/format/record_layout.h"
#include "lib/io/io_engine.h"

namespace sluice {

// Holds a layer on a guess while its owner is not at work: whoever waits for the layer may ask for
// it.
class IdleHolder {
 public:
  virtual ~IdleHolder() = default;
  // Releases the layer, unless the owner is at work: then it goes on with the layer or releases it
  // by itself. Never waits for a layer. Any thread.
  virtual void GiveUp() = 0;
};

// One layer. Whoever computes this layer's FFN holds a Lease from Advance() to the last use of a
// slot: that is what pins the slots. Sessions meet only when they are at the same layer.
class LayerSlots {
 public:
  LayerSlots(const RecordLayout& record_layout, uint32_t num_slots, uint32_t window_tokens,
             std::byte* slot_memory)
      : layout(record_layout),
        window(record_layout.num_records, num_slots, window_tokens),
        matrix_(slot_memory) {}

  // The right to use `window` and the slots.
  class Lease {
   public:
    Lease() = default;  // not held
    // Waits for whoever has it, but not when `cancelled`.
    Lease(LayerSlots* slots, const std::atomic<bool>& cancelled);
    // Held only if nobody else has it now.
    static Lease Try(LayerSlots* slots);
    ~Lease() { Release(); }
    Lease(Lease&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(slots_, other.slots_);
      return *this;
    }
    bool held() const { return slots_ != nullptr; }
    void Release();
    // Whom to ask for the layer while this lease is held; nullptr: nobody (as at first).
    void SetIdleHolder(std::shared_ptr<IdleHolder> holder);

   private:
    LayerSlots* slots_ = nullptr;
  };

  std::byte* slot_data(uint32_t slot) {
    return matrix_ + static_cast<size_t>(slot) * layout.record_bytes;
  }
  // Copies the window's figures to where span_tokens() and forced_evictions() find them.
  void PublishWindow();
  // As last published. Any thread.
  uint32_t span_tokens() const { return span_tokens_.load(std::memory_order_relaxed); }
  uint64_t forced_evictions() const { return forced_evictions_.load(std::memory_order_relaxed); }

  const RecordLayout layout;
  NeuronWindow window;  // under a Lease

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  bool leased_ = false;  // guarded by mutex_
  std::shared_ptr<IdleHolder> idle_holder_;  // of the lease; guarded by mutex_
  std::atomic<uint32_t> span_tokens_{0};
  std::atomic<uint64_t> forced_evictions_{0};
  std::byte* const matrix_;  // num_slots * record_bytes; contents under a Lease
};

class NeuronCache {
 public:
  // slots_per_layer[i] in records, at least 1 each. Everything is allocated here.
  static absl::StatusOr<std::unique_ptr<NeuronCache>> Create(
      absl::Span<const RecordLayout> layouts, absl::Span<const uint32_t> slots_per_layer,
      uint32_t window_tokens);

  LayerSlots& layer(uint32_t i) { return *layers_[i]; }
  uint32_t num_layers() const { return static_cast<uint32_t>(layers_.size()); }
  // The slots' memory, to be registered with the I/O engines.
  absl::Span<const IoSegment> buffers() const { return segments_; }
  // Mean over layers of NeuronWindow::span_tokens(). Any thread.
  double MeanSpanTokens() const;
  uint64_t ForcedEvictions() const;

 private:
  std::vector<AlignedBuffer> memory_;
  std::vector<IoSegment> segments_;
  std::vector<std::unique_ptr<LayerSlots>> layers_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_NEURON_CACHE_H_
