// The DRAM that neurons are streamed into: for each layer a matrix of slots and the window that
// says which record is in which. Shared by a model's sessions.
#ifndef SLUICE_LIB_MODEL_NEURON_CACHE_H_
#define SLUICE_LIB_MODEL_NEURON_CACHE_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/aligned_buffer.h"
#include "lib/cache/neuron_window.h"
#include "lib/format/record_layout.h"
#include "lib/io/io_engine.h"

namespace sluice {

// One layer. Whoever computes this layer's FFN holds `mutex` from Advance() to the last use of a
// slot: that is what pins the slots. Sessions meet only when they are at the same layer.
struct LayerSlots {
  LayerSlots(const RecordLayout& record_layout, uint32_t num_slots, uint32_t window_tokens,
             std::byte* slot_memory)
      : layout(record_layout),
        window(record_layout.num_records, num_slots, window_tokens),
        matrix(slot_memory) {}

  std::byte* slot_data(uint32_t slot) {
    return matrix + static_cast<size_t>(slot) * layout.record_bytes;
  }

  const RecordLayout layout;
  std::mutex mutex;
  NeuronWindow window;      // guarded by mutex
  std::byte* const matrix;  // num_slots * record_bytes, contents guarded by mutex
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
  // Mean over layers of the tokens that the windows span. Takes each layer's mutex in turn.
  double MeanSpanTokens();
  uint64_t ForcedEvictions();

 private:
  std::vector<AlignedBuffer> memory_;
  std::vector<IoSegment> segments_;
  std::vector<std::unique_ptr<LayerSlots>> layers_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_NEURON_CACHE_H_
