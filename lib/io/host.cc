#include "lib/io/host.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "lib/base/aligned_buffer.h"

namespace sluice {
namespace {

// Longer than any file of numbers that is read here; what is beyond is not looked at.
constexpr size_t kMaxFileBytes = size_t{1} << 20;
// Deeper than the kernel nests control groups in practice.
constexpr int kMaxGroupDepth = 128;
// cgroup v1 writes "no limit" as the largest multiple of the page size that fits.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;

std::optional<std::string> ReadSmallFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::string text(kMaxFileBytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

std::optional<uint64_t> ReadNumber(const std::string& path) {
  const std::optional<std::string> text = ReadSmallFile(path);
  uint64_t value;
  if (!text || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &value)) return std::nullopt;
  return value;
}

// The number behind `key` in lines of "key value ..." or "key: value ...".
std::optional<uint64_t> FindNumber(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    absl::ConsumePrefix(&line, ":");
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    uint64_t value;
    if (!words.empty() && line[0] != words[0][0] && absl::SimpleAtoi(words[0], &value)) {
      return value;
    }
  }
  return std::nullopt;
}

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// A control group of this process, from its own folder up to the mount's root.
struct GroupChain {
  bool is_v2 = false;
  std::vector<std::string> folders;
};

// `path` as /proc/self/cgroup has it. Inside a container it may be the host's, which is not
// mounted here, or lead out of a cgroup namespace; then the mount's root is the nearest we see.
std::vector<std::string> Ancestry(const std::string& mount, absl::string_view path) {
  std::vector<std::string> folders;
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  const bool outside = std::find(parts.begin(), parts.end(), "..") != parts.end();
  if (!outside && parts.size() <= kMaxGroupDepth) {
    std::string folder = mount;
    for (const absl::string_view part : parts) {
      absl::StrAppend(&folder, "/", part);
      folders.push_back(folder);
    }
    if (!folders.empty() && !IsFolder(folders.back())) folders.clear();
  }
  std::reverse(folders.begin(), folders.end());
  folders.push_back(mount);
  return folders;
}

// The groups that govern `controller` ("memory", "cpu"): a v1 hierarchy, the v2 one, or, on
// machines that are half way, both.
std::vector<GroupChain> FindGroups(const HostPaths& paths, absl::string_view controller) {
  std::vector<GroupChain> chains;
  const std::string table = ReadSmallFile(paths.proc + "/self/cgroup").value_or("");
  for (const absl::string_view line : absl::StrSplit(table, '\n')) {
    // "4:memory:/path" or "0::/path"; the path may hold colons.
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    GroupChain chain;
    chain.is_v2 = fields[0] == "0" && fields[1].empty();
    std::string mount;
    if (chain.is_v2) {
      mount = paths.sys_fs_cgroup + "/unified";  // where v1 hierarchies lie beside it
      if (!IsFolder(mount)) mount = paths.sys_fs_cgroup;
    } else {
      const std::vector<absl::string_view> controllers = absl::StrSplit(fields[1], ',');
      if (std::find(controllers.begin(), controllers.end(), controller) == controllers.end()) {
        continue;
      }
      mount = absl::StrCat(paths.sys_fs_cgroup, "/", controller);
      if (!IsFolder(mount)) mount = absl::StrCat(paths.sys_fs_cgroup, "/", fields[1]);
    }
    if (!IsFolder(mount)) continue;
    chain.folders = Ancestry(mount, fields[2]);
    chains.push_back(std::move(chain));
  }
  return chains;
}

// The smaller of two limits of which either may be missing or say "max".
std::optional<uint64_t> SmallerLimit(std::optional<uint64_t> a, std::optional<uint64_t> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

// Bytes that the group at `folder` may still take; nothing when it has no limit.
std::optional<uint64_t> GroupRoom(const std::string& folder, bool is_v2) {
  const std::optional<uint64_t> limit =
      is_v2 ? SmallerLimit(ReadNumber(folder + "/memory.max"), ReadNumber(folder + "/memory.high"))
            : ReadNumber(folder + "/memory.limit_in_bytes");
  if (!limit || *limit >= kNoLimit) return std::nullopt;
  const uint64_t usage =
      ReadNumber(folder + (is_v2 ? "/memory.current" : "/memory.usage_in_bytes")).value_or(0);
  const std::string stat = ReadSmallFile(folder + "/memory.stat").value_or("");
  const absl::string_view prefix = is_v2 ? "" : "total_";
  uint64_t droppable = 0;
  for (const absl::string_view key : {"inactive_file", "active_file"}) {
    droppable += FindNumber(stat, absl::StrCat(prefix, key)).value_or(0);
  }
  const uint64_t held = usage - std::min(usage, droppable);
  return *limit - std::min(*limit, held);
}

// CPUs' worth of time that the group at `folder` may use; nothing when it has no quota.
std::optional<double> GroupCpus(const std::string& folder, bool is_v2) {
  uint64_t quota;
  uint64_t period;
  if (is_v2) {
    const std::string text = ReadSmallFile(folder + "/cpu.max").value_or("");
    const std::vector<absl::string_view> words =
        absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
    if (words.size() != 2 || !absl::SimpleAtoi(words[0], &quota) ||
        !absl::SimpleAtoi(words[1], &period)) {
      return std::nullopt;
    }
  } else {
    // A quota of -1, none, is not a number here.
    const std::optional<uint64_t> v1_quota = ReadNumber(folder + "/cpu.cfs_quota_us");
    const std::optional<uint64_t> v1_period = ReadNumber(folder + "/cpu.cfs_period_us");
    if (!v1_quota || !v1_period) return std::nullopt;
    quota = *v1_quota;
    period = *v1_period;
  }
  if (period == 0) return std::nullopt;
  return static_cast<double>(quota) / static_cast<double>(period);
}

int AffinityCount() {
  // The kernel refuses sets smaller than its own; 1024 CPUs are the usual, not the largest.
  for (int num_cpus = 1024; num_cpus <= (1 << 20); num_cpus *= 2) {
    cpu_set_t* const set = CPU_ALLOC(static_cast<size_t>(num_cpus));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(num_cpus));
    const bool told = sched_getaffinity(0, bytes, set) == 0;
    const int count = told ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (told) return std::max(count, 1);
  }
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

uint64_t SystemAvailableBytes(const HostPaths& paths) {
  const std::string text = ReadSmallFile(paths.proc + "/meminfo").value_or("");
  if (const auto kib = FindNumber(text, "MemAvailable")) return *kib * 1024;
  const long pages = sysconf(_SC_AVPHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages < 0 || page_bytes < 0) return 0;
  return static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes);
}

}  // namespace

