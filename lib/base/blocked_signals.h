// Threads inherit the signal mask of whoever starts them: with one of these around, the host's
// handlers stay on the host's own threads.
#ifndef SLUICE_LIB_BASE_BLOCKED_SIGNALS_H_
#define SLUICE_LIB_BASE_BLOCKED_SIGNALS_H_

#ifndef _WIN32
#include <pthread.h>
#include <signal.h>
#endif

namespace sluice {

// Blocks all signals of this thread while it exists.
class BlockedSignals {
 public:
#ifdef _WIN32
  BlockedSignals() = default;
#else
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
#endif
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

#ifndef _WIN32
 private:
  sigset_t before_;
#endif
};

}  // namespace sluice

#endif  // SLUICE_LIB_BASE_BLOCKED_SIGNALS_H_
