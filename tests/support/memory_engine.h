// An IoEngine over bytes in memory: the reference that real engines are compared with, and the
// ground that FaultEngine stands on.
#ifndef SLUICE_TESTS_SUPPORT_MEMORY_ENGINE_H_
#define SLUICE_TESTS_SUPPORT_MEMORY_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "lib/io/io_engine.h"

namespace sluice::testing {

struct MemoryEngineOptions {
  size_t queue_depth = 32;
  // Above 1, reads must obey it as with O_DIRECT, or they fail with EINVAL.
  size_t alignment = 1;
};

// Reads happen in Reap(), not in Submit(): who looks at the memory too early sees the old bytes,
// and who frees it too early is caught by AddressSanitizer.
class MemoryEngine : public IoEngine {
 public:
  explicit MemoryEngine(std::shared_ptr<const std::string> content,
                        MemoryEngineOptions options = {});

  const IoCapabilities& capabilities() const override { return capabilities_; }
  size_t queue_depth() const override { return options_.queue_depth; }
  size_t in_flight() const override { return pending_.size(); }
  absl::Status Submit(absl::Span<const IoRead> reads) override;
  absl::Status Reap(size_t min_complete, std::chrono::milliseconds timeout,
                    std::vector<IoCompletion>* out) override;

 private:
  int64_t Perform(const IoRead& read) const;

  const std::shared_ptr<const std::string> content_;
  const MemoryEngineOptions options_;
  IoCapabilities capabilities_;
  std::vector<IoRead> pending_;
};

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_SUPPORT_MEMORY_ENGINE_H_
