#include "tests/support/memory_engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::testing {

MemoryEngine::MemoryEngine(std::shared_ptr<const std::string> content,
                           MemoryEngineOptions options)
    : content_(std::move(content)), options_(options) {
  capabilities_.engine = "memory";
  capabilities_.reason = "a test";
  capabilities_.direct_io = options.alignment > 1;
  capabilities_.alignment = options.alignment;
}

absl::Status MemoryEngine::Submit(absl::Span<const IoRead> reads) {
  if (reads.size() > queue_depth() - in_flight()) {
    return absl::InvalidArgumentError("more reads than the queue has room for");
  }
  for (const IoRead& read : reads) {
    if (read.segments.empty() || read.segments.size() > kMaxSegments) {
      return absl::InvalidArgumentError("no segments, or too many");
    }
  }
  pending_.insert(pending_.end(), reads.begin(), reads.end());
  return absl::OkStatus();
}

int64_t MemoryEngine::Perform(const IoRead& read) const {
  uint64_t misaligned = read.offset;
  for (const IoSegment& segment : read.segments) {
    misaligned |= reinterpret_cast<uintptr_t>(segment.data) | segment.bytes;
  }
  if (misaligned % options_.alignment != 0) return -EINVAL;
  uint64_t position = read.offset;
  for (const IoSegment& segment : read.segments) {
    if (position >= content_->size()) break;
    const size_t bytes = std::min<uint64_t>(segment.bytes, content_->size() - position);
    std::memcpy(segment.data, content_->data() + position, bytes);
    position += bytes;
  }
  return static_cast<int64_t>(position - read.offset);
}

absl::Status MemoryEngine::Reap(size_t, std::chrono::milliseconds,
                                std::vector<IoCompletion>* out) {
  for (const IoRead& read : pending_) out->push_back({read.tag, Perform(read)});
  pending_.clear();
  return absl::OkStatus();
}

}  // namespace sluice::testing
