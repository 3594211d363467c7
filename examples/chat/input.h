/* Lines from stdin. At a terminal its own line editing is at work; a line there may have as many
 * bytes as the system allows (4095 on Linux), elsewhere kLineBytesMax. */
#ifndef CHAT_INPUT_H_
#define CHAT_INPUT_H_

#include <stddef.h>

enum { kLineBytesMax = 1 << 20 };

enum input_event {
  INPUT_LINE,
  INPUT_TOO_LONG, /* a line that was dropped */
  INPUT_SIGNAL,   /* signals_take() has one */
  INPUT_END
};

struct input {
  int signals; /* the descriptor of signals_open() */
  char* buffer;
  size_t capacity;
  size_t used;  /* bytes in the buffer, */
  size_t taken; /* of which the first so many were the last line */
  int ended;    /* stdin has no more */
  int dropping; /* until the next newline */
};

/* Waits for the next event.
 *   line, bytes  out, with INPUT_LINE: without its newline, valid until the next call */
enum input_event input_wait(struct input* input, const char** line, size_t* bytes);

/* Forgets what has come in of the line being typed. */
void input_clear(struct input* input);

void input_free(struct input* input);

#endif /* CHAT_INPUT_H_ */
