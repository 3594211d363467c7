#include "bench/support/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace sluice::bench {
namespace {

constexpr size_t kMaxOutputBytes = size_t{64} << 20;
constexpr size_t kMaxErrorBytes = size_t{64} << 10;
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

std::atomic<pid_t> g_child{0};
std::atomic<bool> g_interrupted{false};
struct sigaction g_previous[std::size(kSignals)];

void OnSignal(int) {
  g_interrupted.store(true);
  const pid_t child = g_child.load();
  if (child > 0) kill(-child, SIGKILL);
}

void Complain(const char* what, const char* about) {
  const char* words[] = {what, " ", about, ": ", std::strerror(errno), "\n"};
  for (const char* word : words) {
    if (write(STDERR_FILENO, word, std::strlen(word)) < 0) return;
  }
}

// Between fork and exec: system calls alone.
[[noreturn]] void BecomeProgram(char* const* argv, const char* procs_path, pid_t parent,
                                const int out[2], const int* err) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(126);  // it went before we asked
  dup2(out[1], STDOUT_FILENO);
  if (err != nullptr) dup2(err[1], STDERR_FILENO);
  if (*procs_path != '\0') {
    const int fd = open(procs_path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) {
      Complain("cannot join", procs_path);
      _exit(126);
    }
  }
  for (int number : kSignals) signal(number, SIG_DFL);
  execvp(argv[0], argv);
  Complain("cannot run", argv[0]);
  _exit(127);
}

// Reads what there is; false at the end.
bool Drain(int fd, std::string* text) {
  char buffer[16384];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got < 0) return errno == EINTR;
  text->append(buffer, static_cast<size_t>(got));
  return got > 0;
}

void ReadBoth(int out, int err, ChildResult* result) {
  pollfd fds[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};  // poll ignores a negative one
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (fds[0].revents != 0 && !Drain(out, &result->output)) fds[0].fd = -1;
    if (fds[1].revents != 0 && !Drain(err, &result->errors)) fds[1].fd = -1;
    result->output.resize(std::min(result->output.size(), kMaxOutputBytes));
    if (result->errors.size() > 2 * kMaxErrorBytes) {
      result->errors.erase(0, result->errors.size() - kMaxErrorBytes);
    }
  }
}

void Wait(pid_t child, ChildResult* result) {
  int status = 0;
  rusage usage{};
  while (wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  result->peak_rss_bytes = static_cast<uint64_t>(usage.ru_maxrss) << 10;
  if (WIFSIGNALED(status)) {
    result->signal = WTERMSIG(status);
  } else {
    result->exit_code = WEXITSTATUS(status);
  }
}

}  // namespace

std::string ChildResult::What() const {
  if (signal != 0) return absl::StrCat("killed by signal ", signal);
  // The last two lines: many programs end in advice, or in the line of a stack.
  std::vector<std::string> lines =
      absl::StrSplit(errors, absl::ByAnyChar("\r\n"), absl::SkipWhitespace());
  if (lines.size() > 2) lines.erase(lines.begin(), lines.end() - 2);
  return absl::StrCat("exit status ", exit_code, ": ", absl::StrJoin(lines, " / "));
}

absl::StatusOr<ChildResult> RunChild(const std::vector<std::string>& argv,
                                     const ChildOptions& options) {
  if (g_interrupted.load()) return absl::CancelledError("interrupted");
  std::vector<char*> arguments;
  for (const std::string& word : argv) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  int out[2], err[2] = {-1, -1};
  if (pipe2(out, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe");
  if (!options.show_errors && pipe2(err, O_CLOEXEC) != 0) {
    const int error = errno;
    close(out[0]);
    close(out[1]);
    return absl::ErrnoToStatus(error, "cannot make a pipe");
  }
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    BecomeProgram(arguments.data(), options.cgroup_procs_path.c_str(), parent, out,
                  options.show_errors ? nullptr : err);
  }
  const int fork_error = errno;
  // A group of its own: what it starts in turn is ended with it. Set on both sides, so that it is
  // there whoever runs first.
  if (child > 0) setpgid(child, child);
  g_child.store(std::max(child, 0));
  if (g_interrupted.load() && child > 0) kill(-child, SIGKILL);  // it came in between
  close(out[1]);
  if (err[1] >= 0) close(err[1]);
  ChildResult result;
  if (child > 0) {
    ReadBoth(out[0], err[0], &result);
    Wait(child, &result);
  }
  g_child.store(0);
  close(out[0]);
  if (err[0] >= 0) close(err[0]);
  if (child < 0) return absl::ErrnoToStatus(fork_error, "cannot start a process");
  if (g_interrupted.load()) return absl::CancelledError("interrupted");
  return result;
}

InterruptScope::InterruptScope() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &action, &g_previous[i]);
}

InterruptScope::~InterruptScope() {
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &g_previous[i], nullptr);
}

bool InterruptScope::interrupted() { return g_interrupted.load(); }

std::string DropPageCache(const std::vector<std::string>& files) {
  sync();  // only clean pages can go
  const int all = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
  if (all >= 0) {
    const bool dropped = write(all, "3", 1) == 1;
    close(all);
    if (dropped) return "dropped (/proc/sys/vm/drop_caches)";
  }
  bool complete = true;
  for (const std::string& file : files) {
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    complete = complete && fd >= 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
    if (fd >= 0) close(fd);
  }
  return complete ? "dropped for the model files (posix_fadvise)" : "not dropped";
}

}  // namespace sluice::bench
