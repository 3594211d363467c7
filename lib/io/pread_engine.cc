#include "lib/io/pread_engine.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/blocked_signals.h"
#include "lib/base/status_macros.h"

namespace sluice {
namespace {

// More threads than this only queue up in the device's driver.
constexpr size_t kMaxThreads = 16;

int64_t ReadOnce(int fd, const IoRead& read) {
  const ssize_t got = preadv(fd, AsIovec(read.segments), static_cast<int>(read.segments.size()),
                             static_cast<off_t>(read.offset));
  return got >= 0 ? got : -errno;
}

}  // namespace

struct PreadEngine::Pool {
  Pool(int read_fd, size_t queue_depth) : fd(read_fd), waiting(queue_depth) {
    finished.reserve(queue_depth);
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
      ++num_idle;
      work_or_stop.wait(lock, [this] { return stop || num_waiting > 0; });
      --num_idle;
      if (num_waiting == 0) return;  // stop, and nothing is left to do
      const IoRead read = waiting[first_waiting];
      first_waiting = (first_waiting + 1) % waiting.size();
      --num_waiting;
      lock.unlock();
      const int64_t result = ReadOnce(fd, read);
      lock.lock();
      finished.push_back({read.tag, result});
      if (finished.size() >= num_wanted) enough.notify_one();
    }
  }

  const int fd;
  std::vector<std::thread> threads;

  std::mutex mutex;
  std::condition_variable work_or_stop;
  std::condition_variable enough;
  std::vector<IoRead> waiting;  // a ring of queue_depth places
  size_t first_waiting = 0;
  size_t num_waiting = 0;
  std::vector<IoCompletion> finished;
  size_t num_wanted = 1;  // what Reap() waits for
  size_t num_idle = 0;
  bool stop = false;
};

PreadEngine::PreadEngine(std::shared_ptr<StorageFile> file, size_t queue_depth,
                         size_t num_threads, std::string reason)
    : file_(std::move(file)), queue_depth_(queue_depth), owner_pid_(getpid()) {
  pool_ = std::make_unique<Pool>(file_->read_fd(), queue_depth);
  pool_->threads.reserve(num_threads);
  const BlockedSignals blocked;
  for (size_t i = 0; i < num_threads; ++i) {
    try {
      pool_->threads.emplace_back([pool = pool_.get()] { pool->Work(); });
    } catch (const std::system_error&) {
      break;  // a limit on threads: fewer are slower, not wrong
    }
  }
  capabilities_.engine = "pread";
  capabilities_.reason = std::move(reason);
  if (!file_->direct_io()) {
    absl::StrAppend(&capabilities_.reason, "; buffered reads: ", file_->direct_reason());
  }
  capabilities_.direct_io = file_->direct_io();
  capabilities_.alignment = file_->alignment();
}

PreadEngine::~PreadEngine() {
  if (getpid() != owner_pid_) {
    // In a forked child the threads do not exist, and joining them would never return.
    static_cast<void>(pool_.release());
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(pool_->mutex);
    pool_->stop = true;
  }
  pool_->work_or_stop.notify_all();
  for (std::thread& thread : pool_->threads) thread.join();
}

size_t PreadEngine::num_threads() const { return pool_->threads.size(); }

absl::Status PreadEngine::Submit(absl::Span<const IoRead> reads) {
  SLUICE_RETURN_IF_ERROR(CheckNotForked(owner_pid_));
  SLUICE_RETURN_IF_ERROR(CheckReads(*this, reads));
  size_t num_to_wake;
  {
    const std::lock_guard<std::mutex> lock(pool_->mutex);
    for (const IoRead& read : reads) {
      const size_t last = pool_->first_waiting + pool_->num_waiting;
      pool_->waiting[last % pool_->waiting.size()] = read;
      ++pool_->num_waiting;
    }
    num_to_wake = std::min(reads.size(), pool_->num_idle);
  }
  in_flight_ += reads.size();
  for (size_t i = 0; i < num_to_wake; ++i) pool_->work_or_stop.notify_one();
  return absl::OkStatus();
}

absl::Status PreadEngine::Reap(size_t min_complete, std::chrono::milliseconds timeout,
                               std::vector<IoCompletion>* out) {
  SLUICE_RETURN_IF_ERROR(CheckNotForked(owner_pid_));
  const size_t wanted = std::min(min_complete, in_flight_);
  std::unique_lock<std::mutex> lock(pool_->mutex);
  if (pool_->finished.size() < wanted) {
    pool_->num_wanted = wanted;
    pool_->enough.wait_for(lock, BoundedTimeout(timeout),
                           [&] { return pool_->finished.size() >= wanted; });
  }
  out->insert(out->end(), pool_->finished.begin(), pool_->finished.end());
  in_flight_ -= pool_->finished.size();
  pool_->finished.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<IoEngine>> MakePreadEngine(std::shared_ptr<StorageFile> file,
                                                          size_t queue_depth,
                                                          std::string reason) {
  const std::string path = file->path();
  auto engine = std::make_unique<PreadEngine>(
      std::move(file), queue_depth, std::min(queue_depth, kMaxThreads), std::move(reason));
  if (engine->num_threads() == 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        path, ": not even one reading thread could be started (limit on threads or memory)"));
  }
  return engine;
}

}  // namespace sluice
