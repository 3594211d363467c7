#include "lib/io/storage_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/io/batch_reader.h"
#include "lib/io/host_reader.h"
#include "lib/io/posix_file.h"
#include "lib/io/storage_syscalls.h"

namespace sluice {
namespace {

// Records and slots are aligned to this much. A device that asks for more is read through the page
// cache.
constexpr size_t kMaxDirectAlignment = kIoAlignment;

constexpr int kMaxProbeRetries = 8;

// Of the last piece of a file as a whole: the file's own end counts, wherever it is by then.
constexpr uint64_t kNoEnd = std::numeric_limits<uint64_t>::max();

// A read function is not asked for more than this at a time.
constexpr size_t kMaxHostRead = size_t{4} << 20;

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
  std::vector<StoragePiece> pieces;
  UniqueFd buffered;
  UniqueFd direct;  // valid only when O_DIRECT works
  // `buffered` shares position, flags and advice with a descriptor of the host's.
  bool host_owns_description = false;
  std::string uring_refusal;
  std::vector<std::shared_ptr<StorageFile>> parts;  // of a joined one; it has no descriptors itself
  std::shared_ptr<HostReader> host;
  bool direct_io = false;
  std::string direct_reason;
  size_t alignment = 1;

  void FindDirect(const StorageSyscalls& syscalls, const std::string& path_again,
                  const OpenedFile& opened, uint64_t offset, uint64_t bytes);
  absl::Status ReadJoined(uint64_t offset, absl::Span<std::byte> out) const;
  absl::Status ReadHost(uint64_t offset, absl::Span<std::byte> out) const;
};

namespace {

bool IsFile(int fd, const OpenedFile& file) {
  struct stat info;
  return fstat(fd, &info) == 0 && info.st_dev == file.device && info.st_ino == file.inode;
}

// Empty when the block at `offset` comes through `fd` as it comes through the page cache.
std::string ProbeBlock(const StorageSyscalls& syscalls, int fd, const OpenedFile& file,
                       uint64_t offset, size_t alignment) {
  absl::StatusOr<AlignedBuffer> memory = AlignedBuffer::Allocate(3 * alignment);
  if (!memory.ok()) return "no memory for a probe read";
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory->data());
  std::byte* const direct = memory->data() + (RoundUp(address, alignment) - address);
  std::byte* const buffered = direct + alignment;
  const absl::StatusOr<size_t> expected =
      ReadUpTo(file.fd.get(), "probe", offset, absl::MakeSpan(buffered, alignment));
  if (!expected.ok()) return "the buffered probe read fails as well";
  DropPages(fd, offset, alignment);
  const int64_t got = syscalls.read_direct(fd, offset, absl::MakeSpan(direct, alignment));
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

std::string SelfPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

absl::Status BadSlice(const StorageFile::Slice& slice, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(slice.name, ": ", what));
}

struct HostFile {
  OpenedFile opened;
  bool shared = true;     // the description is the host's own
  bool blocking = true;   // as io_uring needs it
};

// A duplicate or, where the host's flags would be in the way, a second open of the same file.
absl::StatusOr<HostFile> TakeDescriptor(const StorageFile::Slice& slice) {
  const int flags = slice.fd < 0 ? -1 : fcntl(slice.fd, F_GETFL);
  if (flags < 0) return BadSlice(slice, absl::StrCat("there is no descriptor ", slice.fd));
#ifdef O_PATH
  if ((flags & O_PATH) != 0) return BadSlice(slice, "is not open for reading");
#endif
  if ((flags & O_ACCMODE) == O_WRONLY) return BadSlice(slice, "is not open for reading");
  HostFile file;
  constexpr int kLowest = 3;  // a host may have closed its standard streams
  file.opened.fd = UniqueFd(fcntl(slice.fd, F_DUPFD_CLOEXEC, kLowest));
  if (!file.opened.fd.valid()) {
    return ErrnoStatus(errno, absl::StrCat(slice.name, ": cannot duplicate the descriptor"));
  }
  struct stat info;
  if (fstat(file.opened.fd.get(), &info) != 0) {
    return ErrnoStatus(errno, absl::StrCat(slice.name, ": cannot stat"));
  }
  if (!S_ISREG(info.st_mode)) return BadSlice(slice, "not a regular file");
  file.opened.size = static_cast<uint64_t>(info.st_size);
  file.opened.device = info.st_dev;
  file.opened.inode = info.st_ino;
#ifdef O_DIRECT
  const bool direct = (flags & O_DIRECT) != 0;
#else
  const bool direct = false;
#endif
  file.blocking = (flags & O_NONBLOCK) == 0;
  if (!direct && file.blocking) return file;
  absl::StatusOr<OpenedFile> again = OpenRegularFile(SelfPath(slice.fd), 0);
  if (again.ok() && IsFile(again->fd.get(), file.opened)) {
    file.opened = *std::move(again);
    file.shared = false;
    file.blocking = true;
  } else if (direct) {
    return BadSlice(slice, "is open with O_DIRECT, and cannot be opened a second time without");
  }
  return file;
}

}  // namespace

