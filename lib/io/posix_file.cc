#include "lib/io/posix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/io/batch_reader.h"

namespace sluice {
namespace {

// XFS can answer EAGAIN; a file system that says so for ever is broken.
constexpr int kMaxTransientRetries = 64;

// One system call moves at most this much (the kernel stops just below 2 GiB anyway).
constexpr size_t kMaxTransfer = size_t{1} << 30;

// Whether off_t can hold every position of the range.
bool FitsOffset(uint64_t offset, uint64_t bytes) {
  const Checked end = Checked(offset) + bytes;
  return end.valid_and_at_most(static_cast<uint64_t>(std::numeric_limits<off_t>::max()));
}

const char* KindOfFile(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  if (S_ISSOCK(mode)) return "a socket";
  return "something else";
}

}  // namespace

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<OpenedFile> OpenRegularFile(const std::string& path, int extra_flags) {
  int fd;
  do {
    fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | extra_flags);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat(path, ": cannot open"));
  OpenedFile opened;
  opened.fd = UniqueFd(fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, absl::StrCat(path, ": cannot stat"));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a regular file but ", KindOfFile(info.st_mode)));
  }
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, absl::StrCat(path, ": cannot make reads blocking"));
  }
  opened.size = static_cast<uint64_t>(info.st_size);
  opened.device = info.st_dev;
  opened.inode = info.st_ino;
  return opened;
}

absl::StatusOr<size_t> ReadUpTo(int fd, absl::string_view path, uint64_t offset,
                                absl::Span<std::byte> out) {
  if (!FitsOffset(offset, out.size())) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": read of ", out.size(),
                                                   " bytes at offset ", offset,
                                                   " is beyond what a file can hold"));
  }
  size_t done = 0;
  int retries = 0;
  while (done < out.size()) {
    const ssize_t got = pread(fd, out.data() + done, std::min(out.size() - done, kMaxTransfer),
                              static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got > 0) {
      done += static_cast<size_t>(got);
      retries = 0;
      continue;
    }
    const int error = errno;
    if ((error == EINTR || error == EAGAIN) && ++retries <= kMaxTransientRetries) continue;
    return ErrnoStatus(error, absl::StrCat(path, ": read of ", out.size() - done,
                                           " bytes at offset ", offset + done));
  }
  return done;
}

absl::Status ReadExactly(int fd, absl::string_view path, uint64_t offset,
                         absl::Span<std::byte> out) {
  SLUICE_ASSIGN_OR_RETURN(const size_t got, ReadUpTo(fd, path, offset, out));
  if (got != out.size()) return TruncatedStatus(path, offset, out.size(), got);
  return absl::OkStatus();
}

int WriteFully(int fd, uint64_t offset, absl::Span<const std::byte> data) {
  if (!FitsOffset(offset, data.size())) return EFBIG;
  size_t done = 0;
  int retries = 0;
  while (done < data.size()) {
    const ssize_t put = pwrite(fd, data.data() + done, std::min(data.size() - done, kMaxTransfer),
                               static_cast<off_t>(offset + done));
    if (put > 0) {
      done += static_cast<size_t>(put);
      retries = 0;
      continue;
    }
    const int error = put == 0 ? EIO : errno;
    if ((put == 0 || error == EINTR || error == EAGAIN) && ++retries <= kMaxTransientRetries) {
      continue;
    }
    return error;
  }
  return 0;
}

void DropPages(int fd, uint64_t offset, uint64_t bytes) {
  if (!FitsOffset(offset, bytes) || bytes == 0) return;
  posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
}

absl::Status TruncatedStatus(absl::string_view path, uint64_t offset, uint64_t wanted,
                             uint64_t got) {
  return absl::DataLossError(absl::StrCat(path, ": file ends early: wanted ", wanted,
                                          " bytes at offset ", offset, ", got ", got,
                                          "; it is incomplete or was cut while open"));
}

}  // namespace sluice
