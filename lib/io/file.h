// Ordinary files for importers, converters and writers.
#ifndef SLUICE_LIB_IO_FILE_H_
#define SLUICE_LIB_IO_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace sluice {

// A regular file opened for reading (never blocks on a FIFO). Threads: const methods may overlap.
class InputFile {
 public:
  static absl::StatusOr<std::unique_ptr<InputFile>> Open(const std::string& path);
  ~InputFile();
  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  int fd() const { return fd_; }  // borrowed
  // Exactly out.size() bytes, or kDataLoss with path, offset, wanted and got.
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> out) const;
  // Tells the kernel that these pages will not be needed again.
  void DropCache(uint64_t offset, uint64_t bytes) const;

 private:
  InputFile(std::string path, int fd, uint64_t size);
  std::string path_;
  int fd_;
  uint64_t size_;
};

// kInvalidArgument when the file is larger than max_bytes.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, uint64_t max_bytes);

bool FileExists(const std::string& path);
// Best effort.
void RemoveFile(const std::string& path);
bool IsDirectory(const std::string& path);

// A file that appears under its final name complete or not at all. Written as
// `<dir>/.<name>.sluice-tmp-<pid>-<n>`, locked (flock) while open; leftovers of earlier runs on
// the same target whose writer is gone are removed at Create().
class AtomicFile {
 public:
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(const std::string& final_path);
  // A second file beside this one, for what is written as several: `suffix` is put behind both of
  // this file's names. Each is committed by itself.
  absl::StatusOr<std::unique_ptr<AtomicFile>> CreateSibling(const std::string& suffix) const;
  ~AtomicFile();  // removes the temporary file unless committed

  const std::string& temporary_path() const;
  const std::string& final_path() const;
  // Reserves space up front; kResourceExhausted names need and free when the disk is too small.
  // Where the file system cannot reserve, does nothing.
  absl::Status Reserve(uint64_t bytes);
  absl::Status WriteAt(uint64_t offset, absl::Span<const std::byte> data);
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> out) const;
  // Fills this (empty) file with the first `bytes` bytes of another, in kernel where possible.
  absl::Status CopyFrom(const InputFile& source, uint64_t bytes);
  absl::Status Truncate(uint64_t bytes);
  absl::Status Sync();
  // fsync, rename over the final name, fsync of the directory. A failed fsync is final: the
  // target is left as it was. Call at most once.
  absl::Status Commit();
  // Whether the file is there under its final name; also when Commit() failed behind that.
  bool committed() const;
  // Removes the file again after Commit(), for one that is nothing without its siblings. Best
  // effort.
  void Retract();

 private:
  struct State;
  explicit AtomicFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_IO_FILE_H_
