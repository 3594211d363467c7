// Where a model's bytes are.
//
//   FlashModel::Open(ModelSource::Descriptor(fd, offset_in_the_archive, bytes), options);
#ifndef SLUICE_SOURCE_H_
#define SLUICE_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace sluice {

// Reads up to `bytes` bytes at `offset` into `buffer`. Returns how many (fewer are asked for
// again), 0 only at the end, or a negative errno. What it throws, and more bytes than asked for,
// count as an error.
using ReadFunction = std::function<int64_t(uint64_t offset, void* buffer, size_t bytes)>;

// Copyable.
struct ModelSource {
  enum class Kind {
    kPath = 0,
    kDescriptor = 1,
    kReader = 2
  };

  // A bundle file; of one that was converted in parts the first.
  static ModelSource Path(std::string path) {
    ModelSource source;
    source.path = std::move(path);
    return source;
  }
  // `bytes` bytes (0: to the end) from `offset` on of the regular file behind `fd`: a bundle file
  // inside an archive, or one that was handed over by another process.
  static ModelSource Descriptor(int fd, uint64_t offset = 0, uint64_t bytes = 0) {
    ModelSource source;
    source.kind = Kind::kDescriptor;
    source.fd = fd;
    source.offset = offset;
    source.bytes = bytes;
    return source;
  }
  // A bundle file of `bytes` bytes that `read` gives: decrypted, unpacked, from a store of its own.
  static ModelSource Reader(ReadFunction read, uint64_t bytes) {
    ModelSource source;
    source.kind = Kind::kReader;
    source.read = std::move(read);
    source.bytes = bytes;
    return source;
  }

  Kind kind = Kind::kPath;
  // kPath: UTF-8. Otherwise what messages call it; empty: "descriptor 7", "the host's reader".
  std::string path;

  // kDescriptor. The descriptor is duplicated and only read at offsets: its position and its flags
  // stay, and it may be closed when Open() has returned. O_DIRECT is used where the file can be
  // opened a second time (through /proc) and offset and length are multiples of 4096; else reads
  // are buffered, and Stats::engine_reason says so.
  int fd = -1;
  uint64_t offset = 0;
  uint64_t bytes = 0;  // and kReader, where it is never 0

  // kReader. `read` is called by the thread that opens the model and by `read_threads` threads of
  // the model's, whose signals are blocked; cancelling waits for the calls that run.
  ReadFunction read;
  uint32_t read_threads = 0;  // at most 64; 0: 4
  // Called once, from any thread, when nothing reads any more: when the model and its sessions are
  // gone, or when opening has failed. PlanMemory() does not call it. May be empty.
  std::function<void()> release;
};

}  // namespace sluice

#endif  // SLUICE_SOURCE_H_
