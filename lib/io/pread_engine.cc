// Reads by a pool of threads: the reference, and the fallback where io_uring is refused.
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/io/read_pool.h"

namespace sluice {
namespace {

// More threads than this only queue up in the device's driver.
constexpr size_t kMaxThreads = 16;

int64_t ReadOnce(absl::Span<const StoragePiece> pieces, const IoRead& read) {
  const PieceRead in = InOnePiece(pieces, read);
  if (in.segments.empty()) return 0;
  const int fd = pieces[in.piece].fd;
  const off_t offset = static_cast<off_t>(in.offset);
  const ssize_t got = in.segments.size() == 1
                          ? pread(fd, in.segments[0].data, in.first_bytes, offset)
                          : preadv(fd, AsIovec(in.segments),
                                   static_cast<int>(in.segments.size()), offset);
  return got >= 0 ? got : -errno;
}

}  // namespace

absl::StatusOr<std::unique_ptr<IoEngine>> MakePreadEngine(std::shared_ptr<StorageFile> file,
                                                          size_t queue_depth,
                                                          std::string reason) {
  auto pool = std::make_shared<ReadPool>(
      std::min(queue_depth, kMaxThreads),
      [pieces = file->pieces()](const IoRead& read, size_t) { return ReadOnce(pieces, read); });
  if (pool->num_threads() == 0) return NoReadingThread(file->path());
  IoCapabilities capabilities;
  capabilities.engine = "pread";
  capabilities.reason = std::move(reason);
  if (!file->direct_io()) {
    absl::StrAppend(&capabilities.reason, "; buffered reads: ", file->direct_reason());
  }
  capabilities.direct_io = file->direct_io();
  capabilities.alignment = file->alignment();
  return MakePoolEngine(std::move(file), std::move(pool), queue_depth, std::move(capabilities));
}

}  // namespace sluice
