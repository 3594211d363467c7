// How the streamed weights of one layer lie in the file.
#ifndef SLUICE_LIB_FORMAT_RECORD_LAYOUT_H_
#define SLUICE_LIB_FORMAT_RECORD_LAYOUT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/element_type.h"

namespace sluice {

// A record holds the bundles of `neurons_per_record` neurons one after the other, then zeros up to
// record_bytes, a multiple of 4096. A bundle is the neuron's up row, its gate row if the FFN is
// gated, and its down column, each d_model elements long. Neuron n is in record n /
// neurons_per_record. The last record of a layer is filled up with zeros.
struct RecordLayout {
  uint64_t offset = 0;  // of the layer's first record in the file
  uint32_t num_neurons = 0;  // d_ffn
  uint32_t row_elements = 0;  // d_model
  uint32_t rows_per_neuron = 2;  // 3 with a gate
  ElementType type = ElementType::kF32;
  uint32_t neurons_per_record = 1;
  uint32_t record_bytes = 0;
  uint32_t num_records = 0;

  uint32_t row_bytes() const { return row_elements * static_cast<uint32_t>(ElementBytes(type)); }
  uint32_t bundle_bytes() const { return rows_per_neuron * row_bytes(); }
  uint32_t record_of(uint32_t neuron) const { return neuron / neurons_per_record; }
  // Byte offsets inside the record.
  uint32_t up_offset(uint32_t neuron) const {
    return (neuron % neurons_per_record) * bundle_bytes();
  }
  uint32_t down_offset(uint32_t neuron) const {
    return up_offset(neuron) + (rows_per_neuron - 1) * row_bytes();
  }
  // The bytes of a record that hold neurons; the rest are zeros.
  uint32_t used_bytes(uint32_t record) const {
    const uint32_t left = num_neurons - record * neurons_per_record;
    return (left < neurons_per_record ? left : neurons_per_record) * bundle_bytes();
  }
  uint64_t record_offset(uint32_t record) const {
    return offset + static_cast<uint64_t>(record) * record_bytes;
  }
};

// Reads end on pages of the page cache and blocks of the device; 4096 is enough for all we know.
inline constexpr uint32_t kRecordAlignment = 4096;
// A record is read and checked as a whole, so its size bounds a slot and the time to the first use.
inline constexpr uint32_t kMaxRecordBytes = 64u << 20;

// The layout for a generic device: the fewest neurons to a record with which padding takes less
// than 1/16 of it (one neuron for OPT-6.7B in f16: 16 KiB; four for d_model 256 in f16: 4 KiB), or
// else the number up to 16 that wastes least. `offset` is left 0. kInvalidArgument: a size that is
// zero, or a record over 64 MiB.
//   neurons_per_record  0: chosen as above
absl::StatusOr<RecordLayout> MakeRecordLayout(uint32_t num_neurons, uint32_t row_elements,
                                              uint32_t rows_per_neuron, ElementType type,
                                              uint32_t neurons_per_record = 0);

// kInvalidArgument, naming the member, unless the members agree with one another and with the
// limits above: then no member function wraps. Says nothing about `offset`.
absl::Status CheckRecordLayout(const RecordLayout& layout);

// "layer 3, record 17 (neurons 68 to 71) at 4198400", for messages.
std::string DescribeRecord(const RecordLayout& layout, uint32_t layer, uint32_t record);

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_RECORD_LAYOUT_H_
