#include "bench/support/memory_cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace sluice::bench {
namespace {

constexpr char kPrefix[] = "sluice-bench-";
// A group can be removed only some time after its last process is gone.
constexpr int kRemoveAttempts = 100;
constexpr std::chrono::milliseconds kRemovePause(20);

std::optional<std::string> ReadText(const std::string& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// A file of one number, or the number behind `key` in lines of "key value".
uint64_t ReadNumber(const std::string& path, absl::string_view key = "") {
  const std::optional<std::string> text = ReadText(path);
  uint64_t value = 0;
  if (!text) return 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (key.empty() && words.size() == 1 && absl::SimpleAtoi(words[0], &value)) return value;
    if (words.size() == 2 && words[0] == key && absl::SimpleAtoi(words[1], &value)) return value;
  }
  return 0;
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  const ssize_t written = write(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (written != static_cast<ssize_t>(text.size())) {
    return absl::ErrnoToStatus(error, absl::StrCat("cannot write ", text, " to ", path));
  }
  return absl::OkStatus();
}

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// The path behind `controllers` in lines of "id:controllers:path"; "" is version 2's own line.
std::string OwnPath(const HostPaths& paths, absl::string_view controllers) {
  const std::string text = ReadText(paths.proc + "/self/cgroup").value_or("");
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::vector<absl::string_view> named = absl::StrSplit(fields[1], ',');
    if (std::find(named.begin(), named.end(), controllers) != named.end()) {
      return std::string(fields[2]);
    }
  }
  return "/";
}

// `path` below `mount`, then each folder above it, down to the mount itself. In a container the
// path may be the host's, which is not mounted here: what does not exist is left out.
std::vector<std::string> Upward(const std::string& mount, const std::string& path) {
  std::vector<std::string> folders;
  std::string folder = mount;
  folders.push_back(folder);
  if (!absl::StrContains(path, "..")) {
    for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
      absl::StrAppend(&folder, "/", part);
      if (Exists(folder)) folders.push_back(folder);
    }
  }
  std::reverse(folders.begin(), folders.end());
  return folders;
}

// What a program started and left behind; a group with processes cannot be removed.
void EndMembers(const std::string& folder) {
  const std::string text = ReadText(folder + "/cgroup.procs").value_or("");
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    int pid = 0;
    if (absl::SimpleAtoi(line, &pid) && pid > 0) kill(pid, SIGKILL);
  }
}

// Groups of benchmarks that were killed before they could remove them.
void RemoveStale(const std::string& folder) {
  DIR* listing = opendir(folder.c_str());
  if (listing == nullptr) return;
  const absl::Cleanup close = [&] { closedir(listing); };
  while (const dirent* entry = readdir(listing)) {
    const std::string name = entry->d_name;
    if (!absl::StartsWith(name, kPrefix)) continue;
    const std::vector<std::string> words = absl::StrSplit(name, '-');
    int pid = 0;
    if (words.size() != 4 || !absl::SimpleAtoi(words[2], &pid) || pid <= 0) continue;
    if (kill(pid, 0) == 0 || errno != ESRCH) continue;
    const std::string stale = absl::StrCat(folder, "/", name);
    EndMembers(stale);
    rmdir(stale.c_str());
  }
}

}  // namespace

