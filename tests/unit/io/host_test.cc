// Limits of the host, from folders that look like /proc and /sys/fs/cgroup.
#include "lib/io/host.h"

#include <sched.h>

#include <filesystem>

#include "tests/support/catch.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class FakeHost {
 public:
  FakeHost() {
    Write("proc/meminfo", "MemTotal:       8388608 kB\nMemFree:         100 kB\n"
                          "MemAvailable:   4194304 kB\n");
    std::filesystem::create_directories(dir_.File("cgroup"));
  }
  void Write(const std::string& name, const std::string& content) {
    const std::filesystem::path path = dir_.File(name);
    std::filesystem::create_directories(path.parent_path());
    WriteFileOrDie(path.string(), content);
  }
  void Groups(const std::string& table) { Write("proc/self/cgroup", table); }
  void V1Memory(const std::string& group, const std::string& limit, uint64_t usage,
                uint64_t inactive, uint64_t active) {
    const std::string folder = "cgroup/memory" + group;
    Write(folder + "/memory.limit_in_bytes", limit + "\n");
    Write(folder + "/memory.usage_in_bytes", std::to_string(usage) + "\n");
    // Without "total_" the figures are of this group alone, and not meant.
    Write(folder + "/memory.stat", "cache 1\ninactive_file 3\nactive_file 5\ntotal_inactive_file " +
                                       std::to_string(inactive) + "\ntotal_active_file " +
                                       std::to_string(active) + "\n");
  }
  void V2Memory(const std::string& group, const std::string& max, uint64_t current,
                uint64_t inactive, uint64_t active) {
    const std::string folder = "cgroup" + group;
    Write(folder + "/memory.max", max + "\n");
    Write(folder + "/memory.current", std::to_string(current) + "\n");
    Write(folder + "/memory.stat", "anon 7\ninactive_file " + std::to_string(inactive) +
                                       "\nactive_file " + std::to_string(active) + "\n");
  }
  uint64_t Available() const { return AvailableMemoryBytes(paths()); }
  int Threads() const { return DefaultThreadCount(paths()); }
  HostPaths paths() const { return {dir_.File("proc"), dir_.File("cgroup")}; }

 private:
  TempDir dir_;
};

constexpr uint64_t kMemAvailable = 4096 * kMiB;

// For children: pretends to have up to `count` CPUs; the number that it got.
int KeepCpus(int count) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  int kept = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set) && ++kept > count) CPU_CLR(cpu, &set);
  }
  return sched_setaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

}  // namespace

TEST_CASE("without control groups MemAvailable counts", "[io]") {
  FakeHost host;
  CHECK(host.Available() == kMemAvailable);
  host.Groups("0::/\n");
  CHECK(host.Available() == kMemAvailable);
  host.Groups("garbage\n:::\n\n4:memory\n");
  CHECK(host.Available() == kMemAvailable);
}

TEST_CASE("cgroup v1: the tightest group above the process", "[io]") {
  FakeHost host;
  host.Groups("5:cpuset:/\n4:memory:/a/b\n0::/\n");
  host.V1Memory("", "9223372036854771712", 3000 * kMiB, 0, 0);
  host.V1Memory("/a", "1073741824", 900 * kMiB, 100 * kMiB, 50 * kMiB);
  host.V1Memory("/a/b", "9223372036854771712", 10 * kMiB, 0, 0);
  // 1024 - (900 - 150)
  CHECK(host.Available() == 274 * kMiB);
  host.V1Memory("/a/b", "104857600", 90 * kMiB, 0, 0);
  CHECK(host.Available() == 10 * kMiB);
  host.V1Memory("/a/b", "104857600", 120 * kMiB, 0, 0);
  CHECK(host.Available() == 0);
  // Cache beyond usage must not become room beyond the limit.
  host.V1Memory("/a/b", "104857600", 90 * kMiB, 95 * kMiB, 95 * kMiB);
  CHECK(host.Available() == 100 * kMiB);
}

