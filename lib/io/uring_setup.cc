// Setting up a ring, and finding out whether io_uring works here at all.
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/io/posix_file.h"
#include "lib/io/uring_engine.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;

// The kernel registers at most 1 GiB in one piece, and at most 16384 pieces.
constexpr size_t kMaxSlabBytes = size_t{1} << 30;
constexpr size_t kMaxSlabs = 16384;

// A ring that was just closed is unpinned a moment later; its memory counts until then.
constexpr milliseconds kMaxMemlockWait(200);

std::string MemlockLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "unknown";
  if (limit.rlim_cur == RLIM_INFINITY) return "unlimited";
  return absl::StrCat(limit.rlim_cur, " bytes");
}

// Whether no wait can help: more than the limit is wanted, whatever else is locked.
bool ExceedsMemlock(uint64_t bytes) {
  rlimit limit{};
  return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
         bytes > limit.rlim_cur;
}

// Calls `attempt` (0 or -errno) until it says something else than ENOMEM or the time is up.
template <typename Attempt>
int RetryWhileNoMemory(Attempt attempt) {
  milliseconds waited(0);
  for (milliseconds pause(1);; pause *= 2) {
    const int result = attempt();
    if (result != -ENOMEM || waited >= kMaxMemlockWait) return result;
    pause = std::min(pause, kMaxMemlockWait - waited);
    std::this_thread::sleep_for(pause);
    waited += pause;
  }
}

absl::Status Refused(int error, absl::string_view call) {
  std::string hint;
  switch (error) {
    case EPERM:
    case EACCES:
      hint = "seccomp profile or kernel.io_uring_disabled";
      break;
    case ENOSYS:
      hint = "the kernel has no io_uring, or a sandbox hides it";
      break;
    case ENOMEM:
      hint = absl::StrCat("no memory, or the limit on locked memory is too low (",
                          MemlockLimit(), ", ulimit -l)");
      break;
    case EMFILE:
    case ENFILE:
      hint = "no file descriptor left (ulimit -n)";
      break;
    case ETIME:
      hint = "no completion of a no-op within a second";
      break;
    default:
      hint = "it does not work here";
  }
  return absl::UnimplementedError(
      absl::StrCat("io_uring refused (", ErrnoName(error), "): ", hint, " [", call, "]"));
}

}  // namespace

absl::Status UringEngine::SetUpRing() {
  const int result = RetryWhileNoMemory([this] {
    return io_uring_queue_init(static_cast<unsigned>(queue_depth_), &ring_, 0);
  });
  if (result != 0) return Refused(-result, "io_uring_setup");
  ring_ready_ = true;
  // Waiting with a time limit needs no entry of its own since Linux 5.11.
  if ((ring_.features & IORING_FEAT_EXT_ARG) == 0) {
    return absl::UnimplementedError("io_uring refused: the kernel is older than 5.11");
  }
  // A child that touches the ring would steal completions.
  if (const int error = io_uring_ring_dontfork(&ring_); error != 0) {
    return Refused(-error, "madvise(MADV_DONTFORK)");
  }
  return absl::OkStatus();
}

// A set-up that is allowed says nothing of io_uring_enter: seccomp judges each call alone.
absl::Status UringEngine::SendNoOp() {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  io_uring_prep_nop(sqe);
  sqe->user_data = ~uint64_t{0};
  prepared_.push_back({sqe, ~uint64_t{0}});
  const int submitted = io_uring_submit(&ring_);
  if (submitted < 0) return Refused(-submitted, "io_uring_enter");
  prepared_.clear();
  io_uring_cqe* cqe = nullptr;
  __kernel_timespec second{1, 0};
  int result;
  do {
    result = io_uring_wait_cqe_timeout(&ring_, &cqe, &second);
  } while (result == -EINTR);
  if (result != 0) return Refused(-result, "io_uring_enter");
  const int outcome = cqe->res;
  io_uring_cqe_seen(&ring_, cqe);
  if (outcome < 0) return Refused(-outcome, "no-op");
  return absl::OkStatus();
}

void UringEngine::RegisterBuffers(absl::Span<const IoSegment> buffers) {
  std::vector<iovec> pieces;
  uint64_t total = 0;
  for (const IoSegment& buffer : buffers) {
    for (size_t begin = 0; begin < buffer.bytes; begin += kMaxSlabBytes) {
      const size_t bytes = std::min(kMaxSlabBytes, buffer.bytes - begin);
      pieces.push_back({buffer.data + begin, bytes});
      total += bytes;
    }
  }
  if (pieces.empty()) return;
  if (pieces.size() > kMaxSlabs) {
    absl::StrAppend(&capabilities_.reason, "; buffers not registered: ", pieces.size(),
                    " pieces, the kernel takes ", kMaxSlabs);
    return;
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const iovec& a, const iovec& b) { return a.iov_base < b.iov_base; });
  const auto attempt = [&] {
    return io_uring_register_buffers(&ring_, pieces.data(), static_cast<unsigned>(pieces.size()));
  };
  const int result = ExceedsMemlock(total) ? attempt() : RetryWhileNoMemory(attempt);
  if (result != 0) {
    absl::StrAppend(&capabilities_.reason, "; buffers not registered (", ErrnoName(-result),
                    "): need ", total, " bytes of locked memory, limit ", MemlockLimit(),
                    " (ulimit -l)");
    return;
  }
  for (const iovec& piece : pieces) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(piece.iov_base);
    slabs_.push_back({begin, begin + piece.iov_len});
  }
  capabilities_.registered = true;
  absl::StrAppend(&capabilities_.reason, "; buffers registered");
}

absl::Status UringEngine::Init(absl::Span<const IoSegment> buffers) {
  if (!file_->uring_refusal().empty()) {
    return absl::UnimplementedError(absl::StrCat("io_uring refused: ", file_->uring_refusal()));
  }
  SLUICE_RETURN_IF_ERROR(SetUpRing());
  SLUICE_RETURN_IF_ERROR(SendNoOp());
  std::vector<int> fds;
  for (const StoragePiece& piece : file_->pieces()) fds.push_back(piece.fd);
  const int error =
      io_uring_register_files(&ring_, fds.data(), static_cast<unsigned>(fds.size()));
  if (error != 0) return Refused(-error, "io_uring_register");
  capabilities_.engine = "uring";
  capabilities_.reason = "io_uring works here";
  capabilities_.direct_io = file_->direct_io();
  capabilities_.alignment = file_->alignment();
  RegisterBuffers(buffers);
  if (!file_->direct_io()) {
    absl::StrAppend(&capabilities_.reason, "; buffered reads: ", file_->direct_reason());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<IoEngine>> MakeUringEngine(std::shared_ptr<StorageFile> file,
                                                          size_t queue_depth,
                                                          absl::Span<const IoSegment> buffers) {
  auto engine = std::make_unique<UringEngine>(std::move(file), queue_depth);
  SLUICE_RETURN_IF_ERROR(engine->Init(buffers));
  return engine;
}

}  // namespace sluice
