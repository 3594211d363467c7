#include "lib/io/host_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/log.h"
#include "lib/base/status_macros.h"
#include "lib/io/engines.h"
#include "lib/io/read_pool.h"

namespace sluice {
namespace {

// The largest number that the kernel takes for an errno.
constexpr int64_t kMaxErrno = 4095;
// Holds a read as the planner joins them, so that scattered segments cost one call.
constexpr size_t kBufferBytes = 256 << 10;

// Into the segments, from byte `skip` of them on.
void Scatter(absl::Span<const IoSegment> segments, uint64_t skip,
             absl::Span<const std::byte> from) {
  for (const IoSegment& segment : segments) {
    if (from.empty()) return;
    if (skip >= segment.bytes) {
      skip -= segment.bytes;
      continue;
    }
    const size_t bytes = std::min<uint64_t>(segment.bytes - skip, from.size());
    std::memcpy(segment.data + skip, from.data(), bytes);
    from.remove_prefix(bytes);
    skip = 0;
  }
}

}  // namespace

HostReader::HostReader(Settings settings)
    : settings_(std::move(settings)), owner_pid_(getpid()) {}

HostReader::~HostReader() {
  pool_.reset();
  if (getpid() != owner_pid_ || !settings_.release) return;
  try {
    settings_.release();
  } catch (...) {
    // The host's mistake; a destructor has nobody to tell.
  }
}

uint64_t HostReader::pool_bytes() const {
  return uint64_t{settings_.threads} * (kBufferBytes + kReadThreadBytes);
}

void HostReader::Remark(absl::string_view what, absl::string_view more) const {
  if (remarked_.exchange(true)) return;
  try {
    Log(LogLevel::kWarning,
        absl::StrCat(settings_.name, ": the host's read function ", what, more));
  } catch (...) {
    // No memory, or a sink that throws: nothing may leave a thread of the pool.
  }
}

int64_t HostReader::Read(uint64_t offset, absl::Span<std::byte> out) const {
  if (offset >= settings_.bytes) return 0;
  const size_t bytes = std::min<uint64_t>(out.size(), settings_.bytes - offset);
  int64_t got = 0;
  try {
    got = settings_.read(offset, out.data(), bytes);
  } catch (const std::exception& e) {
    Remark("threw: ", e.what());
    return -EPROTO;
  } catch (...) {
    Remark("threw something", "");
    return -EPROTO;
  }
  if (got >= -kMaxErrno && got <= static_cast<int64_t>(bytes)) return got;
  Remark(got < 0 ? "returned what is no errno" : "claims more bytes than it was asked for", "");
  return -EPROTO;
}

// Ends at the first call that gives less than asked: whoever cancels then waits for one call only,
// and BatchReader goes on from there.
int64_t HostReader::ReadScattered(const IoRead& read, absl::Span<std::byte> buffer) const {
  if (read.segments.size() == 1) {
    return Read(read.offset, absl::MakeSpan(read.segments[0].data, read.segments[0].bytes));
  }
  uint64_t total = 0;
  for (const IoSegment& segment : read.segments) total += segment.bytes;
  uint64_t done = 0;
  while (done < total) {
    const auto piece = buffer.first(std::min<uint64_t>(buffer.size(), total - done));
    const int64_t got = Read(read.offset + done, piece);
    if (got <= 0) return done > 0 ? static_cast<int64_t>(done) : got;
    Scatter(read.segments, done, piece.first(static_cast<size_t>(got)));
    done += static_cast<uint64_t>(got);
    if (static_cast<size_t>(got) < piece.size()) break;
  }
  return static_cast<int64_t>(done);
}

absl::StatusOr<std::shared_ptr<ReadPool>> HostReader::Pool() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (pool_ != nullptr) return pool_;
  while (buffers_.size() < settings_.threads) {
    SLUICE_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(kBufferBytes));
    buffers_.push_back(std::move(buffer));
  }
  auto pool = std::make_shared<ReadPool>(
      settings_.threads, [this](const IoRead& read, size_t worker) {
        return ReadScattered(read, buffers_[worker].span());
      });
  if (pool->num_threads() == 0) return NoReadingThread(settings_.name);
  pool_ = std::move(pool);
  return pool_;
}

absl::StatusOr<std::unique_ptr<IoEngine>> MakeHostEngine(std::shared_ptr<StorageFile> file,
                                                         size_t queue_depth) {
  SLUICE_ASSIGN_OR_RETURN(std::shared_ptr<ReadPool> pool, file->host_reader()->Pool());
  IoCapabilities capabilities;
  capabilities.engine = "host";
  capabilities.reason = absl::StrCat("reads through the host's function, up to ",
                                     pool->num_threads(), " calls at one time");
  return MakePoolEngine(std::move(file), std::move(pool), queue_depth, std::move(capabilities));
}

}  // namespace sluice
