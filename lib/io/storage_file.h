// A file that reads are streamed from, opened and probed once, shared by all engines on it.
#ifndef SLUICE_LIB_IO_STORAGE_FILE_H_
#define SLUICE_LIB_IO_STORAGE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/io/io_engine.h"

namespace sluice {

struct StorageSyscalls;  // storage_syscalls.h

// Threads: const methods may overlap.
class StorageFile {
 public:
  // Opens `path` twice: buffered, and with O_DIRECT where that works. O_DIRECT counts as working
  // when the open is accepted and a probe read of the file's first block succeeds and returns
  // the very bytes of a buffered read; otherwise all reads are buffered and direct_reason() says
  // why (refused at open, failing reads, other bytes). Not a regular file, unreadable: an error
  // that names the path. Never blocks on a FIFO.
  static absl::StatusOr<std::shared_ptr<StorageFile>> Open(const std::string& path);
  // The same, with the probing of O_DIRECT put in by a test.
  static absl::StatusOr<std::shared_ptr<StorageFile>> OpenWith(const std::string& path,
                                                               const StorageSyscalls& syscalls);
  virtual ~StorageFile();

  const std::string& path() const;
  uint64_t size() const;
  bool direct_io() const;
  const std::string& direct_reason() const;
  // 4096 with direct I/O unless the device asks for more (statx DIO alignment), else 1.
  size_t alignment() const;
  // The descriptor that engines read from: the O_DIRECT one where direct_io().
  int read_fd() const;

  // Blocking buffered read of exactly out.size() bytes; the pages are dropped from the cache
  // afterwards (POSIX_FADV_DONTNEED). For sections that are read once, at open. kDataLoss, with
  // path, offset, wanted and got, when the file ends earlier.
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> out) const;

 private:
  struct State;
  explicit StorageFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Makes an engine for `file`. kAuto takes io_uring where it works here: ring set-up, one no-op
// submitted and reaped, registration of the file; else pread threads, and capabilities().reason
// says what was refused ("io_uring refused (EPERM): seccomp profile or kernel.io_uring_disabled;
// using pread"). kUring where it does not work: kUnimplemented with that text. kPread: a pool of
// up to min(queue_depth, 16) threads.
//   queue_depth  1..4096
//   buffers      the memory that reads will land in (may be empty); registered with the kernel in
//                slabs of at most 1 GiB where memlock allows, otherwise reads are unregistered
//                and the reason says need and limit. Stays allocated while the engine lives.
absl::StatusOr<std::unique_ptr<IoEngine>> MakeIoEngine(std::shared_ptr<StorageFile> file,
                                                       EngineChoice choice, size_t queue_depth,
                                                       absl::Span<const IoSegment> buffers);

// What one engine of that depth allocates itself, for the memory plan (rings, thread stacks).
uint64_t IoEngineBytes(size_t queue_depth);

}  // namespace sluice

#endif  // SLUICE_LIB_IO_STORAGE_FILE_H_
