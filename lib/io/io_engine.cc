#include "lib/io/io_engine.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/io/engines.h"
#include "lib/io/storage_file.h"

namespace sluice {
namespace {

constexpr size_t kMaxQueueDepth = 4096;

constexpr size_t kMaxPreadThreads = 16;
// What a pool thread touches of its stack and of the C library's per-thread memory.
constexpr uint64_t kThreadBytes = 64 * 1024;
// An SQE (64), two CQEs (32) and our own slot and lists, with the rounding up to a power of two.
constexpr uint64_t kBytesPerRead = 2 * (64 + 32) + 64;
// Page rounding of the rings, the engine object.
constexpr uint64_t kFixedBytes = 32 * 1024;

}  // namespace

static_assert(sizeof(IoSegment) == sizeof(iovec));
static_assert(offsetof(IoSegment, data) == offsetof(iovec, iov_base));
static_assert(offsetof(IoSegment, bytes) == offsetof(iovec, iov_len));

const iovec* AsIovec(absl::Span<const IoSegment> segments) {
  return reinterpret_cast<const iovec*>(segments.data());
}

absl::Status CheckReads(const IoEngine& engine, absl::Span<const IoRead> reads) {
  const size_t room = engine.queue_depth() - engine.in_flight();
  if (reads.size() > room) {
    return absl::InvalidArgumentError(absl::StrCat(
        reads.size(), " reads submitted, but the queue has room for ", room));
  }
  for (const IoRead& read : reads) {
    if (read.segments.empty() || read.segments.size() > IoEngine::kMaxSegments) {
      return absl::InvalidArgumentError(absl::StrCat("read at offset ", read.offset, " with ",
                                                     read.segments.size(), " segments; 1..",
                                                     IoEngine::kMaxSegments, " are allowed"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNotForked(int owner_pid) {
  if (getpid() == owner_pid) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this I/O engine belongs to process ", owner_pid,
                   " and cannot be used in its forked child ", getpid(), "; open the file anew"));
}

std::chrono::milliseconds BoundedTimeout(std::chrono::milliseconds timeout) {
  return std::clamp<std::chrono::milliseconds>(timeout, std::chrono::milliseconds(0),
                                               std::chrono::hours(1));
}

absl::StatusOr<std::unique_ptr<IoEngine>> MakeIoEngine(std::shared_ptr<StorageFile> file,
                                                       EngineChoice choice, size_t queue_depth,
                                                       absl::Span<const IoSegment> buffers) {
  if (file == nullptr) return absl::InvalidArgumentError("an I/O engine needs a file");
  if (queue_depth < 1 || queue_depth > kMaxQueueDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue depth ", queue_depth, " is not in 1..", kMaxQueueDepth));
  }
  if (choice == EngineChoice::kPread) {
    return MakePreadEngine(std::move(file), queue_depth, "pread was asked for");
  }
#if SLUICE_WITH_URING
  absl::StatusOr<std::unique_ptr<IoEngine>> uring = MakeUringEngine(file, queue_depth, buffers);
  if (uring.ok()) return uring;
  const std::string refusal(uring.status().message());
#else
  const std::string refusal = "io_uring refused: this build has none (SLUICE_WITH_URING=OFF)";
#endif
  if (choice == EngineChoice::kUring) return absl::UnimplementedError(refusal);
  return MakePreadEngine(std::move(file), queue_depth, absl::StrCat(refusal, "; using pread"));
}

uint64_t IoEngineBytes(size_t queue_depth) {
  return kFixedBytes + kBytesPerRead * queue_depth +
         kThreadBytes * std::min(queue_depth, kMaxPreadThreads);
}

}  // namespace sluice
