#include "lib/io/read_pool.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "lib/base/blocked_signals.h"
#include "lib/base/status_macros.h"

namespace sluice {

struct ReadPool::Queue {
  explicit Queue(size_t depth) : waiting(depth) { finished.reserve(depth); }

  IoRead Pop() {
    const IoRead read = waiting[first_waiting];
    first_waiting = (first_waiting + 1) % waiting.size();
    --num_waiting;
    return read;
  }

  std::condition_variable enough;
  std::vector<IoRead> waiting;  // a ring of `depth` places
  size_t first_waiting = 0;
  size_t num_waiting = 0;
  size_t num_running = 0;
  std::vector<IoCompletion> finished;
  size_t num_wanted = 1;  // what Reap() waits for
};

struct ReadPool::State {
  explicit State(ReadFn function) : read(std::move(function)) {}

  void Work(size_t worker) {
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
      ++num_idle;
      work_or_stop.wait(lock, [this] { return stop || num_waiting > 0; });
      --num_idle;
      if (num_waiting == 0) return;  // stop, and nothing is left to do
      Queue* const queue = NextQueue();
      const IoRead next = queue->Pop();
      --num_waiting;
      ++queue->num_running;
      lock.unlock();
      const int64_t result = read(next, worker);
      lock.lock();
      --queue->num_running;
      queue->finished.push_back({next.tag, result});
      if (queue->finished.size() >= queue->num_wanted) queue->enough.notify_one();
    }
  }

  // One that has reads waiting, after the one that was served last.
  Queue* NextQueue() {
    do {
      last_queue = (last_queue + 1) % queues.size();
    } while (queues[last_queue]->num_waiting == 0);
    return queues[last_queue].get();
  }

  const ReadFn read;
  std::vector<std::thread> threads;

  std::mutex mutex;
  std::condition_variable work_or_stop;
  std::vector<std::unique_ptr<Queue>> queues;
  size_t last_queue = 0;
  size_t num_waiting = 0;  // in all queues
  size_t num_idle = 0;
  bool stop = false;
};

ReadPool::ReadPool(size_t num_threads, ReadFn read)
    : owner_pid_(getpid()), state_(std::make_unique<State>(std::move(read))) {
  state_->threads.reserve(num_threads);
  const BlockedSignals blocked;
  for (size_t i = 0; i < num_threads; ++i) {
    try {
      state_->threads.emplace_back([state = state_.get(), i] { state->Work(i); });
    } catch (const std::exception&) {
      break;  // a limit on threads, or no memory: fewer are slower, not wrong
    }
  }
}

ReadPool::~ReadPool() {
  if (getpid() != owner_pid_) {
    // In a forked child the threads do not exist, and joining them would never return.
    static_cast<void>(state_.release());
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop = true;
  }
  state_->work_or_stop.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

size_t ReadPool::num_threads() const { return state_->threads.size(); }

ReadPool::Queue* ReadPool::AddQueue(size_t depth) {
  auto queue = std::make_unique<Queue>(depth);
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->queues.push_back(std::move(queue));
  return state_->queues.back().get();
}

void ReadPool::RemoveQueue(Queue* queue) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  queue->num_wanted = 0;  // so that each read that ends says so
  queue->enough.wait(lock, [&] { return queue->num_waiting + queue->num_running == 0; });
  auto& queues = state_->queues;
  queues.erase(std::find_if(queues.begin(), queues.end(),
                            [&](const auto& each) { return each.get() == queue; }));
  state_->last_queue = 0;
}

void ReadPool::Submit(Queue* queue, absl::Span<const IoRead> reads) {
  size_t num_to_wake;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    for (const IoRead& read : reads) {
      const size_t last = queue->first_waiting + queue->num_waiting;
      queue->waiting[last % queue->waiting.size()] = read;
      ++queue->num_waiting;
    }
    state_->num_waiting += reads.size();
    num_to_wake = std::min(reads.size(), state_->num_idle);
  }
  for (size_t i = 0; i < num_to_wake; ++i) state_->work_or_stop.notify_one();
}

size_t ReadPool::Reap(Queue* queue, size_t wanted, std::chrono::milliseconds timeout,
                      std::vector<IoCompletion>* out) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  if (queue->finished.size() < wanted) {
    queue->num_wanted = wanted;
    queue->enough.wait_for(lock, BoundedTimeout(timeout),
                           [&] { return queue->finished.size() >= wanted; });
  }
  const size_t count = queue->finished.size();
  out->insert(out->end(), queue->finished.begin(), queue->finished.end());
  queue->finished.clear();
  return count;
}

void ReadPool::CancelWaiting(Queue* queue) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->num_waiting -= queue->num_waiting;
  while (queue->num_waiting > 0) queue->finished.push_back({queue->Pop().tag, -ECANCELED});
}

namespace {

class PoolEngine : public IoEngine {
 public:
  PoolEngine(std::shared_ptr<StorageFile> file, std::shared_ptr<ReadPool> pool,
             size_t queue_depth, IoCapabilities capabilities)
      : file_(std::move(file)),
        queue_depth_(queue_depth),
        owner_pid_(getpid()),
        capabilities_(std::move(capabilities)),
        pool_(std::move(pool)),
        queue_(pool_->AddQueue(queue_depth)) {}

  // In a forked child the threads do not exist, and waiting for them would never end.
  ~PoolEngine() override {
    if (getpid() == owner_pid_) pool_->RemoveQueue(queue_);
  }

  const IoCapabilities& capabilities() const override { return capabilities_; }
  size_t queue_depth() const override { return queue_depth_; }
  size_t in_flight() const override { return in_flight_; }

  absl::Status Submit(absl::Span<const IoRead> reads) override {
    SLUICE_RETURN_IF_ERROR(CheckNotForked(owner_pid_));
    SLUICE_RETURN_IF_ERROR(CheckReads(*this, reads));
    pool_->Submit(queue_, reads);
    in_flight_ += reads.size();
    return absl::OkStatus();
  }

  absl::Status Reap(size_t min_complete, std::chrono::milliseconds timeout,
                    std::vector<IoCompletion>* out) override {
    SLUICE_RETURN_IF_ERROR(CheckNotForked(owner_pid_));
    in_flight_ -= pool_->Reap(queue_, std::min(min_complete, in_flight_), timeout, out);
    return absl::OkStatus();
  }

  void CancelWaiting() override {
    if (getpid() == owner_pid_) pool_->CancelWaiting(queue_);
  }

 private:
  const std::shared_ptr<StorageFile> file_;
  const size_t queue_depth_;
  const int owner_pid_;
  const IoCapabilities capabilities_;
  const std::shared_ptr<ReadPool> pool_;
  ReadPool::Queue* const queue_;
  size_t in_flight_ = 0;
};

}  // namespace

std::unique_ptr<IoEngine> MakePoolEngine(std::shared_ptr<StorageFile> file,
                                         std::shared_ptr<ReadPool> pool, size_t queue_depth,
                                         IoCapabilities capabilities) {
  return std::make_unique<PoolEngine>(std::move(file), std::move(pool), queue_depth,
                                      std::move(capabilities));
}

}  // namespace sluice
