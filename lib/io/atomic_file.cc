#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/io/batch_reader.h"
#include "lib/io/file.h"
#include "lib/io/posix_file.h"

namespace sluice {

struct AtomicFile::State {
  std::string final_path;
  std::string temporary_path;
  std::string final_name;      // both names are relative to `directory`, so that a host that
  std::string temporary_name;  // changes its working directory does no harm
  UniqueFd directory;
  UniqueFd fd;
  bool committed = false;
  pid_t owner = getpid();  // a forked child must not remove its parent's file
  absl::Status broken;  // a failed fsync: the kernel may have dropped what it could not write
};

namespace {

// How often another process may snatch a fresh temporary file before we give up.
constexpr int kMaxCreateAttempts = 100;

constexpr uint64_t kCopyChunk = uint64_t{1} << 30;
constexpr size_t kCopyBufferBytes = size_t{1} << 20;

std::string TemporaryPrefix(const std::string& name) {
  return absl::StrCat(".", name, ".sluice-tmp-");
}

int OpenRetrying(int directory, const char* name, int flags) {
  int fd;
  do {
    fd = openat(directory, name, flags | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// A writer holds the lock as long as it lives; whoever can take it looks at a leftover.
void RemoveIfAbandoned(int directory, const char* name) {
  const UniqueFd fd(OpenRetrying(directory, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK));
  struct stat opened;
  struct stat named;
  if (!fd.valid() || fstat(fd.get(), &opened) != 0 || !S_ISREG(opened.st_mode)) return;
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return;
  if (fstatat(directory, name, &named, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (SameFile(opened, named)) unlinkat(directory, name, 0);
}

void RemoveLeftovers(int directory, const std::string& prefix) {
  const int copy = OpenRetrying(directory, ".", O_RDONLY | O_DIRECTORY);
  if (copy < 0) return;
  DIR* entries = fdopendir(copy);
  if (entries == nullptr) {
    close(copy);
    return;
  }
  while (const dirent* entry = readdir(entries)) {
    const absl::string_view name = entry->d_name;
    const bool ours = absl::StartsWith(name, prefix) &&
                      name.find_first_not_of("0123456789-.", prefix.size()) == name.npos;
    if (ours) RemoveIfAbandoned(directory, entry->d_name);
  }
  closedir(entries);
}

// False when somebody who cleans up took the file before we could lock it.
bool LockedAndPresent(int directory, int fd, const std::string& name) {
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    // Without locks on this file system nobody can take the file for a leftover either.
    if (errno == EWOULDBLOCK) return false;
  }
  struct stat opened;
  struct stat named;
  return fstat(fd, &opened) == 0 &&
         fstatat(directory, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         SameFile(opened, named);
}

// `what` and errno; for a full disk also what was needed and what there is.
absl::Status WriteFailure(int error, int fd, absl::string_view what, uint64_t need) {
  if (error == EFBIG) {
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    if (limit.rlim_cur == RLIM_INFINITY) return ErrnoStatus(error, what);
    return ErrnoStatus(error, absl::StrCat(what, ": file size limit of ", limit.rlim_cur,
                                           " bytes (ulimit -f)"));
  }
  struct statvfs room;
  if ((error != ENOSPC && error != EDQUOT) || fstatvfs(fd, &room) != 0) {
    return ErrnoStatus(error, what);
  }
  const uint64_t free_bytes = uint64_t{room.f_bavail} * room.f_frsize;
  return ErrnoStatus(error,
                     absl::StrCat(what, ": need ", need, " bytes, free ", free_bytes, " bytes"));
}

// A write past RLIMIT_FSIZE kills the host by SIGXFSZ, so it must not be tried.
int CheckFileSizeLimit(uint64_t offset, uint64_t bytes) {
  const Checked end = Checked(offset) + bytes;
  if (!end.valid_and_at_most(static_cast<uint64_t>(std::numeric_limits<off_t>::max()))) {
    return EFBIG;
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return 0;
  return end.value() > limit.rlim_cur ? EFBIG : 0;
}

int SyncDescriptor(int fd) {
  int result;
  do {
    result = fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

// The kernel's own copy from offset `done` on. Returns how far it came: short of `bytes` where
// the two file systems cannot do it, and the caller copies the rest; a negative errno on trouble.
int64_t CopyInKernel(int from, int to, uint64_t bytes) {
  uint64_t done = 0;
  while (done < bytes) {
    off_t in = static_cast<off_t>(done);
    off_t out = static_cast<off_t>(done);
    const ssize_t copied =
        copy_file_range(from, &in, to, &out, std::min(bytes - done, kCopyChunk), 0);
    if (copied > 0) {
      done += static_cast<uint64_t>(copied);
    } else if (copied == 0) {
      break;
    } else if (errno == ENOSPC || errno == EDQUOT || errno == EIO) {
      return -errno;
    } else if (errno != EINTR) {
      break;  // EXDEV, EINVAL, ENOSYS, a sandbox's EPERM: copy by hand
    }
  }
  return static_cast<int64_t>(done);
}

// Makes the file `name` of `directory` and locks it; no descriptor when the name is taken, or was
// taken away again.
absl::StatusOr<UniqueFd> TryCreate(int directory, const std::string& path,
                                   const std::string& name) {
  UniqueFd fd(OpenRetrying(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL));
  if (fd.valid()) return LockedAndPresent(directory, fd.get(), name) ? std::move(fd) : UniqueFd();
  if (errno == EEXIST) return UniqueFd();
  return WriteFailure(errno, directory, absl::StrCat(path, name, ": cannot create"), kIoAlignment);
}

absl::Status CheckTarget(const std::string& final_path) {
  struct stat info;
  if (stat(final_path.c_str(), &info) != 0 || S_ISREG(info.st_mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(final_path, ": exists and is not a regular file; not replaced"));
}

}  // namespace

AtomicFile::AtomicFile(std::unique_ptr<State> state) : state_(std::move(state)) {}

AtomicFile::~AtomicFile() {
  if (!state_->committed && state_->owner == getpid()) {
    unlinkat(state_->directory.get(), state_->temporary_name.c_str(), 0);
  }
}

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& final_path) {
  const size_t slash = final_path.find_last_of('/');
  auto state = std::make_unique<State>();
  state->final_path = final_path;
  state->final_name = slash == std::string::npos ? final_path : final_path.substr(slash + 1);
  const std::string directory =
      slash == std::string::npos ? "" : final_path.substr(0, slash + 1);
  if (state->final_name.empty() || state->final_name == "." || state->final_name == "..") {
    return absl::InvalidArgumentError(absl::StrCat(final_path, ": names no file"));
  }
  SLUICE_RETURN_IF_ERROR(CheckTarget(final_path));
  state->directory = UniqueFd(OpenRetrying(
      AT_FDCWD, directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY));
  if (!state->directory.valid()) {
    return ErrnoStatus(errno, absl::StrCat(final_path, ": cannot open its folder"));
  }
  const std::string prefix = TemporaryPrefix(state->final_name);
  RemoveLeftovers(state->directory.get(), prefix);

  static std::atomic<uint64_t> counter{0};
  for (int attempt = 0; attempt < kMaxCreateAttempts; ++attempt) {
    const std::string name =
        absl::StrCat(prefix, getpid(), "-", counter.fetch_add(1, std::memory_order_relaxed));
    SLUICE_ASSIGN_OR_RETURN(UniqueFd fd, TryCreate(state->directory.get(), directory, name));
    if (!fd.valid()) continue;
    state->fd = std::move(fd);
    state->temporary_name = name;
    state->temporary_path = directory + name;
    return std::unique_ptr<AtomicFile>(new AtomicFile(std::move(state)));
  }
  return absl::UnavailableError(absl::StrCat(
      final_path, ": no temporary file could be had in ", kMaxCreateAttempts, " attempts"));
}

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::CreateSibling(
    const std::string& suffix) const {
  auto state = std::make_unique<State>();
  state->final_path = state_->final_path + suffix;
  state->final_name = state_->final_name + suffix;
  state->temporary_path = state_->temporary_path + suffix;
  state->temporary_name = state_->temporary_name + suffix;
  SLUICE_RETURN_IF_ERROR(CheckTarget(state->final_path));
  state->directory = UniqueFd(OpenRetrying(state_->directory.get(), ".", O_RDONLY | O_DIRECTORY));
  if (!state->directory.valid()) {
    return ErrnoStatus(errno, absl::StrCat(state->final_path, ": cannot open its folder"));
  }
  const std::string directory = state->temporary_path.substr(
      0, state->temporary_path.size() - state->temporary_name.size());
  for (int attempt = 0; attempt < kMaxCreateAttempts; ++attempt) {
    SLUICE_ASSIGN_OR_RETURN(
        UniqueFd fd, TryCreate(state->directory.get(), directory, state->temporary_name));
    if (!fd.valid()) continue;
    state->fd = std::move(fd);
    return std::unique_ptr<AtomicFile>(new AtomicFile(std::move(state)));
  }
  return absl::UnavailableError(absl::StrCat(
      state->temporary_path, ": could not be made in ", kMaxCreateAttempts, " attempts"));
}

const std::string& AtomicFile::temporary_path() const { return state_->temporary_path; }
const std::string& AtomicFile::final_path() const { return state_->final_path; }

absl::Status AtomicFile::Reserve(uint64_t bytes) {
  const std::string what = absl::StrCat(state_->final_path, ": cannot reserve space");
  if (bytes == 0) return absl::OkStatus();
  if (const int error = CheckFileSizeLimit(0, bytes); error != 0) {
    return WriteFailure(error, state_->fd.get(), what, bytes);
  }
  int result;
  do {
    result = fallocate(state_->fd.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return absl::OkStatus();
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EPERM) return absl::OkStatus();
  return WriteFailure(errno, state_->fd.get(), what, bytes);
}

absl::Status AtomicFile::WriteAt(uint64_t offset, absl::Span<const std::byte> data) {
  int error = CheckFileSizeLimit(offset, data.size());
  if (error == 0) error = WriteFully(state_->fd.get(), offset, data);
  if (error == 0) return absl::OkStatus();
  return WriteFailure(error, state_->fd.get(),
                      absl::StrCat(state_->final_path, ": cannot write ", data.size(),
                                   " bytes at offset ", offset),
                      data.size());
}

absl::Status AtomicFile::ReadAt(uint64_t offset, absl::Span<std::byte> out) const {
  return ReadExactly(state_->fd.get(), state_->temporary_path, offset, out);
}

absl::Status AtomicFile::CopyFrom(const InputFile& source, uint64_t bytes) {
  const std::string what =
      absl::StrCat(state_->final_path, ": cannot copy ", bytes, " bytes of ", source.path());
  if (const int error = CheckFileSizeLimit(0, bytes); error != 0) {
    return WriteFailure(error, state_->fd.get(), what, bytes);
  }
  const int64_t copied = CopyInKernel(source.fd(), state_->fd.get(), bytes);
  if (copied < 0) {
    return WriteFailure(static_cast<int>(-copied), state_->fd.get(), what, bytes);
  }
  uint64_t done = static_cast<uint64_t>(copied);
  if (done == bytes) return absl::OkStatus();
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(kCopyBufferBytes));
  while (done < bytes) {
    const size_t chunk =
        static_cast<size_t>(std::min<uint64_t>(bytes - done, kCopyBufferBytes));
    SLUICE_RETURN_IF_ERROR(source.ReadAt(done, buffer.span().subspan(0, chunk)));
    SLUICE_RETURN_IF_ERROR(WriteAt(done, buffer.span().subspan(0, chunk)));
    source.DropCache(done, chunk);
    done += chunk;
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Truncate(uint64_t bytes) {
  const std::string what =
      absl::StrCat(state_->final_path, ": cannot set the size to ", bytes, " bytes");
  if (const int error = CheckFileSizeLimit(0, bytes); error != 0) {
    return WriteFailure(error, state_->fd.get(), what, bytes);
  }
  int result;
  do {
    result = ftruncate(state_->fd.get(), static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return absl::OkStatus();
  return WriteFailure(errno, state_->fd.get(), what, bytes);
}

absl::Status AtomicFile::Sync() {
  if (!state_->broken.ok()) return state_->broken;
  const int error = SyncDescriptor(state_->fd.get());
  if (error != 0) {
    // Not to be tried again: Linux marks the lost pages clean, and a second fsync succeeds.
    state_->broken = WriteFailure(error, state_->fd.get(),
                                  absl::StrCat(state_->final_path, ": fsync failed"), 0);
  }
  return state_->broken;
}

absl::Status AtomicFile::Commit() {
  if (state_->committed) {
    return absl::FailedPreconditionError(
        absl::StrCat(state_->final_path, ": committed already"));
  }
  SLUICE_RETURN_IF_ERROR(Sync());
  if (renameat(state_->directory.get(), state_->temporary_name.c_str(),
               state_->directory.get(), state_->final_name.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat(state_->final_path, ": cannot rename ",
                                           state_->temporary_path, " to it"));
  }
  state_->committed = true;
  const int error = SyncDescriptor(state_->directory.get());
  // EINVAL: a file system whose folders need no fsync.
  if (error == 0 || error == EINVAL) return absl::OkStatus();
  return ErrnoStatus(error, absl::StrCat(state_->final_path,
                                         ": complete and in place, but fsync of its folder "
                                         "failed, so a power cut may undo it"));
}

bool AtomicFile::committed() const { return state_->committed; }

void AtomicFile::Retract() {
  if (state_->committed) unlinkat(state_->directory.get(), state_->final_name.c_str(), 0);
}

}  // namespace sluice
