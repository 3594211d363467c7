// A persistent pool for compute. Idle workers sleep.
#ifndef SLUICE_LIB_BASE_THREAD_POOL_H_
#define SLUICE_LIB_BASE_THREAD_POOL_H_

#include <cstddef>
#include <memory>

#include "absl/functional/function_ref.h"

namespace sluice {

// Runs loops whose iterations are independent. Which thread runs which part never changes a
// result: callers divide work so that each output element is computed by one call alone.
// Threads: any number of threads may call ParallelFor() at once; one of them gets the workers,
// the others run their loop themselves.
class ThreadPool {
 public:
  // `num_threads` >= 1 counts the caller, so 1 starts no thread. Where the system refuses to
  // start one, the pool has fewer; num_threads() tells.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  // Calls body(begin, end) for ranges that cover [0, count) once, each a multiple of `grain`
  // long but for the last. Returns when all have returned. With one range (count <= grain) it
  // runs on the caller at once. `body` must not throw and must not call ParallelFor.
  void ParallelFor(size_t count, size_t grain,
                   absl::FunctionRef<void(size_t begin, size_t end)> body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_BASE_THREAD_POOL_H_
