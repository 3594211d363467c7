// Reads by a pool of threads: the reference, and the fallback where io_uring is refused.
#ifndef SLUICE_LIB_IO_PREAD_ENGINE_H_
#define SLUICE_LIB_IO_PREAD_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "lib/io/engines.h"

namespace sluice {

class PreadEngine : public IoEngine {
 public:
  // Starts up to `num_threads` threads; num_threads() tells how many the system granted.
  PreadEngine(std::shared_ptr<StorageFile> file, size_t queue_depth, size_t num_threads,
              std::string reason);
  ~PreadEngine() override;

  size_t num_threads() const;

  const IoCapabilities& capabilities() const override { return capabilities_; }
  size_t queue_depth() const override { return queue_depth_; }
  size_t in_flight() const override { return in_flight_; }
  absl::Status Submit(absl::Span<const IoRead> reads) override;
  absl::Status Reap(size_t min_complete, std::chrono::milliseconds timeout,
                    std::vector<IoCompletion>* out) override;

 private:
  struct Pool;

  const std::shared_ptr<StorageFile> file_;
  const size_t queue_depth_;
  const int owner_pid_;
  size_t in_flight_ = 0;
  IoCapabilities capabilities_;
  std::unique_ptr<Pool> pool_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_IO_PREAD_ENGINE_H_
