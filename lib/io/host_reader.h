// Bytes that a function of the host's reads: out of an archive, decrypted, from a store of its own.
#ifndef SLUICE_LIB_IO_HOST_READER_H_
#define SLUICE_LIB_IO_HOST_READER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/base/aligned_buffer.h"
#include "lib/io/io_engine.h"

namespace sluice {

class ReadPool;  // read_pool.h

// Threads: const methods may overlap.
class HostReader {
 public:
  static constexpr uint32_t kMaxThreads = 64;
  static constexpr uint32_t kDefaultThreads = 4;

  struct Settings {
    // Up to `bytes` bytes at `offset`; how many, 0 only at the end, or a negative errno.
    std::function<int64_t(uint64_t offset, void* buffer, size_t bytes)> read;
    std::function<void()> release;  // or empty
    uint64_t bytes = 0;             // of the whole
    uint32_t threads = 0;           // calls of `read` at one time, 1..kMaxThreads
    std::string name;               // for remarks
  };

  explicit HostReader(Settings settings);
  // Waits for the calls that run, then calls `release`. (Neither in a forked child.)
  ~HostReader();

  uint64_t size() const { return settings_.bytes; }
  uint32_t threads() const { return settings_.threads; }
  // Of the pool: thread stacks and the buffers of scattered reads.
  uint64_t pool_bytes() const;

  // One call of the function: bytes, fewer than asked also before the end, 0 at the end; or
  // -errno. More bytes than asked for, an exception, and what is no errno are -EPROTO.
  int64_t Read(uint64_t offset, absl::Span<std::byte> out) const;

  // The threads of all engines together, started by the first call. kResourceExhausted: not even
  // one could be.
  absl::StatusOr<std::shared_ptr<ReadPool>> Pool();

 private:
  int64_t ReadScattered(const IoRead& read, absl::Span<std::byte> buffer) const;
  // The first time says what the function did wrong.
  void Remark(absl::string_view what, absl::string_view more) const;

  const Settings settings_;
  const int owner_pid_;
  mutable std::atomic<bool> remarked_{false};
  std::mutex mutex_;  // guards what follows, while the pool is made
  std::vector<AlignedBuffer> buffers_;  // of each thread
  std::shared_ptr<ReadPool> pool_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_IO_HOST_READER_H_
