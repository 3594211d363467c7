#include "lib/format/record_layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"

namespace sluice {
namespace {

// With more neurons to a record than this, one missing neuron drags too many others along.
constexpr uint32_t kMaxNeuronsPerRecord = 16;
// A record is good enough when less than one part in this many is padding.
constexpr uint64_t kPaddingParts = 16;

absl::Status Bad(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("record layout: ", what));
}

Checked BundleBytes(uint32_t row_elements, uint32_t rows_per_neuron, ElementType type) {
  return Checked(row_elements) * rows_per_neuron * ElementBytes(type);
}

// The number of neurons to a record, 0 when even one does not fit into kMaxRecordBytes.
uint32_t ChooseNeuronsPerRecord(Checked bundle) {
  uint32_t best = 0;
  uint64_t best_padding = 0, best_bytes = 1;
  for (uint32_t neurons = 1; neurons <= kMaxNeuronsPerRecord; ++neurons) {
    const Checked used = bundle * neurons;
    const Checked rounded = used.RoundUp(kRecordAlignment);
    if (!rounded.valid_and_at_most(kMaxRecordBytes)) break;
    const uint64_t bytes = rounded.value();
    const uint64_t padding = bytes - used.value();
    if (padding * kPaddingParts < bytes) return neurons;
    if (best == 0 || padding * best_bytes < best_padding * bytes) {
      best = neurons;
      best_padding = padding;
      best_bytes = bytes;
    }
  }
  return best;
}

}  // namespace

absl::StatusOr<RecordLayout> MakeRecordLayout(uint32_t num_neurons, uint32_t row_elements,
                                              uint32_t rows_per_neuron, ElementType type,
                                              uint32_t neurons_per_record) {
  if (num_neurons == 0 || row_elements == 0 || rows_per_neuron == 0) {
    return Bad(absl::StrCat("a size is zero: ", num_neurons, " neurons of ", rows_per_neuron,
                            " rows of ", row_elements, " elements"));
  }
  const Checked bundle = BundleBytes(row_elements, rows_per_neuron, type);
  RecordLayout layout;
  layout.num_neurons = num_neurons;
  layout.row_elements = row_elements;
  layout.rows_per_neuron = rows_per_neuron;
  layout.type = type;
  layout.neurons_per_record =
      neurons_per_record != 0 ? neurons_per_record : ChooseNeuronsPerRecord(bundle);
  const Checked record = (bundle * layout.neurons_per_record).RoundUp(kRecordAlignment);
  if (layout.neurons_per_record == 0 || !record.valid_and_at_most(kMaxRecordBytes)) {
    return Bad(absl::StrCat(std::max(neurons_per_record, 1u), " neurons, each ", rows_per_neuron,
                            " rows of ", row_elements, " ", ElementTypeName(type),
                            ", take more than ", kMaxRecordBytes, " bytes"));
  }
  layout.record_bytes = static_cast<uint32_t>(record.value());
  layout.num_records =
      static_cast<uint32_t>(DivideRoundUp(num_neurons, layout.neurons_per_record));
  return layout;
}

absl::Status CheckRecordLayout(const RecordLayout& layout) {
  if (layout.num_neurons == 0) return Bad("num_neurons is 0");
  if (layout.row_elements == 0) return Bad("row_elements is 0");
  if (layout.rows_per_neuron != 2 && layout.rows_per_neuron != 3) {
    return Bad(absl::StrCat("rows_per_neuron is ", layout.rows_per_neuron, ", not 2 or 3"));
  }
  if (layout.neurons_per_record == 0) return Bad("neurons_per_record is 0");
  if (layout.record_bytes == 0 || layout.record_bytes % kRecordAlignment != 0 ||
      layout.record_bytes > kMaxRecordBytes) {
    return Bad(absl::StrCat("record_bytes is ", layout.record_bytes, ", not a multiple of ",
                            kRecordAlignment, " up to ", kMaxRecordBytes));
  }
  const Checked used = BundleBytes(layout.row_elements, layout.rows_per_neuron, layout.type) *
                       layout.neurons_per_record;
  if (!used.valid_and_at_most(layout.record_bytes)) {
    return Bad(absl::StrCat("record_bytes is ", layout.record_bytes, ", too small for ",
                            layout.neurons_per_record, " neurons of ", layout.rows_per_neuron,
                            " rows of ", layout.row_elements, " ",
                            ElementTypeName(layout.type)));
  }
  const uint64_t records = DivideRoundUp(layout.num_neurons, layout.neurons_per_record);
  if (layout.num_records != records) {
    return Bad(absl::StrCat("num_records is ", layout.num_records, ", but ", layout.num_neurons,
                            " neurons, ", layout.neurons_per_record, " to a record, take ",
                            records));
  }
  return absl::OkStatus();
}

std::string DescribeRecord(const RecordLayout& layout, uint32_t layer, uint32_t record) {
  const uint64_t first = static_cast<uint64_t>(record) * layout.neurons_per_record;
  const uint64_t last = std::min<uint64_t>(first + layout.neurons_per_record, layout.num_neurons);
  return absl::StrCat("layer ", layer, ", record ", record, " (neurons ", first, " to ", last - 1,
                      ") at ", layout.record_offset(record));
}

}  // namespace sluice
