#include "lib/format/reorder_records.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/status_macros.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"

namespace sluice {
namespace {

// Records are written in pieces of about this size.
constexpr uint64_t kPieceBytes = 4 << 20;

std::byte* Bundle(const RecordLayout& layout, uint32_t neuron, std::byte* records) {
  return records + uint64_t{layout.record_of(neuron)} * layout.record_bytes +
         layout.up_offset(neuron);
}

absl::Status Verify(const RecordLayout& layout, uint32_t layer, uint64_t uuid,
                    absl::Span<const std::byte> records, absl::Span<const std::byte> checksums,
                    const BundleOutput& file) {
  for (uint32_t r = 0; r < layout.num_records; ++r) {
    const auto bytes = records.subspan(uint64_t{r} * layout.record_bytes, layout.record_bytes);
    const uint64_t expected = LoadU64(checksums.data() + uint64_t{r} * sizeof(uint64_t));
    const uint64_t found = Xxh3(bytes, RecordSeed(uuid, layer, r));
    if (found == expected) continue;
    return absl::DataLossError(absl::StrCat(
        file.temporary_path(), ": ", DescribeRecord(layout, layer, r), ": expected checksum ",
        HashToHex(expected), ", found ", HashToHex(found)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReorderRecords(const RecordLayout& layout, uint32_t layer, uint64_t uuid,
                            absl::Span<const uint32_t> order, absl::Span<std::byte> checksums,
                            BundleOutput* file) {
  const uint64_t bytes = uint64_t{layout.num_records} * layout.record_bytes;
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer from, AlignedBuffer::Allocate(bytes));
  SLUICE_RETURN_IF_ERROR(file->ReadAt(layout.offset, from.span()));
  SLUICE_RETURN_IF_ERROR(Verify(layout, layer, uuid, from.span(), checksums, *file));
  const uint32_t piece = static_cast<uint32_t>(
      std::clamp<uint64_t>(kPieceBytes / layout.record_bytes, 1, layout.num_records));
  std::vector<std::byte> to;
  for (uint32_t first = 0; first < layout.num_records; first += piece) {
    const uint32_t count = std::min(piece, layout.num_records - first);
    to.assign(uint64_t{count} * layout.record_bytes, std::byte{0});
    const uint32_t begin = first * layout.neurons_per_record;
    const uint32_t end = static_cast<uint32_t>(std::min<uint64_t>(
        uint64_t{first + count} * layout.neurons_per_record, layout.num_neurons));
    for (uint32_t p = begin; p < end; ++p) {
      std::memcpy(Bundle(layout, p - begin, to.data()), Bundle(layout, order[p], from.data()),
                  layout.bundle_bytes());
    }
    for (uint32_t r = 0; r < count; ++r) {
      const absl::Span<const std::byte> record(to.data() + uint64_t{r} * layout.record_bytes,
                                               layout.record_bytes);
      StoreU64(Xxh3(record, RecordSeed(uuid, layer, first + r)),
               checksums.data() + uint64_t{first + r} * sizeof(uint64_t));
    }
    SLUICE_RETURN_IF_ERROR(file->WriteAt(layout.record_offset(first), to));
  }
  return absl::OkStatus();
}

}  // namespace sluice
