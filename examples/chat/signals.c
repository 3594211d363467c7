/* SIGWINCH is not in POSIX of 2008. */
#define _DEFAULT_SOURCE 1
#define _DARWIN_C_SOURCE 1
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static int g_pipe[2] = {-1, -1};

static const int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};

static void note(int number) {
  const int saved = errno;
  const unsigned char byte = (unsigned char)number;
  /* A full pipe holds more signals than anyone needs. */
  if (write(g_pipe[1], &byte, 1) < 0) errno = saved;
  errno = saved;
}

static void handle(int number, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART; /* for the calls of others; poll() is interrupted all the same */
  sigaction(number, &action, NULL);
}

int signals_open(void) {
  size_t i = 0;
  if (pipe(g_pipe) != 0) return -1;
  for (i = 0; i < 2; ++i) {
    fcntl(g_pipe[i], F_SETFL, O_NONBLOCK);
    fcntl(g_pipe[i], F_SETFD, FD_CLOEXEC);
  }
  for (i = 0; i < sizeof kSignals / sizeof kSignals[0]; ++i) handle(kSignals[i], note);
  handle(SIGPIPE, SIG_IGN);
  return g_pipe[0];
}

int signals_take(void) {
  unsigned char byte = 0;
  return read(g_pipe[0], &byte, 1) == 1 ? byte : 0;
}

void signals_stop(void) {
  /* Not SIGSTOP: where no shell could continue the program, SIGTSTP does nothing. */
  handle(SIGTSTP, SIG_DFL);
  raise(SIGTSTP);
  handle(SIGTSTP, note);
}

void signals_die(int number) {
  handle(number, SIG_DFL);
  raise(number);
}