TEST_CASE("cgroup v1: a path that is not mounted here means the mount's root", "[io]") {
  FakeHost host;
  host.Groups("4:memory:/docker/0123456789\n");
  host.V1Memory("", "536870912", 100 * kMiB, 0, 0);
  CHECK(host.Available() == 412 * kMiB);
  host.Groups("4:memory:/../outside\n");
  CHECK(host.Available() == 412 * kMiB);
}

TEST_CASE("cgroup v2: the tightest group above the process", "[io]") {
  FakeHost host;
  host.Groups("0::/user.slice/app:1\n");
  host.V2Memory("/user.slice", "1073741824", 500 * kMiB, 100 * kMiB, 0);
  host.V2Memory("/user.slice/app:1", "max", 1 * kMiB, 0, 0);
  CHECK(host.Available() == 624 * kMiB);
  host.V2Memory("/user.slice/app:1", "209715200", 50 * kMiB, 5 * kMiB, 5 * kMiB);
  CHECK(host.Available() == 160 * kMiB);
  host.Write("cgroup/user.slice/app:1/memory.high", "104857600\n");
  CHECK(host.Available() == 60 * kMiB);
}

TEST_CASE("cgroup v2: a namespace shows the container's root", "[io]") {
  FakeHost host;
  host.Groups("0::/\n");
  host.V2Memory("", "268435456", 56 * kMiB, 0, 0);
  CHECK(host.Available() == 200 * kMiB);
  host.Groups("0::/../../elsewhere\n");
  CHECK(host.Available() == 200 * kMiB);
}

TEST_CASE("a machine half way between v1 and v2 has both looked at", "[io]") {
  FakeHost host;
  host.Groups("4:memory:/a\n0::/b\n");
  host.V1Memory("/a", "209715200", 0, 0, 0);
  host.V2Memory("/unified/b", "104857600", 0, 0, 0);
  CHECK(host.Available() == 100 * kMiB);
}

TEST_CASE("threads: the affinity mask", "[io]") {
  FakeHost host;
  const ChildResult child = RunInChild([&] {
    const int kept = KeepCpus(1);
    return kept == 1 && host.Threads() == 1 ? std::string("ok") : std::string("no");
  });
  CHECK(child.output == "ok");
}

TEST_CASE("threads: CPU quotas of v1 and v2, rounded down, at least 1", "[io]") {
  FakeHost host;
  const int all = host.Threads();
  CHECK(all >= 1);
  host.Groups("2:cpu,cpuacct:/a/b\n");
  host.Write("cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n");
  host.Write("cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n");
  CHECK(host.Threads() == all);
  host.Write("cgroup/cpu/a/cpu.cfs_quota_us", "50000\n");
  host.Write("cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  CHECK(host.Threads() == 1);
  host.Write("cgroup/cpu/a/cpu.cfs_quota_us", "199999\n");
  CHECK(host.Threads() == 1);
  host.Write("cgroup/cpu/a/cpu.cfs_quota_us", "200000\n");
  CHECK(host.Threads() == std::min(all, 2));
  host.Write("cgroup/cpu/a/cpu.cfs_period_us", "0\n");
  CHECK(host.Threads() == all);

  FakeHost v2;
  v2.Groups("0::/a\n");
  v2.Write("cgroup/a/cpu.max", "max 100000\n");
  CHECK(v2.Threads() == all);
  v2.Write("cgroup/a/cpu.max", "150000 100000\n");
  CHECK(v2.Threads() == 1);
  v2.Write("cgroup/cpu.max", "50000 100000\n");
  v2.Write("cgroup/a/cpu.max", "max 100000\n");
  CHECK(v2.Threads() == 1);
}

TEST_CASE("v1 controllers mounted together are found under their joint name", "[io]") {
  FakeHost host;
  host.Groups("2:cpu,cpuacct:/a\n");
  host.Write("cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "100000\n");
  host.Write("cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  CHECK(host.Threads() == 1);
}

TEST_CASE("the real host answers", "[io]") {
  CHECK(AvailableMemoryBytes() > kMiB);
  CHECK(DefaultThreadCount() >= 1);
  CHECK(PeakRssBytes() > kMiB);
}

}  // namespace sluice::testing
