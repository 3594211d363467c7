#include "lib/train/ffn_layer.h"

#include <algorithm>
#include <cmath>

#include "lib/base/status_macros.h"
#include "lib/kernels/kernels.h"

namespace sluice::train {
namespace {

// Read at once; a record is at most as large as this.
constexpr uint64_t kPieceBytes = kMaxRecordBytes;

void TakeRecord(const RecordLayout& layout, uint32_t record, const std::byte* bytes,
                std::vector<float>* column, FfnLayer* out) {
  const uint32_t first = record * layout.neurons_per_record;
  const uint32_t end = std::min(first + layout.neurons_per_record, layout.num_neurons);
  for (uint32_t n = first; n < end; ++n) {
    kernels::ToF32(layout.type, bytes + layout.up_offset(n), layout.row_elements,
                   out->up.row(n));
    kernels::ToF32(layout.type, bytes + layout.down_offset(n), layout.row_elements,
                   column->data());
    double squares = 0;
    for (float v : *column) squares += static_cast<double>(v) * v;
    out->down_norm[n] = static_cast<float>(std::sqrt(squares));
  }
}

}  // namespace

absl::StatusOr<FfnLayer> ReadFfnLayer(const BundleFile& file, uint32_t layer,
                                      absl::Span<const float> up_bias) {
  const RecordLayout& layout = file.layers()[layer];
  FfnLayer out;
  out.up = FloatMatrix(layout.num_neurons, layout.row_elements);
  out.up_bias.assign(up_bias.begin(), up_bias.end());
  out.up_bias.resize(layout.num_neurons);
  out.down_norm.resize(layout.num_neurons);
  std::vector<float> column(layout.row_elements);
  const uint32_t at_once = static_cast<uint32_t>(
      std::min<uint64_t>(kPieceBytes / layout.record_bytes, layout.num_records));
  std::vector<std::byte> piece(uint64_t{at_once} * layout.record_bytes);
  for (uint32_t first = 0; first < layout.num_records; first += at_once) {
    const uint32_t count = std::min(at_once, layout.num_records - first);
    const absl::Span<std::byte> bytes(piece.data(), uint64_t{count} * layout.record_bytes);
    SLUICE_RETURN_IF_ERROR(file.storage()->ReadAt(layout.record_offset(first), bytes));
    for (uint32_t i = 0; i < count; ++i) {
      const auto record = bytes.subspan(uint64_t{i} * layout.record_bytes, layout.record_bytes);
      SLUICE_RETURN_IF_ERROR(file.VerifyRecord(layer, first + i, record));
      TakeRecord(layout, first + i, record.data(), &column, &out);
    }
  }
  return out;
}

}  // namespace sluice::train
