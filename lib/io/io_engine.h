// The seam between Sluice and storage: raw asynchronous reads of one file. Everything that an
// operating system does differently is behind it. Retries, short reads and error texts are not
// here but in batch_reader.h, so that a test engine can produce every failure.
#ifndef SLUICE_LIB_IO_IO_ENGINE_H_
#define SLUICE_LIB_IO_IO_ENGINE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace sluice {

// A piece of memory that a read fills.
struct IoSegment {
  std::byte* data = nullptr;
  size_t bytes = 0;
};

// One read of consecutive file bytes into one or more segments, in order. With direct I/O the
// offset, and each segment's address and length, are multiples of the engine's alignment.
// `segments` (the array too) and the memory they name stay untouched until the completion.
struct IoRead {
  uint64_t offset = 0;
  absl::Span<const IoSegment> segments;
  uint64_t tag = 0;  // handed back with the completion
};

struct IoCompletion {
  uint64_t tag = 0;
  int64_t result = 0;  // bytes read (a short read is no error here), or -errno
};

struct IoCapabilities {
  std::string engine;           // "uring", "pread", "host", "memory"
  std::string reason;           // why this engine, in words a user can act on
  bool direct_io = false;       // reads bypass the page cache
  bool registered = false;      // buffers are registered with the kernel
  size_t alignment = 1;         // for offset, address and length
};

// Threads: one at a time; it may be another one each time (no call is bound to the creator).
// Destroying an engine waits for the reads in flight. kFailedPrecondition in a forked child.
class IoEngine {
 public:
  static constexpr size_t kMaxSegments = 64;

  virtual ~IoEngine() = default;

  virtual const IoCapabilities& capabilities() const = 0;
  // The most reads that may be in flight.
  virtual size_t queue_depth() const = 0;
  virtual size_t in_flight() const = 0;

  // Starts all of `reads` with as few system calls as can be. At most queue_depth() -
  // in_flight() of them, 1..kMaxSegments segments each, else kInvalidArgument. On another error
  // none of these has been started. Does not wait for storage.
  virtual absl::Status Submit(absl::Span<const IoRead> reads) = 0;

  // Appends finished reads to `out`; waits until there is at least `min_complete` of them (at
  // most in_flight(); 0 never waits) or `timeout` has passed, whichever is first.
  virtual absl::Status Reap(size_t min_complete, std::chrono::milliseconds timeout,
                            std::vector<IoCompletion>* out) = 0;

  // For those who drain: reads that wait for a thread of the engine's own end with -ECANCELED. An
  // engine that hands all of them to the kernel at once has none.
  virtual void CancelWaiting() {}
};

enum class EngineChoice { kAuto, kUring, kPread };

}  // namespace sluice

#endif  // SLUICE_LIB_IO_IO_ENGINE_H_
