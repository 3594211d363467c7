// Runs a program to its end and keeps what it printed.
#ifndef SLUICE_BENCH_SUPPORT_CHILD_PROCESS_H_
#define SLUICE_BENCH_SUPPORT_CHILD_PROCESS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice::bench {

struct ChildResult {
  int exit_code = -1;  // -1 where a signal ended it
  int signal = 0;
  std::string output;  // of stdout; at most 64 MiB are kept
  std::string errors;  // the end of stderr
  uint64_t peak_rss_bytes = 0;

  bool ok() const { return signal == 0 && exit_code == 0; }
  // "killed by signal 9", "exit status 1: <last two lines of stderr>"
  std::string What() const;
};

struct ChildOptions {
  std::string cgroup_procs_path;  // joined before the program starts; empty: none
  bool show_errors = false;       // let stderr through, for progress bars
};

// argv[0] is looked for in PATH unless it has a slash. The child dies with this process. Single
// threaded callers only. A failure to start is an exit status of 126 or 127, as with a shell.
// kCancelled where the process was interrupted (InterruptScope).
absl::StatusOr<ChildResult> RunChild(const std::vector<std::string>& argv,
                                     const ChildOptions& options);

// While it lives, SIGINT, SIGTERM and SIGHUP end the running child and make every later RunChild()
// return kCancelled, so that the caller comes back up and cleans after itself. One at a time.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  static bool interrupted();
};

// Empties the page cache of clean pages: all of it as root, else of `files`. Returns what was
// done, for the report.
std::string DropPageCache(const std::vector<std::string>& files);

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_SUPPORT_CHILD_PROCESS_H_