absl::StatusOr<MemoryHierarchy> FindMemoryHierarchy(const HostPaths& paths) {
  const std::string v1 = paths.sys_fs_cgroup + "/memory";
  if (Exists(v1 + "/memory.limit_in_bytes") || Exists(v1 + "/memory.use_hierarchy")) {
    return MemoryHierarchy{1, Upward(v1, OwnPath(paths, "memory"))};
  }
  for (const char* below : {"", "/unified"}) {
    const std::string mount = paths.sys_fs_cgroup + below;
    if (!Exists(mount + "/cgroup.controllers")) continue;
    MemoryHierarchy hierarchy{2, {}};
    for (const std::string& folder : Upward(mount, OwnPath(paths, ""))) {
      // What a group may hand to groups made below it.
      const std::string text = ReadText(folder + "/cgroup.subtree_control").value_or("");
      const std::vector<std::string> given =
          absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
      if (std::find(given.begin(), given.end(), "memory") != given.end()) {
        hierarchy.folders.push_back(folder);
      }
    }
    if (!hierarchy.folders.empty()) return hierarchy;
    return absl::FailedPreconditionError(absl::StrCat(
        "no memory limit can be set: ", mount, " (cgroup v2) gives the memory controller to no ",
        "group above this process; as root: echo +memory > ", mount, "/cgroup.subtree_control"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "no memory limit can be set: neither a cgroup v1 memory controller nor cgroup v2 at ",
      paths.sys_fs_cgroup));
}

MemoryCgroup::MemoryCgroup(int version, std::string folder, uint64_t limit_bytes)
    : version_(version), folder_(std::move(folder)), limit_bytes_(limit_bytes) {}

MemoryCgroup::~MemoryCgroup() {
  EndMembers(folder_);
  for (int attempt = 0; attempt < kRemoveAttempts; ++attempt) {
    if (rmdir(folder_.c_str()) == 0 || errno != EBUSY) return;
    std::this_thread::sleep_for(kRemovePause);
  }
}

absl::Status MemoryCgroup::SetLimit() {
  const std::string limit = absl::StrCat(limit_bytes_);
  if (version_ == 2) {
    SLUICE_RETURN_IF_ERROR(WriteText(folder_ + "/memory.max", limit));
    const std::string swap = folder_ + "/memory.swap.max";
    return Exists(swap) ? WriteText(swap, "0") : absl::OkStatus();
  }
  SLUICE_RETURN_IF_ERROR(WriteText(folder_ + "/memory.limit_in_bytes", limit));
  // Memory and swap together; never below the limit of memory alone, hence second.
  const std::string both = folder_ + "/memory.memsw.limit_in_bytes";
  return Exists(both) ? WriteText(both, limit) : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MemoryCgroup>> MemoryCgroup::Create(uint64_t limit_bytes,
                                                                   const HostPaths& paths) {
  auto hierarchy = FindMemoryHierarchy(paths);
  if (!hierarchy.ok()) return hierarchy.status();
  static int count = 0;
  const std::string name = absl::StrCat(kPrefix, getpid(), "-", count++);
  std::vector<std::string> reasons;
  for (const std::string& folder : hierarchy->folders) {
    RemoveStale(folder);
    const std::string path = absl::StrCat(folder, "/", name);
    if (mkdir(path.c_str(), 0755) != 0) {
      reasons.push_back(std::string(
          absl::ErrnoToStatus(errno, absl::StrCat("cannot make ", path)).message()));
      continue;
    }
    std::unique_ptr<MemoryCgroup> group(new MemoryCgroup(hierarchy->version, path, limit_bytes));
    const absl::Status limited = group->SetLimit();
    if (limited.ok()) return group;
    reasons.push_back(std::string(limited.message()));
  }
  return absl::PermissionDeniedError(absl::StrCat("no memory limit can be set (cgroup v",
                                                  hierarchy->version, "): ",
                                                  absl::StrJoin(reasons, "; ")));
}

MemoryCgroup::Usage MemoryCgroup::usage() const {
  if (version_ == 2) {
    // memory.peak came with Linux 5.19; 0 before.
    return {ReadNumber(folder_ + "/memory.peak"), ReadNumber(folder_ + "/memory.events", "max"),
            ReadNumber(folder_ + "/memory.events", "oom_kill")};
  }
  return {ReadNumber(folder_ + "/memory.max_usage_in_bytes"),
          ReadNumber(folder_ + "/memory.failcnt"),
          ReadNumber(folder_ + "/memory.oom_control", "oom_kill")};
}

}  // namespace sluice::bench