// Fills direct, direct_io, direct_reason and alignment.
void StorageFile::State::FindDirect(const StorageSyscalls& syscalls,
                                    const std::string& path_again, const OpenedFile& opened,
                                    uint64_t offset, uint64_t bytes) {
  const int fd = syscalls.open_direct(path_again);
  UniqueFd second(fd);
  if (fd < 0) {
    direct_reason = absl::StrCat("the file system refuses it (", ErrnoName(-fd), ")");
  } else if (!IsFile(fd, opened)) {
    direct_reason = "the file was replaced while it was opened";
  } else {
    const int64_t wanted = syscalls.direct_alignment(fd);
    const size_t block = std::max<size_t>(kIoAlignment, wanted > 0 ? wanted : 0);
    if (wanted < 0) {
      direct_reason = "the file system says that it cannot";
    } else if (block > kMaxDirectAlignment || (block & (block - 1)) != 0) {
      direct_reason = absl::StrCat("the device wants an alignment of ", wanted, " bytes");
    } else if (offset % block != 0) {
      direct_reason = absl::StrCat("the offset ", offset, " in the file is no multiple of ", block);
    } else if (bytes % block != 0) {
      direct_reason = absl::StrCat("the length of ", bytes, " bytes is no multiple of ", block);
    } else {
      direct_reason = ProbeBlock(syscalls, fd, opened, offset, block);
    }
    if (direct_reason.empty()) {
      direct = std::move(second);
      direct_io = true;
      direct_reason = "O_DIRECT works here";
      alignment = block;
    }
  }
}

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
  // A whole file may be of any length: nothing is read up to a bound, but up to its own end.
  state->FindDirect(syscalls, path, opened, 0, 0);
  state->buffered = std::move(opened.fd);
  const int fd = state->direct_io ? state->direct.get() : state->buffered.get();
  state->pieces = {{0, kNoEnd, 0, fd}};
  return std::shared_ptr<StorageFile>(new StorageFile(std::move(state)));
}

absl::StatusOr<std::shared_ptr<StorageFile>> StorageFile::OpenSlice(const Slice& slice) {
  return OpenSliceWith(slice, StorageSyscalls::System());
}

absl::StatusOr<std::shared_ptr<StorageFile>> StorageFile::OpenSliceWith(
    const Slice& slice, const StorageSyscalls& syscalls) {
  SLUICE_ASSIGN_OR_RETURN(HostFile file, TakeDescriptor(slice));
  const uint64_t file_bytes = file.opened.size;
  const Checked end = Checked(slice.offset) + slice.bytes;
  if (!end.valid_and_at_most(file_bytes)) {
    return BadSlice(slice, absl::StrCat(slice.bytes, " bytes from offset ", slice.offset,
                                        " on are not in the file, which has ", file_bytes));
  }
  auto state = std::make_unique<State>();
  state->path = slice.name;
  state->size = slice.bytes != 0 ? slice.bytes : file_bytes - slice.offset;
  state->FindDirect(syscalls, SelfPath(file.opened.fd.get()), file.opened, slice.offset,
                    state->size);
  state->buffered = std::move(file.opened.fd);
  state->host_owns_description = file.shared;
  if (!file.blocking && !state->direct_io) {
    state->uring_refusal = "the descriptor must not block, and cannot be opened a second time";
  }
  const int fd = state->direct_io ? state->direct.get() : state->buffered.get();
  state->pieces = {{0, state->size, slice.offset, fd}};
  return std::shared_ptr<StorageFile>(new StorageFile(std::move(state)));
}

