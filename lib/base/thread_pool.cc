#include "lib/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "lib/base/blocked_signals.h"
#include "lib/base/clock.h"

namespace sluice {
namespace {

// How long a thread spins before it sleeps: about what waking a sleeper costs, so that loops that
// follow one another closely find their workers awake and a pause costs no CPU.
constexpr int64_t kSpinNs = 10'000;
// Ranges per thread: enough for a late thread's share to be taken over by the others.
constexpr size_t kRangesPerThread = 4;
constexpr int kMaxThreads = 1024;

// The gate packs what workers must see at one glance: the loop's number, whether it may still be
// joined, and how many workers are inside.
constexpr uint64_t kInsideMask = 0xffff;
constexpr uint64_t kOpen = 0x10000;
constexpr int kLoopShift = 17;

void CpuRelax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  __asm__ __volatile__("yield");
#else
  std::this_thread::yield();
#endif
}

// Spins until done() or the time is up.
template <typename Done>
bool SpinUntil(Done done) {
  if (done()) return true;
  const int64_t deadline_ns = NowNs() + kSpinNs;
  do {
    for (int i = 0; i < 8; ++i) {
      CpuRelax();
      if (done()) return true;
    }
  } while (NowNs() < deadline_ns);
  return false;
}

}  // namespace

struct ThreadPool::State {
  using Body = absl::FunctionRef<void(size_t, size_t)>;

  // The current loop. Written while the gate is shut and nobody is inside.
  const Body* body = nullptr;
  size_t count = 0;
  size_t range = 0;
  size_t num_ranges = 0;
  std::atomic<size_t> next_range{0};

  std::atomic<uint64_t> gate{0};
  std::atomic<bool> taken{false};  // some caller has the workers
  std::atomic<bool> stop{false};
  // Who sleeps. Set before the condition is looked at, read after it is changed (both
  // sequentially consistent), so a wake-up is never missed and rarely sent for nothing.
  std::atomic<int> workers_asleep{0};
  std::atomic<bool> caller_asleep{false};
  std::mutex mutex;
  std::condition_variable work;
  std::condition_variable done;
  std::vector<std::thread> workers;

  void RunRanges() {
    for (;;) {
      const size_t idx = next_range.fetch_add(1, std::memory_order_relaxed);
      if (idx >= num_ranges) return;
      const size_t begin = idx * range;
      (*body)(begin, begin + std::min(range, count - begin));
    }
  }

  bool HasNewLoop(uint64_t seen_loop) const {
    const uint64_t now = gate.load();
    return stop.load() || ((now & kOpen) != 0 && (now >> kLoopShift) != seen_loop);
  }

  void SleepUntilNewLoop(uint64_t seen_loop) {
    std::unique_lock<std::mutex> lock(mutex);
    workers_asleep.fetch_add(1);
    work.wait(lock, [&] { return HasNewLoop(seen_loop); });
    workers_asleep.fetch_sub(1);
  }

  // Steps inside the loop that is open; false when there is none that this worker has not seen.
  bool Enter(uint64_t* seen_loop) {
    uint64_t now = gate.load();
    while ((now & kOpen) != 0 && (now >> kLoopShift) != *seen_loop) {
      if (gate.compare_exchange_weak(now, now + 1)) {
        *seen_loop = now >> kLoopShift;
        return true;
      }
    }
    return false;
  }

  void Leave() {
    const uint64_t left = gate.fetch_sub(1) - 1;
    if ((left & (kOpen | kInsideMask)) == 0 && caller_asleep.load()) {
      std::lock_guard<std::mutex> lock(mutex);
      done.notify_one();
    }
  }

  void WorkerMain() {
    uint64_t seen_loop = 0;
    for (;;) {
      if (!SpinUntil([&] { return HasNewLoop(seen_loop); })) SleepUntilNewLoop(seen_loop);
      if (stop.load()) return;
      if (!Enter(&seen_loop)) continue;
      RunRanges();
      Leave();
    }
  }

  void OpenGate() {
    gate.store((((gate.load() >> kLoopShift) + 1) << kLoopShift) | kOpen);
    if (workers_asleep.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex); }  // whoever is about to sleep now does or sees us
    work.notify_all();
  }

  // No worker enters any more; waits for those inside.
  void ShutGate() {
    gate.fetch_and(~kOpen);
    const auto empty = [&] { return (gate.load() & kInsideMask) == 0; };
    if (SpinUntil(empty)) return;
    std::unique_lock<std::mutex> lock(mutex);
    caller_asleep.store(true);
    done.wait(lock, empty);
    caller_asleep.store(false);
  }
};

ThreadPool::ThreadPool(int num_threads) : state_(new (std::nothrow) State) {
  if (!state_) return;
  const int num_workers = std::min(num_threads, kMaxThreads) - 1;
  const BlockedSignals blocked;
  try {
    state_->workers.reserve(static_cast<size_t>(std::max(num_workers, 0)));
    for (int i = 0; i < num_workers; ++i) {
      state_->workers.emplace_back([state = state_.get()] { state->WorkerMain(); });
    }
  } catch (const std::exception&) {
    // No more threads to be had (a limit on processes, no memory): the pool does with these.
  }
}

ThreadPool::~ThreadPool() {
  if (!state_) return;
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->work.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::num_threads() const {
  return state_ ? static_cast<int>(state_->workers.size()) + 1 : 1;
}

void ThreadPool::ParallelFor(size_t count, size_t grain,
                             absl::FunctionRef<void(size_t begin, size_t end)> body) {
  if (count == 0) return;
  grain = std::max<size_t>(grain, 1);
  if (count <= grain || num_threads() == 1 || state_->taken.exchange(true)) {
    body(0, count);
    return;
  }
  State& state = *state_;
  const size_t num_grains = count / grain + (count % grain != 0);
  const size_t wanted = static_cast<size_t>(num_threads()) * kRangesPerThread;
  state.body = &body;
  state.count = count;
  state.range = grain * (num_grains / wanted + (num_grains % wanted != 0));
  state.num_ranges = count / state.range + (count % state.range != 0);
  state.next_range.store(0, std::memory_order_relaxed);
  state.OpenGate();
  state.RunRanges();
  state.ShutGate();
  state.body = nullptr;
  state.taken.store(false);
}

}  // namespace sluice
