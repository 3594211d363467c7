// Copies a checkpoint's weights into a bundle file, piece by piece.
#ifndef SLUICE_LIB_CONVERT_TENSOR_WRITER_H_
#define SLUICE_LIB_CONVERT_TENSOR_WRITER_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "lib/convert/checkpoint.h"
#include "lib/convert/opt_checkpoint.h"
#include "lib/format/bundle_writer.h"

namespace sluice {

// Turns `count` elements of `tensor` into `type`. `source` and `out` hold them in the one and the
// other type. kInvalidArgument names tensor, element and value when one does not fit.
absl::Status ConvertElements(const CheckpointTensor& tensor, uint64_t first,
                             absl::Span<const std::byte> source, ElementType type,
                             absl::Span<std::byte> out);

// Writes one resident tensor in `type`. Memory: two pieces of 1 MiB.
absl::Status WriteResident(Checkpoint& checkpoint, const ResidentSource& source, ElementType type,
                           BundleWriter* writer);

// Writes the records of one layer. Memory: the down projection in its own type (its columns lie
// across all of it), and a few MiB.
//   on_progress  gets the share done; false stops with kCancelled
absl::Status WriteLayerRecords(Checkpoint& checkpoint, const CheckpointTensor& up,
                               const CheckpointTensor& down, const RecordLayout& layout,
                               BundleWriter* writer,
                               const std::function<bool(double)>& on_progress);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_TENSOR_WRITER_H_
