#include "lib/convert/tensor_writer.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/status_macros.h"
#include "lib/kernels/kernels.h"

namespace sluice {
namespace {

constexpr uint64_t kPieceBytes = 1 << 20;
// Neurons whose down columns are gathered together: a cache line of f16 from each row, twice.
constexpr uint32_t kColumnBlock = 64;

// One block of neurons: up rows read in order, down columns turned into rows.
class RecordBuilder {
 public:
  RecordBuilder(Checkpoint& checkpoint, const CheckpointTensor& up, const CheckpointTensor& down,
                const RecordLayout& layout)
      : checkpoint_(checkpoint), up_(up), down_(down), layout_(layout) {}

  absl::Status LoadDown() {
    SLUICE_ASSIGN_OR_RETURN(down_data_, AlignedBuffer::Allocate(
                                            down_.elements * ElementBytes(down_.type)));
    return checkpoint_.Read(down_, 0, down_.elements, down_data_.span());
  }

  // Fills `records` (a whole number of them, zeroed) with the neurons from `first_neuron` on.
  absl::Status Build(uint32_t first_neuron, uint32_t count, absl::Span<std::byte> records) {
    const uint32_t d = layout_.row_elements;
    up_source_.resize(uint64_t{count} * d * ElementBytes(up_.type));
    rows_.resize(uint64_t{count} * layout_.row_bytes());
    SLUICE_RETURN_IF_ERROR(checkpoint_.Read(up_, uint64_t{first_neuron} * d, uint64_t{count} * d,
                                            absl::MakeSpan(up_source_)));
    SLUICE_RETURN_IF_ERROR(ConvertElements(up_, uint64_t{first_neuron} * d, up_source_,
                                           layout_.type, absl::MakeSpan(rows_)));
    Place(first_neuron, count, /*down=*/false, records);
    GatherColumns(first_neuron, count);
    SLUICE_RETURN_IF_ERROR(
        ConvertElements(down_, first_neuron, columns_, layout_.type, absl::MakeSpan(rows_)));
    Place(first_neuron, count, /*down=*/true, records);
    return absl::OkStatus();
  }

 private:
  // columns_[j] = down[:, first_neuron + j], in the source's type.
  void GatherColumns(uint32_t first_neuron, uint32_t count) {
    const size_t size = ElementBytes(down_.type);
    const size_t d = layout_.row_elements, f = layout_.num_neurons;
    columns_.resize(count * d * size);
    const std::byte* source = down_data_.data();
    for (size_t row = 0; row < d; ++row) {
      const std::byte* from = source + (row * f + first_neuron) * size;
      for (size_t j = 0; j < count; ++j) {
        std::memcpy(columns_.data() + (j * d + row) * size, from + j * size, size);
      }
    }
  }

  void Place(uint32_t first_neuron, uint32_t count, bool down, absl::Span<std::byte> records) {
    for (uint32_t j = 0; j < count; ++j) {
      const uint32_t neuron = first_neuron + j;
      const uint64_t record = layout_.record_of(neuron) - layout_.record_of(first_neuron);
      const uint32_t at = down ? layout_.down_offset(neuron) : layout_.up_offset(neuron);
      std::memcpy(records.data() + record * layout_.record_bytes + at,
                  rows_.data() + uint64_t{j} * layout_.row_bytes(), layout_.row_bytes());
    }
  }

  Checkpoint& checkpoint_;
  const CheckpointTensor& up_;
  const CheckpointTensor& down_;
  const RecordLayout layout_;
  AlignedBuffer down_data_;
  std::vector<std::byte> up_source_, columns_, rows_;
};

}  // namespace

absl::Status ConvertElements(const CheckpointTensor& tensor, uint64_t first,
                             absl::Span<const std::byte> source, ElementType type,
                             absl::Span<std::byte> out) {
  if (tensor.type == type) {
    std::memcpy(out.data(), source.data(), source.size());
    return absl::OkStatus();
  }
  const size_t count = source.size() / ElementBytes(tensor.type);
  std::vector<float> wide(count);
  kernels::ToF32(tensor.type, source.data(), count, wide.data());
  const size_t bad = kernels::FromF32(type, wide.data(), count, out.data());
  if (bad == count) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      tensor.file, ": tensor \"", tensor.name, "\": a value near element ", first + bad, ", ",
      wide[bad], ", does not fit into ", ElementTypeName(type)));
}

absl::Status WriteResident(Checkpoint& checkpoint, const ResidentSource& source, ElementType type,
                           BundleWriter* writer) {
  const CheckpointTensor& tensor = *source.tensor;
  SLUICE_RETURN_IF_ERROR(writer->BeginTensor(source.name, type, tensor.shape));
  const uint64_t piece = kPieceBytes / ElementBytes(tensor.type);
  std::vector<std::byte> from, to;
  for (uint64_t first = 0; first < tensor.elements; first += piece) {
    const uint64_t count = std::min(piece, tensor.elements - first);
    from.resize(count * ElementBytes(tensor.type));
    to.resize(count * ElementBytes(type));
    SLUICE_RETURN_IF_ERROR(checkpoint.Read(tensor, first, count, absl::MakeSpan(from)));
    SLUICE_RETURN_IF_ERROR(ConvertElements(tensor, first, from, type, absl::MakeSpan(to)));
    SLUICE_RETURN_IF_ERROR(writer->AppendTensor(to));
  }
  return writer->EndTensor();
}

absl::Status WriteLayerRecords(Checkpoint& checkpoint, const CheckpointTensor& up,
                               const CheckpointTensor& down, const RecordLayout& layout,
                               BundleWriter* writer,
                               const std::function<bool(double)>& on_progress) {
  SLUICE_RETURN_IF_ERROR(writer->BeginLayer(layout));
  RecordBuilder builder(checkpoint, up, down, layout);
  SLUICE_RETURN_IF_ERROR(builder.LoadDown());
  const uint32_t per_record = layout.neurons_per_record;
  const uint32_t block = std::max(kColumnBlock / per_record, 1u) * per_record;
  std::vector<std::byte> records;
  for (uint32_t first = 0; first < layout.num_neurons; first += block) {
    const uint32_t count = std::min(block, layout.num_neurons - first);
    const uint64_t num_records = (count + per_record - 1) / per_record;
    records.assign(num_records * layout.record_bytes, std::byte{0});
    SLUICE_RETURN_IF_ERROR(builder.Build(first, count, absl::MakeSpan(records)));
    SLUICE_RETURN_IF_ERROR(writer->AppendRecords(records));
    if (!on_progress(static_cast<double>(first + count) / layout.num_neurons)) {
      return absl::CancelledError("cancelled");
    }
  }
  return writer->EndLayer();
}

}  // namespace sluice
