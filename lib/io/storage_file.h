// A file that reads are streamed from, opened and probed once, shared by all engines on it.
#ifndef SLUICE_LIB_IO_STORAGE_FILE_H_
#define SLUICE_LIB_IO_STORAGE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/io/io_engine.h"

namespace sluice {

class HostReader;         // host_reader.h
struct StorageSyscalls;   // storage_syscalls.h

// Bytes [begin, end) of the whole, in one open file.
struct StoragePiece {
  uint64_t begin = 0;
  // The next piece's begin. Of a last one that is a file as a whole: no bound, so that what the
  // file itself says counts.
  uint64_t end = 0;
  uint64_t file_offset = 0;  // where `begin` is in the file
  int fd = -1;               // that engines read from: the O_DIRECT one where direct_io()
};

// Where bytes are that reads are streamed from: a file, a slice of one, several files in a row, or
// whatever a function of the host's reads. All offsets count from the first byte of the whole.
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

  // A slice of the regular file behind a descriptor of the host's.
  struct Slice {
    int fd = -1;
    uint64_t offset = 0;
    uint64_t bytes = 0;  // 0: to the end of the file
    std::string name;    // for messages
  };
  // The descriptor is duplicated and used for reads at offsets alone: position and flags stay, and
  // the host may close its own. O_DIRECT needs a second open through /proc, and an offset and a
  // length that are multiples of the alignment; direct_reason() says what was missing.
  // kInvalidArgument: no such descriptor, not a regular file, not open for reading, or a slice
  // that is not inside the file.
  static absl::StatusOr<std::shared_ptr<StorageFile>> OpenSlice(const Slice& slice);
  static absl::StatusOr<std::shared_ptr<StorageFile>> OpenSliceWith(
      const Slice& slice, const StorageSyscalls& syscalls);

  // `bytes` bytes from `offset` on of a whole file, both multiples of 4096.
  struct Part {
    std::shared_ptr<StorageFile> file;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  // One after the other. O_DIRECT is used where all of them can. `path` is for messages.
  static std::shared_ptr<StorageFile> Join(std::vector<Part> parts, const std::string& path);

  // What a function of the host's reads. `name` is for messages.
  static std::shared_ptr<StorageFile> FromHost(std::shared_ptr<HostReader> reader,
                                               const std::string& name);
  virtual ~StorageFile();

  const std::string& path() const;
  uint64_t size() const;
  bool direct_io() const;
  const std::string& direct_reason() const;
  // 4096 with direct I/O unless the device asks for more (statx DIO alignment), else 1.
  size_t alignment() const;
  // In order, without gaps; none where a function reads.
  absl::Span<const StoragePiece> pieces() const;
  // Why io_uring must not read from it; empty: it may.
  const std::string& uring_refusal() const;
  HostReader* host_reader() const;  // nullptr unless FromHost()
  // What all engines on it take together, beside IoEngineBytes() of each, for the memory plan.
  uint64_t shared_bytes() const;

  // Blocking buffered read of exactly out.size() bytes; the pages are dropped from the cache
  // afterwards (POSIX_FADV_DONTNEED; not through a descriptor of the host's). For sections that
  // are read once, at open. kDataLoss, with path, offset, wanted and got, when the file ends
  // earlier.
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
// up to min(queue_depth, 16) threads. Where a function of the host's reads there is one engine,
// "host", for kAuto; the others are kInvalidArgument.
//   queue_depth  1..4096
//   buffers      the memory that reads will land in (may be empty); registered with the kernel in
//                slabs of at most 1 GiB where memlock allows, otherwise reads are unregistered
//                and the reason says need and limit. Stays allocated while the engine lives.
absl::StatusOr<std::unique_ptr<IoEngine>> MakeIoEngine(std::shared_ptr<StorageFile> file,
                                                       EngineChoice choice, size_t queue_depth,
                                                       absl::Span<const IoSegment> buffers);

// The kInvalidArgument of MakeIoEngine() for an engine that reads no such file.
absl::Status CheckEngineChoice(const StorageFile& file, EngineChoice choice);

// What one engine of that depth allocates itself, for the memory plan (rings, thread stacks).
uint64_t IoEngineBytes(size_t queue_depth);

}  // namespace sluice

#endif  // SLUICE_LIB_IO_STORAGE_FILE_H_
