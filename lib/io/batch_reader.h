// Many reads through one engine: keeps the queue full, continues short reads, retries what can
// be retried, and turns what cannot into a Status that names path, offset, expected and found.
#ifndef SLUICE_LIB_IO_BATCH_READER_H_
#define SLUICE_LIB_IO_BATCH_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "lib/io/io_engine.h"

namespace sluice {

// kUnavailable for EIO and kin, kPermissionDenied for EACCES/EPERM, kNotFound for ENOENT,
// kResourceExhausted for ENOMEM/ENOSPC/EMFILE, ...; the errno's name and text in the message.
// The one place where errno becomes a Status.
absl::Status ErrnoStatus(int error_number, absl::string_view what);

struct FinishedRead {
  uint64_t tag = 0;
  absl::Status status;
};

// Threads: one at a time.
class BatchReader {
 public:
  // `path` is for messages. `engine` is owned.
  BatchReader(std::unique_ptr<IoEngine> engine, std::string path);
  ~BatchReader();  // drains

  const IoCapabilities& capabilities() const;

  // Queues any number of reads and starts as many as the engine takes, and 8 MiB at a time. The
  // segments' arrays and the memory they name belong to the read until it is finished (Drain()
  // finishes all).
  // Bounded retries: EINTR, EAGAIN, ENOMEM, ECANCELED, EBUSY up to 8 times a read; EIO twice; a
  // short read goes on from the last multiple of the alignment that it reached, and two rounds
  // without progress are truncation (kDataLoss). An engine error leaves them queued: Drain().
  absl::Status Start(absl::Span<const IoRead> reads);

  // Appends what has finished; waits for one or a few while any is outstanding, and starts
  // queued reads as room appears. A read that failed is reported here, each on its own; the
  // returned Status is about the engine itself.
  absl::Status Wait(std::vector<FinishedRead>* finished);

  // As Wait(), but never waits.
  absl::Status Poll(std::vector<FinishedRead>* finished);

  // Reads not yet reported by Wait() or Poll().
  size_t outstanding() const;

  // Drops what has not been started and waits for what has; afterwards outstanding() is 0 and no
  // memory is in use by the kernel. For errors and cancellation.
  void Drain();

  // Nanoseconds during which at least one read was in flight, since construction.
  int64_t busy_ns() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_IO_BATCH_READER_H_
