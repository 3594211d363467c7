// How fast this machine reads memory: what every figure of a kernel that streams weights is
// compared with.
#ifndef SLUICE_BENCH_SUPPORT_MEMORY_BANDWIDTH_H_
#define SLUICE_BENCH_SUPPORT_MEMORY_BANDWIDTH_H_

#include <cstddef>
#include <functional>

#include "lib/base/aligned_buffer.h"

namespace sluice::bench {

// Runs body(0) to body(threads - 1), each on a thread of its own, started together; returns the
// nanoseconds from then until the last is done.
double RunTogether(int threads, const std::function<void(size_t index)>& body);

// A buffer much larger than the caches, to be read again and again: for comparisons that alternate
// between a kernel and plain reading, since a machine that others use too has no one bandwidth.
class MemoryReader {
 public:
  MemoryReader();
  bool ok() const { return buffer_.size() > 0; }  // false: no memory for the buffer
  // Streams through the buffer once with `threads` >= 1 threads, each on a part of its own, adding
  // up what it reads. In 1e9 bytes per second.
  double ReadGbPerS(int threads) const;

 private:
  AlignedBuffer buffer_;
};

// The best of several passes of MemoryReader; 0 when there is no memory for it. Takes about a
// second.
double MeasureMemoryReadGbPerS(int threads);

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_SUPPORT_MEMORY_BANDWIDTH_H_
