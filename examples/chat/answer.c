#include "answer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "signals.h"

/* Often enough to look alive, seldom enough to cost nothing. */
static const double kRedrawSeconds = 0.1;

enum message_kind { MESSAGE_TEXT, MESSAGE_STATS, MESSAGE_DONE };

/* Followed in the pipe by `bytes` bytes: text, a sluice_stats, or a struct ending. */
struct message {
  uint32_t kind;
  int32_t token; /* MESSAGE_TEXT: -1 is none */
  uint64_t bytes;
};

struct ending {
  sluice_status status;
  int32_t finish_reason;
  char message[sizeof((struct answer*)0)->message];
};

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int stream_open(struct stream* stream, sluice_session* session) {
  memset(stream, 0, sizeof *stream);
  stream->session = session;
  atomic_init(&stream->stop, 0);
  if (pipe(stream->pipe) != 0) return 0;
  fcntl(stream->pipe[0], F_SETFD, FD_CLOEXEC);
  fcntl(stream->pipe[1], F_SETFD, FD_CLOEXEC);
  return 1;
}

void stream_close(struct stream* stream) {
  close(stream->pipe[0]);
  close(stream->pipe[1]);
}

/* ---- on Sluice's thread -------------------------------------------------------------------- */

static void put(struct stream* stream, const void* data, size_t bytes) {
  const char* at = data;
  while (bytes > 0) {
    const ssize_t written = write(stream->pipe[1], at, bytes);
    if (written < 0 && errno != EINTR) return; /* a pipe with both ends open does not fail */
    if (written < 0) continue;
    at += written;
    bytes -= (size_t)written;
  }
}

static void hand_over(struct stream* stream, enum message_kind kind, int32_t token,
                      const void* data, size_t bytes) {
  struct message message;
  memset(&message, 0, sizeof message);
  message.kind = (uint32_t)kind;
  message.token = token;
  message.bytes = bytes;
  put(stream, &message, sizeof message);
  put(stream, data, bytes);
}

static int32_t on_token(int32_t token, const char* text, size_t text_bytes, void* user_data) {
  struct stream* const stream = user_data;
  hand_over(stream, MESSAGE_TEXT, token, text, text_bytes);
  if (now_s() >= stream->next_stats_s) {
    sluice_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    /* A library that refuses them now gives them when the answer is over. */
    if (sluice_session_stats_copy(stream->session, &stats) == SLUICE_OK) {
      hand_over(stream, MESSAGE_STATS, -1, &stats, sizeof stats);
    }
    stream->next_stats_s = now_s() + kRedrawSeconds;
  }
  return atomic_load(&stream->stop);
}

static void on_done(sluice_status status, const char* message, int32_t finish_reason,
                    void* user_data) {
  struct ending ending;
  memset(&ending, 0, sizeof ending);
  ending.status = status;
  ending.finish_reason = finish_reason;
  snprintf(ending.message, sizeof ending.message, "%s", message != NULL ? message : "");
  hand_over(user_data, MESSAGE_DONE, -1, &ending, sizeof ending);
}

/* ---- on the program's ---------------------------------------------------------------------- */

/* What answer_run() keeps at hand. */
struct run {
  struct stream* stream;
  struct terminal* terminal;
  struct figures* figures;
  struct answer* answer;
  double first_token_s, redraw_s;
  int done;
};

