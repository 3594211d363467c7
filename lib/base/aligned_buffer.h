// Page-aligned memory that is touched when it is allocated, so that a memory budget is paid at
// open and not later, and so that O_DIRECT can read into it.
#ifndef SLUICE_LIB_BASE_ALIGNED_BUFFER_H_
#define SLUICE_LIB_BASE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace sluice {

// What O_DIRECT needs on every device that we know of; also the size of a page.
inline constexpr size_t kIoAlignment = 4096;

inline constexpr size_t kLargePage = size_t{2} << 20;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // `bytes` zeroed bytes at a multiple of kIoAlignment. kResourceExhausted: no memory.
  static absl::StatusOr<AlignedBuffer> Allocate(size_t bytes);
  // For weights, which are streamed through once a token: at a multiple of kLargePage where that
  // large, and handed to `advise(data, bytes)` before it is touched, for the system's ear.
  static absl::StatusOr<AlignedBuffer> AllocateAdvised(size_t bytes,
                                                       void (*advise)(void*, size_t));

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~AlignedBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  absl::Span<std::byte> span() { return {data_, size_}; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_BASE_ALIGNED_BUFFER_H_
