// A tensor as a view of a flat storage, and how to read a piece of it in row-major order without
// holding the storage.
#ifndef SLUICE_LIB_CONVERT_STRIDED_VIEW_H_
#define SLUICE_LIB_CONVERT_STRIDED_VIEW_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

namespace sluice {

struct StridedView {
  uint64_t offset = 0;             // of element (0, ..., 0) in its storage, in elements
  std::vector<uint64_t> shape;
  std::vector<uint64_t> strides;   // in elements, one for each of `shape`
  uint64_t element_bytes = 0;
};

// kInvalidArgument unless every element lies within the first `storage_bytes` bytes. A view that
// passes can be read without any further check.
absl::Status CheckView(const StridedView& view, uint64_t storage_bytes);

// Whether row-major order is the order of the storage, without a gap.
bool IsContiguous(const StridedView& view);

// Reads out.size() bytes from byte `offset` of the storage.
using ReadStorageFn =
    absl::FunctionRef<absl::Status(uint64_t offset, absl::Span<std::byte> out)>;

// Reads elements [first, first + count) of a view that CheckView accepted.
//   scratch  at least one element; more (1 MiB) makes fewer and larger reads
//   out      count * element_bytes bytes
// At most one read for each element and at most 4 KiB read for each: linear in `count` whatever
// the strides are. A contiguous view is read straight into `out`.
absl::Status ReadView(const StridedView& view, uint64_t first, uint64_t count,
                      ReadStorageFn read, absl::Span<std::byte> scratch,
                      absl::Span<std::byte> out);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_STRIDED_VIEW_H_
