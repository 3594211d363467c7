// A memory limit that the kernel enforces on the programs that a benchmark starts.
#ifndef SLUICE_BENCH_SUPPORT_MEMORY_CGROUP_H_
#define SLUICE_BENCH_SUPPORT_MEMORY_CGROUP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/io/host.h"

namespace sluice::bench {

// Where control groups with a memory limit may be made, the likeliest folder first: below this
// process's own group, so that limits above it still hold, then further up.
struct MemoryHierarchy {
  int version = 0;  // 1 or 2
  std::vector<std::string> folders;
};

// kFailedPrecondition, with what is missing: no memory controller is mounted, or version 2 gives
// it to none of the groups above this process.
absl::StatusOr<MemoryHierarchy> FindMemoryHierarchy(const HostPaths& paths = {});

// One control group with a limit, for one program: its high-water mark is that program's alone.
// Removed with the object, and whoever is still in it ended. What a killed benchmark left behind is
// removed by a later Create().
class MemoryCgroup {
 public:
  struct Usage {
    uint64_t peak_bytes = 0;  // page cache that the program was charged for included
    uint64_t limit_hits = 0;  // times the limit forced the kernel to reclaim
    uint64_t oom_kills = 0;
  };

  // Swap counts against the limit too, where the kernel tells them apart. kFailedPrecondition: as
  // above; kPermissionDenied: not ours to make.
  static absl::StatusOr<std::unique_ptr<MemoryCgroup>> Create(uint64_t limit_bytes,
                                                              const HostPaths& paths = {});
  ~MemoryCgroup();
  MemoryCgroup(const MemoryCgroup&) = delete;
  MemoryCgroup& operator=(const MemoryCgroup&) = delete;

  // A process joins by writing "0" here; it should do so before it has touched much memory, since
  // what it has stays charged to where it was.
  std::string procs_path() const { return folder_ + "/cgroup.procs"; }
  int version() const { return version_; }
  uint64_t limit_bytes() const { return limit_bytes_; }
  const std::string& folder() const { return folder_; }
  Usage usage() const;

 private:
  MemoryCgroup(int version, std::string folder, uint64_t limit_bytes);
  absl::Status SetLimit();

  const int version_;
  const std::string folder_;
  const uint64_t limit_bytes_;
};

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_SUPPORT_MEMORY_CGROUP_H_