std::shared_ptr<StorageFile> StorageFile::Join(std::vector<Part> parts, const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->direct_io = true;
  state->direct_reason = "O_DIRECT works here";
  for (const Part& part : parts) {
    state->alignment = std::max(state->alignment, part.file->alignment());
    if (part.file->direct_io()) continue;
    if (state->direct_io) state->direct_reason = part.file->direct_reason();
    state->direct_io = false;
  }
  if (!state->direct_io) state->alignment = 1;
  for (Part& part : parts) {
    const State& file = *part.file->state_;
    const int fd = state->direct_io ? file.direct.get() : file.buffered.get();
    const uint64_t end = state->size + part.bytes;
    state->pieces.push_back({state->size, end, part.offset, fd});
    state->size = end;
    state->parts.push_back(std::move(part.file));
  }
  return std::shared_ptr<StorageFile>(new StorageFile(std::move(state)));
}

std::shared_ptr<StorageFile> StorageFile::FromHost(std::shared_ptr<HostReader> reader,
                                                   const std::string& name) {
  auto state = std::make_unique<State>();
  state->path = name;
  state->size = reader->size();
  state->direct_reason = "a function of the host's reads";
  state->host = std::move(reader);
  return std::shared_ptr<StorageFile>(new StorageFile(std::move(state)));
}

const std::string& StorageFile::path() const { return state_->path; }
uint64_t StorageFile::size() const { return state_->size; }
bool StorageFile::direct_io() const { return state_->direct_io; }
const std::string& StorageFile::direct_reason() const { return state_->direct_reason; }
size_t StorageFile::alignment() const { return state_->alignment; }
absl::Span<const StoragePiece> StorageFile::pieces() const { return state_->pieces; }
const std::string& StorageFile::uring_refusal() const { return state_->uring_refusal; }
HostReader* StorageFile::host_reader() const { return state_->host.get(); }

uint64_t StorageFile::shared_bytes() const {
  return state_->host != nullptr ? state_->host->pool_bytes() : 0;
}

// Part by part, so that an error names the one it is about.
absl::Status StorageFile::State::ReadJoined(uint64_t offset, absl::Span<std::byte> out) const {
  const uint64_t begin = offset, wanted = out.size();
  for (size_t i = 0; i < pieces.size() && !out.empty(); ++i) {
    const StoragePiece& piece = pieces[i];
    if (offset >= piece.end) continue;
    const size_t bytes = std::min<uint64_t>(out.size(), piece.end - offset);
    SLUICE_RETURN_IF_ERROR(
        parts[i]->ReadAt(piece.file_offset + (offset - piece.begin), out.first(bytes)));
    out.remove_prefix(bytes);
    offset += bytes;
  }
  if (out.empty()) return absl::OkStatus();
  return TruncatedStatus(path, begin, wanted, wanted - out.size());
}

absl::Status StorageFile::State::ReadHost(uint64_t offset, absl::Span<std::byte> out) const {
  const uint64_t begin = offset, wanted = out.size();
  for (int retries = 0; !out.empty();) {
    const int64_t got = host->Read(offset, out.first(std::min(out.size(), kMaxHostRead)));
    if (got == 0) return TruncatedStatus(path, begin, wanted, wanted - out.size());
    if (got < 0) {
      if ((got == -EINTR || got == -EAGAIN) && ++retries <= kMaxProbeRetries) continue;
      return ErrnoStatus(static_cast<int>(-got),
                         absl::StrCat(path, ": read of ", out.size(), " bytes at offset ", offset));
    }
    out.remove_prefix(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
    retries = 0;
  }
  return absl::OkStatus();
}

absl::Status StorageFile::ReadAt(uint64_t offset, absl::Span<std::byte> out) const {
  const State& s = *state_;
  if (s.host != nullptr) return s.ReadHost(offset, out);
  if (!s.parts.empty()) return s.ReadJoined(offset, out);
  const StoragePiece& piece = s.pieces[0];
  const uint64_t room = piece.end - std::min(offset, piece.end);
  if (out.size() > room) return TruncatedStatus(s.path, offset, out.size(), room);
  const uint64_t at = piece.file_offset + offset;
  const absl::Status status = ReadExactly(s.buffered.get(), s.path, at, out);
  if (!s.host_owns_description) {
    DropPages(s.buffered.get(), at, out.size());
  } else if (s.direct.valid()) {
    DropPages(s.direct.get(), at, out.size());
  }
  return status;
}

}  // namespace sluice
