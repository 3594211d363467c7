// The engines behind MakeIoEngine(), and what they share. Private to lib/io.
#ifndef SLUICE_LIB_IO_ENGINES_H_
#define SLUICE_LIB_IO_ENGINES_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/io/io_engine.h"
#include "lib/io/storage_file.h"

struct iovec;

namespace sluice {

// What Submit() refuses: too many reads, or a read with no or too many segments.
absl::Status CheckReads(const IoEngine& engine, absl::Span<const IoRead> reads);

// A child of fork() has neither the threads nor the ring; waiting there would never end.
absl::Status CheckNotForked(int owner_pid);

// The kernel's view of segments: the same two words (checked in io_engine.cc), so nothing is
// copied and the array lives as long as the caller's.
const iovec* AsIovec(absl::Span<const IoSegment> segments);

// An upper bound for waits, so that deadlines cannot overflow.
std::chrono::milliseconds BoundedTimeout(std::chrono::milliseconds timeout);

// kUnimplemented, "io_uring refused (EPERM): ...", where io_uring does not work here.
absl::StatusOr<std::unique_ptr<IoEngine>> MakeUringEngine(std::shared_ptr<StorageFile> file,
                                                          size_t queue_depth,
                                                          absl::Span<const IoSegment> buffers);

// `reason` becomes part of capabilities().reason. kResourceExhausted when not even one thread
// could be started.
absl::StatusOr<std::unique_ptr<IoEngine>> MakePreadEngine(std::shared_ptr<StorageFile> file,
                                                          size_t queue_depth,
                                                          std::string reason);

}  // namespace sluice

#endif  // SLUICE_LIB_IO_ENGINES_H_
