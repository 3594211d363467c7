#include "lib/io/uring_engine.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/io/batch_reader.h"
#include "lib/io/posix_file.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// user_data of entries whose completion nobody waits for.
constexpr uint64_t kDiscarded = ~uint64_t{0};
// EAGAIN and EBUSY of io_uring_enter come and go within milliseconds.
constexpr int kMaxEnterRetries = 32;
constexpr size_t kNoSlab = ~size_t{0};

void SleepBeforeRetry(int attempt) {
  std::this_thread::sleep_for(milliseconds(std::min(attempt, 10)));
}

}  // namespace

UringEngine::UringEngine(std::shared_ptr<StorageFile> file, size_t queue_depth)
    : file_(std::move(file)), queue_depth_(queue_depth), owner_pid_(getpid()) {
  slot_tags_.resize(queue_depth);
  free_slots_.reserve(queue_depth);
  for (size_t slot = queue_depth; slot > 0; --slot) free_slots_.push_back(slot - 1);
  prepared_.reserve(2 * queue_depth);
  early_.reserve(queue_depth);
}

UringEngine::~UringEngine() {
  if (!ring_ready_) return;
  if (getpid() != owner_pid_) {
    // A forked child has the descriptor but not the rings' memory (ring_dontfork), and what it
    // unregistered would be its parent's.
    close(ring_.ring_fd);
    return;
  }
  std::vector<IoCompletion> ignored;
  while (in_flight_ > 0) {
    const absl::Status status = Reap(in_flight_, milliseconds(1000), &ignored);
    // Never give up: the kernel still writes to the callers' memory.
    if (!status.ok()) std::this_thread::sleep_for(milliseconds(1));
  }
  // Without this the kernel unpins after the exit has returned, and a new registration soon
  // after meets the memlock limit.
  if (!slabs_.empty()) io_uring_unregister_buffers(&ring_);
  io_uring_queue_exit(&ring_);
}

size_t UringEngine::FindSlab(const IoSegment& segment) const {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(segment.data);
  const auto starts_after = [](uintptr_t value, const Slab& slab) { return value < slab.begin; };
  auto next = std::upper_bound(slabs_.begin(), slabs_.end(), begin, starts_after);
  if (next == slabs_.begin()) return kNoSlab;
  --next;
  const bool inside = begin <= next->end && segment.bytes <= next->end - begin;
  return inside ? static_cast<size_t>(next - slabs_.begin()) : kNoSlab;
}

void UringEngine::PrepareRead(const IoRead& read) {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);  // room was checked
  const uint64_t slot = free_slots_.back();
  free_slots_.pop_back();
  slot_tags_[slot] = read.tag;
  const PieceRead in = InOnePiece(file_->pieces(), read);
  // A piece's index is its file's among the registered ones.
  const int file = static_cast<int>(in.piece);
  if (in.segments.empty()) {
    io_uring_prep_nop(sqe);  // beyond the end: completes with 0 bytes
  } else {
    const IoSegment& first = in.segments[0];
    const unsigned bytes = static_cast<unsigned>(in.first_bytes);
    const size_t slab = in.segments.size() == 1 ? FindSlab(first) : kNoSlab;
    if (slab != kNoSlab) {
      io_uring_prep_read_fixed(sqe, file, first.data, bytes, in.offset, static_cast<int>(slab));
    } else if (in.first_bytes < first.bytes) {
      io_uring_prep_read(sqe, file, first.data, bytes, in.offset);
    } else {
      io_uring_prep_readv(sqe, file, AsIovec(in.segments),
                          static_cast<unsigned>(in.segments.size()), in.offset);
    }
    sqe->flags |= IOSQE_FIXED_FILE;
  }
  sqe->user_data = slot;
  prepared_.push_back({sqe, slot});
}

