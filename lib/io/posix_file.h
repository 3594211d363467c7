// Descriptors and the loops that a careful read or write needs. Private to lib/io.
#ifndef SLUICE_LIB_IO_POSIX_FILE_H_
#define SLUICE_LIB_IO_POSIX_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sluice {

// "EIO"; "errno 4711" for those without a name of their own here.
std::string ErrnoName(int error_number);

// Owns a descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

struct OpenedFile {
  UniqueFd fd;
  uint64_t size = 0;
  uint64_t device = 0;  // with inode: which file this is
  uint64_t inode = 0;
};

// Opens a regular file for reading; anything else is refused without blocking (a FIFO without a
// writer would block a plain open for ever). Errors begin with the path.
absl::StatusOr<OpenedFile> OpenRegularFile(const std::string& path, int extra_flags);

// Reads until out.size() bytes or the end of the file; continues short reads, retries EINTR and
// (bounded) EAGAIN. Bytes read, which are fewer than out.size() only at the end of the file.
absl::StatusOr<size_t> ReadUpTo(int fd, absl::string_view path, uint64_t offset,
                                absl::Span<std::byte> out);

// As ReadUpTo(), but fewer than out.size() bytes are kDataLoss.
absl::Status ReadExactly(int fd, absl::string_view path, uint64_t offset,
                         absl::Span<std::byte> out);

// Writes all of `data`; continues short writes, retries EINTR. Returns 0 or an errno.
int WriteFully(int fd, uint64_t offset, absl::Span<const std::byte> data);

// Drops these pages from the page cache. Best effort.
void DropPages(int fd, uint64_t offset, uint64_t bytes);

// The one wording for a file that is shorter than it should be.
absl::Status TruncatedStatus(absl::string_view path, uint64_t offset, uint64_t wanted,
                             uint64_t got);

}  // namespace sluice

#endif  // SLUICE_LIB_IO_POSIX_FILE_H_
