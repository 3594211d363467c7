// The engines behind MakeIoEngine(), and what they share. Private to lib/io.
#ifndef SLUICE_LIB_IO_ENGINES_H_
#define SLUICE_LIB_IO_ENGINES_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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

// What one system call can give of a read: whole segments that lie in one piece or, where not even
// the first does, the beginning of that one. The rest is read like that of any short read.
struct PieceRead {
  size_t piece = 0;                       // its index
  uint64_t offset = 0;                    // in the piece's file
  absl::Span<const IoSegment> segments;   // the caller's array; none beyond the end
  size_t first_bytes = 0;                 // of the first segment; fewer than it has: cut
};
PieceRead InOnePiece(absl::Span<const StoragePiece> pieces, const IoRead& read);

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

// For a file with a host_reader().
absl::StatusOr<std::unique_ptr<IoEngine>> MakeHostEngine(std::shared_ptr<StorageFile> file,
                                                         size_t queue_depth);

// What a reading thread touches of its stack and of the C library's per-thread memory.
inline constexpr uint64_t kReadThreadBytes = 64 * 1024;

// The kResourceExhausted of whoever got no thread at all.
absl::Status NoReadingThread(absl::string_view path);

}  // namespace sluice

#endif  // SLUICE_LIB_IO_ENGINES_H_
