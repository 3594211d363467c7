/* One answer: generated on a thread of Sluice's, shown as it comes. */
#ifndef CHAT_ANSWER_H_
#define CHAT_ANSWER_H_

#include <sluice.h>
#include <stdatomic.h>

#include "stats_line.h"
#include "terminal.h"

/* What the callbacks need. They run on the other thread and hand everything over through a pipe, so
 * that one thread alone writes to the terminal. It outlives every answer: on_done may still be
 * returning when its message has been read. */
struct stream {
  int pipe[2];
  sluice_session* session;
  atomic_int stop;     /* the next token is one too many */
  double next_stats_s; /* of the callbacks' thread */
};

/* 0: no pipe could be had. */
int stream_open(struct stream* stream, sluice_session* session);
void stream_close(struct stream* stream);

struct answer {
  sluice_status status;
  int32_t finish_reason; /* after SLUICE_OK */
  char message[512];     /* after another status: why */
  uint32_t tokens;       /* generated */
  int interrupted;       /* Ctrl-C was pressed */
  int fatal_signal;      /* this one came, 0: none */
};

/* Goes on from the session's position with `prompt` and shows what comes, until it is over, Ctrl-C
 * is pressed, or nobody reads any more.
 *   figures  context_tokens, and context_used with the prompt in it, are set; out: all of it */
void answer_run(struct stream* stream, struct terminal* terminal, int signals,
                const char* prompt, size_t prompt_bytes, const sluice_generate_options* options,
                struct figures* figures, struct answer* answer);

#endif /* CHAT_ANSWER_H_ */
