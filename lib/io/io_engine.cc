#include "lib/io/io_engine.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/io/engines.h"
#include "lib/io/storage_file.h"

namespace sluice {
namespace {

constexpr size_t kMaxQueueDepth = 4096;

constexpr size_t kMaxPreadThreads = 16;
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

PieceRead InOnePiece(absl::Span<const StoragePiece> pieces, const IoRead& read) {
  const auto starts_after = [](uint64_t offset, const StoragePiece& p) { return offset < p.begin; };
  const auto next = std::upper_bound(pieces.begin(), pieces.end(), read.offset, starts_after);
  if (next == pieces.begin() || read.offset >= (next - 1)->end) return {};
  const StoragePiece& piece = *(next - 1);
  PieceRead in;
  in.piece = static_cast<size_t>(next - 1 - pieces.begin());
  in.offset = piece.file_offset + (read.offset - piece.begin);
  uint64_t room = piece.end - read.offset;
  size_t count = 0;
  for (; count < read.segments.size() && read.segments[count].bytes <= room; ++count) {
    room -= read.segments[count].bytes;
  }
  in.segments = read.segments.first(std::max<size_t>(count, 1));
  in.first_bytes = count == 0 ? static_cast<size_t>(room) : read.segments[0].bytes;
  return in;
}

absl::Status NoReadingThread(absl::string_view path) {
  return absl::ResourceExhaustedError(absl::StrCat(
      path, ": not even one reading thread could be started (limit on threads or memory)"));
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

absl::Status CheckEngineChoice(const StorageFile& file, EngineChoice choice) {
  if (file.host_reader() == nullptr || choice == EngineChoice::kAuto) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(file.path(), ": is read by a function of the host's, which has an engine of ",
                   "its own: neither io_uring nor pread can be asked for"));
}

absl::StatusOr<std::unique_ptr<IoEngine>> MakeIoEngine(std::shared_ptr<StorageFile> file,
                                                       EngineChoice choice, size_t queue_depth,
                                                       absl::Span<const IoSegment> buffers) {
  if (file == nullptr) return absl::InvalidArgumentError("an I/O engine needs a file");
  if (queue_depth < 1 || queue_depth > kMaxQueueDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue depth ", queue_depth, " is not in 1..", kMaxQueueDepth));
  }
  SLUICE_RETURN_IF_ERROR(CheckEngineChoice(*file, choice));
  if (file->host_reader() != nullptr) return MakeHostEngine(std::move(file), queue_depth);
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
         kReadThreadBytes * std::min(queue_depth, kMaxPreadThreads);
}

}  // namespace sluice
