#include "input.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kReadBytes = 4096 };

/* A whole line in the buffer, or what is left at the end. */
static int take_line(struct input* input, const char** line, size_t* bytes) {
  const char* newline = NULL;
  if (input->taken > 0) {
    input->used -= input->taken;
    memmove(input->buffer, input->buffer + input->taken, input->used);
    input->taken = 0;
  }
  if (input->used == 0) return 0;
  newline = memchr(input->buffer, '\n', input->used);
  if (newline == NULL && !input->ended) return 0;
  *line = input->buffer;
  *bytes = newline != NULL ? (size_t)(newline - input->buffer) : input->used;
  input->taken = *bytes + (newline != NULL);
  return 1;
}

/* Reads what there is; 0 without memory for it. */
static int read_some(struct input* input) {
  ssize_t count = 0;
  if (input->capacity - input->used < kReadBytes) {
    const size_t capacity = input->capacity * 2 + kReadBytes;
    char* const larger = realloc(input->buffer, capacity);
    if (larger == NULL) return 0;
    input->buffer = larger;
    input->capacity = capacity;
  }
  count = read(STDIN_FILENO, input->buffer + input->used, input->capacity - input->used);
  if (count > 0) {
    input->used += (size_t)count;
  } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
    input->ended = 1;
  }
  return 1;
}

enum input_event input_wait(struct input* input, const char** line, size_t* bytes) {
  for (;;) {
    struct pollfd sources[2] = {{STDIN_FILENO, POLLIN, 0}, {input->signals, POLLIN, 0}};
    if (take_line(input, line, bytes)) {
      if (!input->dropping) return INPUT_LINE;
      input->dropping = 0;
      return INPUT_TOO_LONG;
    }
    if (input->ended) return INPUT_END;
    if (input->used > kLineBytesMax) {
      input->dropping = 1;
      input->used = 0;
    }
    if (poll(sources, 2, -1) < 0) continue;
    if (sources[1].revents != 0) return INPUT_SIGNAL;
    if (sources[0].revents != 0 && !read_some(input)) return INPUT_END;
  }
}

void input_clear(struct input* input) { input->used = input->taken = 0; }

void input_free(struct input* input) {
  free(input->buffer);
  memset(input, 0, sizeof *input);
}