static void get(struct stream* stream, void* data, size_t bytes) {
  char* at = data;
  while (bytes > 0) {
    const ssize_t count = read(stream->pipe[0], at, bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return; /* the writing end is open: this does not happen */
    at += count;
    bytes -= (size_t)count;
  }
}

static void show_text(struct run* run, uint64_t bytes) {
  char text[4096];
  char* const at = text;
  /* A callback's text is whole UTF-8; a long one is passed on in pieces, which the terminal puts
   * together again: they follow each other without anything between. */
  while (bytes > 0) {
    const size_t piece = bytes < sizeof text ? (size_t)bytes : sizeof text;
    get(run->stream, at, piece);
    terminal_text(run->terminal, text, piece);
    bytes -= piece;
  }
}

static void count_token(struct run* run) {
  struct answer* const answer = run->answer;
  const double now = now_s();
  if (answer->tokens == 0) run->first_token_s = now;
  ++answer->tokens;
  ++run->figures->context_used;
  if (answer->tokens > 1 && now > run->first_token_s) {
    run->figures->tokens_per_s = (answer->tokens - 1) / (now - run->first_token_s);
  }
}

static void take_message(struct run* run) {
  struct message message;
  struct ending ending;
  memset(&message, 0, sizeof message);
  get(run->stream, &message, sizeof message);
  switch (message.kind) {
    case MESSAGE_TEXT:
      show_text(run, message.bytes);
      if (message.token >= 0) count_token(run);
      break;
    case MESSAGE_STATS:
      get(run->stream, &run->figures->stats, sizeof run->figures->stats);
      run->figures->has_stats = 1;
      break;
    case MESSAGE_DONE:
      get(run->stream, &ending, sizeof ending);
      run->answer->status = ending.status;
      run->answer->finish_reason = ending.finish_reason;
      memcpy(run->answer->message, ending.message, sizeof ending.message);
      run->done = 1;
      break;
  }
}

static void stop(struct run* run) {
  atomic_store(&run->stream->stop, 1);
  sluice_session_cancel(run->stream->session);
}

static void draw(struct run* run) {
  char line[200];
  stats_line_format(run->figures, line, sizeof line);
  terminal_status(run->terminal, line);
  run->redraw_s = now_s() + kRedrawSeconds;
}

/* Until somebody continues the program; that time is not the model's. */
static void pause_here(struct run* run) {
  const double start_s = now_s();
  terminal_end_answer(run->terminal, 0);
  signals_stop();
  terminal_begin_answer(run->terminal);
  run->first_token_s += now_s() - start_s;
  draw(run);
}

static void take_signals(struct run* run) {
  int number = 0;
  while ((number = signals_take()) != 0) {
    switch (number) {
      case SIGINT:
        run->answer->interrupted = 1;
        stop(run);
        break;
      case SIGTSTP:
        pause_here(run);
        break;
      case SIGHUP:
      case SIGQUIT:
      case SIGTERM:
        run->answer->fatal_signal = number;
        stop(run);
        break;
      default: /* SIGWINCH */
        terminal_resized(run->terminal);
        draw(run);
        break;
    }
  }
}

static void pump(struct run* run, int signals) {
  while (!run->done) {
    struct pollfd sources[2] = {{run->stream->pipe[0], POLLIN, 0}, {signals, POLLIN, 0}};
    const int wait_ms = run->terminal->reserved ? (int)(kRedrawSeconds * 1000) : -1;
    if (poll(sources, 2, wait_ms) < 0) continue;
    if (sources[1].revents != 0) take_signals(run);
    if (sources[0].revents != 0) take_message(run);
    if (run->terminal->failed) stop(run);
    if (now_s() >= run->redraw_s) draw(run);
  }
}

static void start_and_pump(struct run* run, int signals, const char* prompt, size_t prompt_bytes,
                           const sluice_generate_options* options) {
  struct answer* const answer = run->answer;
  run->done = 0;
  answer->status = sluice_session_generate_start(run->stream->session, prompt, prompt_bytes,
                                                 options, on_token, on_done, run->stream);
  if (answer->status == SLUICE_OK) {
    pump(run, signals);
  } else {
    snprintf(answer->message, sizeof answer->message, "%s", sluice_last_error_message());
  }
}

void answer_run(struct stream* stream, struct terminal* terminal, int signals,
                const char* prompt, size_t prompt_bytes, const sluice_generate_options* options,
                struct figures* figures, struct answer* answer) {
  struct run run;
  memset(&run, 0, sizeof run);
  memset(answer, 0, sizeof *answer);
  run.stream = stream;
  run.terminal = terminal;
  run.figures = figures;
  run.answer = answer;
  atomic_store(&stream->stop, 0);
  stream->next_stats_s = 0;
  terminal_begin_answer(terminal);
  draw(&run);
  start_and_pump(&run, signals, prompt, prompt_bytes, options);
  /* A cancel that came when the answer was just over must not meet the next call. */
  if (atomic_load(&stream->stop)) {
    sluice_session_prefill(stream->session, NULL, 0, NULL, NULL, NULL);
  }
  terminal_fresh_line(terminal);
  terminal_end_answer(terminal, 1);
  memset(&figures->stats, 0, sizeof figures->stats);
  figures->stats.struct_size = sizeof figures->stats;
  figures->has_stats = sluice_session_stats_copy(stream->session, &figures->stats) == SLUICE_OK;
}
