// Threads that make blocking reads, and the engine in front of them. Private to lib/io.
#ifndef SLUICE_LIB_IO_READ_POOL_H_
#define SLUICE_LIB_IO_READ_POOL_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "lib/io/engines.h"

namespace sluice {

// Serves one engine or several, each with a queue of its own, in turn. Threads: any.
class ReadPool {
 public:
  // Bytes read, or -errno; throws nothing. `worker` is below num_threads(), and that thread's.
  using ReadFn = std::function<int64_t(const IoRead& read, size_t worker)>;
  struct Queue;

  // Starts up to `num_threads` threads, signals blocked; num_threads() tells how many the system
  // granted.
  ReadPool(size_t num_threads, ReadFn read);
  ~ReadPool();  // no queue is left

  size_t num_threads() const;

  // Room for `depth` reads, waiting, running and finished together.
  Queue* AddQueue(size_t depth);
  // Waits for all of its reads.
  void RemoveQueue(Queue* queue);
  void Submit(Queue* queue, absl::Span<const IoRead> reads);
  // Appends what has finished, at least `wanted` (of those submitted) unless the time is up first.
  size_t Reap(Queue* queue, size_t wanted, std::chrono::milliseconds timeout,
              std::vector<IoCompletion>* out);
  // What has not begun finishes with -ECANCELED.
  void CancelWaiting(Queue* queue);

 private:
  struct State;
  const int owner_pid_;
  std::unique_ptr<State> state_;
};

// An engine on the pool. `file` is kept alive.
std::unique_ptr<IoEngine> MakePoolEngine(std::shared_ptr<StorageFile> file,
                                         std::shared_ptr<ReadPool> pool, size_t queue_depth,
                                         IoCapabilities capabilities);

}  // namespace sluice

#endif  // SLUICE_LIB_IO_READ_POOL_H_