// Hands what is prepared to the kernel, by one system call where it takes all.
absl::Status UringEngine::Flush() {
  for (int attempt = 0; !prepared_.empty();) {
    const int taken = io_uring_submit(&ring_);
    if (taken > 0) {
      const size_t count = std::min(prepared_.size(), static_cast<size_t>(taken));
      prepared_.erase(prepared_.begin(), prepared_.begin() + static_cast<std::ptrdiff_t>(count));
      continue;
    }
    const int error = taken == 0 ? EAGAIN : -taken;
    if ((error != EINTR && error != EAGAIN && error != EBUSY) || ++attempt > kMaxEnterRetries) {
      return ErrnoStatus(error, "io_uring_enter, submitting reads");
    }
    // EBUSY: the kernel waits for room among the completions.
    Collect(&early_);
    if (error != EINTR) SleepBeforeRetry(attempt);
  }
  return absl::OkStatus();
}

// After a failed Flush(): what the kernel has not taken becomes no-ops. Reads of a batch of which
// a part has started are handed out as failed with EAGAIN; else none has, and `why` is returned.
absl::Status UringEngine::Withdraw(const absl::Status& why, size_t batch_size) {
  std::vector<uint64_t> slots;
  for (Prepared& entry : prepared_) {
    io_uring_prep_nop(entry.sqe);
    entry.sqe->user_data = kDiscarded;
    if (entry.slot != kDiscarded) slots.push_back(entry.slot);
    entry.slot = kDiscarded;
  }
  free_slots_.insert(free_slots_.end(), slots.begin(), slots.end());
  if (slots.size() == batch_size) return why;
  for (const uint64_t slot : slots) early_.push_back({slot_tags_[slot], -EAGAIN});
  in_flight_ += batch_size;
  return absl::OkStatus();
}

absl::Status UringEngine::Submit(absl::Span<const IoRead> reads) {
  SLUICE_RETURN_IF_ERROR(CheckNotForked(owner_pid_));
  SLUICE_RETURN_IF_ERROR(CheckReads(*this, reads));
  if (io_uring_sq_space_left(&ring_) < reads.size()) {
    // Withdrawn entries of an earlier failure take the room.
    SLUICE_RETURN_IF_ERROR(Flush());
  }
  for (const IoRead& read : reads) PrepareRead(read);
  if (absl::Status status = Flush(); !status.ok()) return Withdraw(status, reads.size());
  in_flight_ += reads.size();
  return absl::OkStatus();
}

// Appends the completions that are there, and returns their number. Does not change in_flight_.
size_t UringEngine::Collect(std::vector<IoCompletion>* out) {
  constexpr unsigned kBatch = 64;
  io_uring_cqe* cqes[kBatch];
  size_t num_reads = 0;
  while (const unsigned count = io_uring_peek_batch_cqe(&ring_, cqes, kBatch)) {
    for (unsigned i = 0; i < count; ++i) {
      const uint64_t slot = cqes[i]->user_data;
      if (slot >= slot_tags_.size()) continue;  // discarded
      out->push_back({slot_tags_[slot], cqes[i]->res});
      free_slots_.push_back(slot);
      ++num_reads;
    }
    io_uring_cq_advance(&ring_, count);
  }
  return num_reads;
}

absl::Status UringEngine::Reap(size_t min_complete, milliseconds timeout,
                               std::vector<IoCompletion>* out) {
  SLUICE_RETURN_IF_ERROR(CheckNotForked(owner_pid_));
  const size_t wanted = std::min(min_complete, in_flight_);
  const steady_clock::time_point deadline = steady_clock::now() + BoundedTimeout(timeout);
  size_t num_done = early_.size();
  out->insert(out->end(), early_.begin(), early_.end());
  early_.clear();
  in_flight_ -= num_done;
  for (int attempt = 0;;) {
    const size_t collected = Collect(out);
    num_done += collected;
    in_flight_ -= collected;
    const steady_clock::time_point now = steady_clock::now();
    if (num_done >= wanted || now >= deadline) return absl::OkStatus();
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - now);
    __kernel_timespec wait{left.count() / 1000000000, left.count() % 1000000000};
    io_uring_cqe* first = nullptr;
    const int result = io_uring_wait_cqes(
        &ring_, &first, static_cast<unsigned>(wanted - num_done), &wait, nullptr);
    if (result == 0 || result == -ETIME || result == -EINTR) continue;
    if ((result != -EAGAIN && result != -EBUSY) || ++attempt > kMaxEnterRetries) {
      return ErrnoStatus(-result, "io_uring_enter, waiting for reads");
    }
    SleepBeforeRetry(attempt);
  }
}

}  // namespace sluice
