#include "lib/format/sequential_output.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/checked.h"
#include "lib/base/status_macros.h"

namespace sluice {
namespace {

// Large enough that a system call costs little beside the bytes it moves.
constexpr size_t kBufferBytes = 1u << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<SequentialOutput>> SequentialOutput::Create(WriteAt write,
                                                                           uint64_t offset) {
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(kBufferBytes));
  return std::unique_ptr<SequentialOutput>(
      new SequentialOutput(std::move(write), offset, std::move(buffer)));
}

SequentialOutput::SequentialOutput(WriteAt write, uint64_t offset, AlignedBuffer buffer)
    : write_(std::move(write)), written_(offset), buffer_(std::move(buffer)) {}

absl::Status SequentialOutput::Append(absl::Span<const std::byte> data) {
  while (!data.empty()) {
    if (used_ == 0 && data.size() >= buffer_.size()) {
      SLUICE_RETURN_IF_ERROR(write_(written_, data));
      written_ += data.size();
      return absl::OkStatus();
    }
    const size_t piece = std::min(data.size(), buffer_.size() - used_);
    std::memcpy(buffer_.data() + used_, data.data(), piece);
    used_ += piece;
    data.remove_prefix(piece);
    if (used_ == buffer_.size()) SLUICE_RETURN_IF_ERROR(Flush());
  }
  return absl::OkStatus();
}

absl::Status SequentialOutput::PadTo(uint64_t alignment) {
  static constexpr std::byte kZeros[4096] = {};
  uint64_t left = RoundUp(position(), alignment) - position();
  while (left != 0) {
    const uint64_t piece = std::min<uint64_t>(left, sizeof(kZeros));
    SLUICE_RETURN_IF_ERROR(Append(absl::MakeConstSpan(kZeros, static_cast<size_t>(piece))));
    left -= piece;
  }
  return absl::OkStatus();
}

absl::Status SequentialOutput::Flush() {
  if (used_ == 0) return absl::OkStatus();
  SLUICE_RETURN_IF_ERROR(write_(written_, absl::MakeConstSpan(buffer_.data(), used_)));
  written_ += used_;
  used_ = 0;
  return absl::OkStatus();
}

absl::Status SequentialOutput::MoveTo(uint64_t offset) {
  SLUICE_RETURN_IF_ERROR(Flush());
  written_ = offset;
  return absl::OkStatus();
}

}  // namespace sluice
