// Writes a file from front to back through one buffer, so that small pieces become large writes.
#ifndef SLUICE_LIB_FORMAT_SEQUENTIAL_OUTPUT_H_
#define SLUICE_LIB_FORMAT_SEQUENTIAL_OUTPUT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/aligned_buffer.h"

namespace sluice {

class SequentialOutput {
 public:
  using WriteAt = std::function<absl::Status(uint64_t offset, absl::Span<const std::byte> data)>;

  // `file`, an AtomicFile or a BundleOutput, outlives the object. Writing begins at `offset`.
  template <typename File>
  static absl::StatusOr<std::unique_ptr<SequentialOutput>> Create(File* file, uint64_t offset) {
    return Create(WriteAt([file](uint64_t at, absl::Span<const std::byte> data) {
                    return file->WriteAt(at, data);
                  }),
                  offset);
  }
  static absl::StatusOr<std::unique_ptr<SequentialOutput>> Create(WriteAt write, uint64_t offset);

  // Where the next byte goes.
  uint64_t position() const { return written_ + used_; }
  absl::Status Append(absl::Span<const std::byte> data);
  // Zeros up to the next multiple of `alignment`, a power of two.
  absl::Status PadTo(uint64_t alignment);
  absl::Status Flush();
  // Flushes, and goes on at `offset`.
  absl::Status MoveTo(uint64_t offset);

 private:
  SequentialOutput(WriteAt write, uint64_t offset, AlignedBuffer buffer);

  WriteAt write_;
  uint64_t written_;  // end of what has been handed to the file
  AlignedBuffer buffer_;
  size_t used_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_SEQUENTIAL_OUTPUT_H_
