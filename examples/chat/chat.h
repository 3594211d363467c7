/* A conversation with a model: what the program's parts share. */
#ifndef CHAT_CHAT_H_
#define CHAT_CHAT_H_

#include <sluice.h>
#include <stddef.h>
#include <stdint.h>

#include "answer.h"
#include "arguments.h"
#include "input.h"
#include "stats_line.h"
#include "terminal.h"

struct chat {
  struct arguments arguments;
  sluice_model* model;
  sluice_session* session;
  struct terminal terminal;
  struct input input;
  struct stream stream;
  struct figures figures;   /* of the last answer */
  uint32_t context_tokens;
  uint64_t answers;         /* since the program began: each draws anew, also after /rewind */
  int pending;              /* 1: the last token of the answer is not at a position yet, but will be
                             * with the next line */
  uint32_t* turn_positions; /* where /rewind goes: a position before each turn */
  size_t num_turns, turn_capacity;
  int leave;                /* /quit, a signal, or nobody reads any more */
  int fatal_signal;         /* the signal, or 0 */
  int failed;               /* a turn or a command did not do what it says */
};

/* One line about what went wrong: on a terminal among the rest, elsewhere on stderr. */
void chat_complain(struct chat* chat, const char* format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* Tokens that the conversation has now. */
uint32_t chat_used(const struct chat* chat);

/* Lets the model go on from `line`, and shows its answer. */
void chat_turn(struct chat* chat, const char* line, size_t bytes);

/* Does what a line that begins with '/' says. */
void chat_command(struct chat* chat, const char* line, size_t bytes);

#endif /* CHAT_CHAT_H_ */
