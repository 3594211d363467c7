#include "lib/io/storage_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/io/posix_file.h"
#include "lib/io/storage_syscalls.h"

namespace sluice {
namespace {

// Records and slots are aligned to this much. A device that asks for more is read through the page
// cache.
constexpr size_t kMaxDirectAlignment = kIoAlignment;

constexpr int kMaxProbeRetries = 8;

int OpenDirect(const std::string& path) {
#ifdef O_DIRECT
  int fd;
  do {
    fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_DIRECT);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return -errno;
  // io_uring answers EAGAIN on a descriptor that must not block.
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
    const int error = errno;
    close(fd);
    return -error;
  }
  return fd;
#else
  return -EOPNOTSUPP;
#endif
}

int64_t ReadDirect(int fd, uint64_t offset, absl::Span<std::byte> out) {
  for (int retries = 0;; ++retries) {
    const ssize_t got = pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got >= 0) return got;
    if ((errno != EINTR && errno != EAGAIN) || retries == kMaxProbeRetries) return -errno;
  }
}

int64_t DirectAlignment(int fd) {
#ifdef STATX_DIOALIGN
  struct statx info;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0) return 0;
  if ((info.stx_mask & STATX_DIOALIGN) == 0) return 0;
  const uint32_t alignment = std::max(info.stx_dio_mem_align, info.stx_dio_offset_align);
  return alignment == 0 ? -1 : alignment;
#else
  return 0;
#endif
}

}  // namespace

StorageSyscalls StorageSyscalls::System() {
  return StorageSyscalls{OpenDirect, ReadDirect, DirectAlignment};
}

struct StorageFile::State {
  std::string path;
  uint64_t size = 0;
  UniqueFd buffered;
  UniqueFd direct;  // valid only when O_DIRECT works
  std::string direct_reason;
  size_t alignment = 1;
};

namespace {

bool IsFile(int fd, const OpenedFile& file) {
  struct stat info;
  return fstat(fd, &info) == 0 && info.st_dev == file.device && info.st_ino == file.inode;
}

// Empty when the file's first block comes through `fd` as it comes through the page cache.
std::string ProbeFirstBlock(const StorageSyscalls& syscalls, int fd, const OpenedFile& file,
                            size_t alignment) {
  absl::StatusOr<AlignedBuffer> memory = AlignedBuffer::Allocate(3 * alignment);
  if (!memory.ok()) return "no memory for a probe read";
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory->data());
  std::byte* const direct = memory->data() + (RoundUp(address, alignment) - address);
  std::byte* const buffered = direct + alignment;
  const absl::StatusOr<size_t> expected =
      ReadUpTo(file.fd.get(), "probe", 0, absl::MakeSpan(buffered, alignment));
  if (!expected.ok()) return "the buffered probe read fails as well";
  DropPages(file.fd.get(), 0, alignment);
  const int64_t got = syscalls.read_direct(fd, 0, absl::MakeSpan(direct, alignment));
  if (got < 0) {
    return absl::StrCat("reads with O_DIRECT fail (", ErrnoName(static_cast<int>(-got)), ")");
  }
  if (static_cast<uint64_t>(got) != *expected) {
    return absl::StrCat("a read with O_DIRECT gave ", got, " bytes, a buffered one ", *expected);
  }
  if (std::memcmp(direct, buffered, *expected) != 0) {
    return "a read with O_DIRECT gave other bytes than a buffered one";
  }
  return "";
}

}  // namespace

StorageFile::StorageFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
StorageFile::~StorageFile() = default;

absl::StatusOr<std::shared_ptr<StorageFile>> StorageFile::Open(const std::string& path) {
  return OpenWith(path, StorageSyscalls::System());
}

absl::StatusOr<std::shared_ptr<StorageFile>> StorageFile::OpenWith(
    const std::string& path, const StorageSyscalls& syscalls) {
  SLUICE_ASSIGN_OR_RETURN(OpenedFile opened, OpenRegularFile(path, 0));
  auto state = std::make_unique<State>();
  state->path = path;
  state->size = opened.size;
  const int fd = syscalls.open_direct(path);
  UniqueFd direct(fd);
  if (fd < 0) {
    state->direct_reason = absl::StrCat("the file system refuses it (", ErrnoName(-fd), ")");
  } else if (!IsFile(fd, opened)) {
    state->direct_reason = "the file was replaced while it was opened";
  } else {
    const int64_t wanted = syscalls.direct_alignment(fd);
    const size_t alignment = std::max<size_t>(kIoAlignment, wanted > 0 ? wanted : 0);
    if (wanted < 0) {
      state->direct_reason = "the file system says that it cannot";
    } else if (alignment > kMaxDirectAlignment || (alignment & (alignment - 1)) != 0) {
      state->direct_reason = absl::StrCat("the device wants an alignment of ", wanted, " bytes");
    } else {
      state->direct_reason = ProbeFirstBlock(syscalls, fd, opened, alignment);
    }
    if (state->direct_reason.empty()) {
      state->direct = std::move(direct);
      state->direct_reason = "O_DIRECT works here";
      state->alignment = alignment;
    }
  }
  state->buffered = std::move(opened.fd);
  return std::shared_ptr<StorageFile>(new StorageFile(std::move(state)));
}

const std::string& StorageFile::path() const { return state_->path; }
uint64_t StorageFile::size() const { return state_->size; }
bool StorageFile::direct_io() const { return state_->direct.valid(); }
const std::string& StorageFile::direct_reason() const { return state_->direct_reason; }
size_t StorageFile::alignment() const { return state_->alignment; }

int StorageFile::read_fd() const {
  return state_->direct.valid() ? state_->direct.get() : state_->buffered.get();
}

absl::Status StorageFile::ReadAt(uint64_t offset, absl::Span<std::byte> out) const {
  const absl::Status status = ReadExactly(state_->buffered.get(), state_->path, offset, out);
  DropPages(state_->buffered.get(), offset, out.size());
  return status;
}

}  // namespace sluice
