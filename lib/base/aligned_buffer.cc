#include "lib/base/aligned_buffer.h"

#include <cstdlib>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"

namespace sluice {

absl::StatusOr<AlignedBuffer> AlignedBuffer::Allocate(size_t bytes) {
  return AllocateAdvised(bytes, nullptr);
}

absl::StatusOr<AlignedBuffer> AlignedBuffer::AllocateAdvised(size_t bytes,
                                                             void (*advise)(void*, size_t)) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  const Checked rounded = Checked(bytes).RoundUp(kIoAlignment);
  if (!rounded.valid_and_at_most(SIZE_MAX / 2)) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes, " bytes"));
  }
  const bool large = advise != nullptr && rounded.value() >= 2 * kLargePage;
  // Not std::aligned_alloc(): it wants sizes that are multiples of the alignment.
  void* data = nullptr;
  if (posix_memalign(&data, large ? kLargePage : kIoAlignment, rounded.value()) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes, " bytes"));
  }
  if (large) advise(data, rounded.value());
  std::memset(data, 0, rounded.value());
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.size_ = bytes;
  return buffer;
}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

}  // namespace sluice