uint64_t AvailableMemoryBytes(const HostPaths& paths) {
  uint64_t available = SystemAvailableBytes(paths);
  for (const GroupChain& chain : FindGroups(paths, "memory")) {
    for (const std::string& folder : chain.folders) {
      available = std::min(available, GroupRoom(folder, chain.is_v2).value_or(available));
    }
  }
  return available;
}

int DefaultThreadCount(const HostPaths& paths) {
  int count = AffinityCount();
  for (const GroupChain& chain : FindGroups(paths, "cpu")) {
    for (const std::string& folder : chain.folders) {
      const std::optional<double> cpus = GroupCpus(folder, chain.is_v2);
      if (cpus && *cpus < count) count = static_cast<int>(*cpus);
    }
  }
  return std::max(count, 1);
}

uint64_t PeakRssBytes() {
  const std::string text = ReadSmallFile("/proc/self/status").value_or("");
  return FindNumber(text, "VmHWM").value_or(0) * 1024;
}

void PreferLargePages(void* data, size_t bytes) {
#ifdef MADV_HUGEPAGE
  const size_t whole = bytes / kLargePage * kLargePage;
  if (whole > 0) madvise(data, whole, MADV_HUGEPAGE);
#else
  static_cast<void>(data);
  static_cast<void>(bytes);
#endif
}

}  // namespace sluice
