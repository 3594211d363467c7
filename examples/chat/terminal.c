/* TIOCGWINSZ is not in POSIX of 2008. */
#define _DEFAULT_SOURCE 1
#define _DARWIN_C_SOURCE 1
#include "terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Fewer are not worth a row of statistics. */
enum { kRowsMin = 4, kColumnsMin = 20 };

#define SAVE_CURSOR "\0337"
#define RESTORE_CURSOR "\0338"

static void write_all(struct terminal* terminal, const char* bytes, size_t count) {
  while (count > 0 && !terminal->failed) {
    const ssize_t written = write(STDOUT_FILENO, bytes, count);
    if (written >= 0) {
      bytes += written;
      count -= (size_t)written;
    } else if (errno != EINTR) {
      terminal->failed = 1;
    }
  }
}

static void write_sequence(struct terminal* terminal, const char* sequence) {
  write_all(terminal, sequence, strlen(sequence));
}

static void look_at_size(struct terminal* terminal) {
  struct winsize size;
  terminal->rows = terminal->columns = 0;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
    terminal->rows = size.ws_row;
    terminal->columns = size.ws_col;
  }
}

void terminal_open(struct terminal* terminal) {
  const char* const name = getenv("TERM");
  memset(terminal, 0, sizeof *terminal);
  terminal->input = isatty(STDIN_FILENO);
  terminal->output = isatty(STDOUT_FILENO);
  terminal->ansi =
      terminal->output && name != NULL && *name != '\0' && strcmp(name, "dumb") != 0;
}

/* Takes the bottom row off the part that scrolls. The cursor first leaves that row: down a line,
 * which scrolls where it must, and up again, in the same column. (After a change of size the text
 * may end in the very last column; the next character then takes its last one's place.) */
static void reserve_row(struct terminal* terminal) {
  char sequence[80];
  look_at_size(terminal);
  if (!terminal->ansi || terminal->rows < kRowsMin || terminal->columns < kColumnsMin) return;
  snprintf(sequence, sizeof sequence, "\033D\033[A" SAVE_CURSOR "\033[1;%dr" RESTORE_CURSOR,
           terminal->rows - 1);
  write_sequence(terminal, sequence);
  terminal->reserved = 1;
}

/* Gives it back, and clears all below the text: that is where the statistics are, wherever a
 * change of size has moved both. */
static void release_row(struct terminal* terminal) {
  if (!terminal->reserved) return;
  write_sequence(terminal, SAVE_CURSOR "\033[r" RESTORE_CURSOR "\033D\033[A" SAVE_CURSOR
                                       "\033[B\r\033[J" RESTORE_CURSOR);
  terminal->reserved = 0;
}

void terminal_begin_answer(struct terminal* terminal) {
  if (terminal->input && terminal->output && tcgetattr(STDIN_FILENO, &terminal->saved) == 0) {
    struct termios quiet = terminal->saved;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    terminal->quiet = tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet) == 0;
  }
  reserve_row(terminal);
}

void terminal_end_answer(struct terminal* terminal, int drop_keys) {
  release_row(terminal);
  if (!terminal->quiet) return;
  tcsetattr(STDIN_FILENO, drop_keys ? TCSAFLUSH : TCSADRAIN, &terminal->saved);
  terminal->quiet = 0;
}

/* How many bytes at `text` a terminal would take for a command: a control character of one byte,
 * or one of U+0080 to U+009F, which have two. 0: none. */
static size_t control_bytes(const unsigned char* text, size_t bytes) {
  if (text[0] == '\n' || text[0] == '\t') return 0;
  if (text[0] < 0x20 || text[0] == 0x7f) return 1;
  return bytes > 1 && text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0 ? 2 : 0;
}

void terminal_text(struct terminal* terminal, const char* text, size_t bytes) {
  size_t start = 0, at = 0;
  if (bytes == 0) return;
  while (terminal->output && at < bytes) {
    const size_t control = control_bytes((const unsigned char*)text + at, bytes - at);
    if (control == 0) {
      ++at;
      continue;
    }
    write_all(terminal, text + start, at - start);
    if (text[at] != '\r') write_all(terminal, "?", 1);
    at += control;
    start = at;
  }
  write_all(terminal, text + start, bytes - start);
  terminal->mid_line = text[bytes - 1] != '\n';
}

void terminal_print(struct terminal* terminal, const char* format, ...) {
  char text[2048];
  int bytes = 0;
  va_list values;
  va_start(values, format);
  bytes = vsnprintf(text, sizeof text, format, values);
  va_end(values);
  if (bytes < 0) return;
  if ((size_t)bytes >= sizeof text) bytes = (int)sizeof text - 1;
  terminal_text(terminal, text, (size_t)bytes);
}

void terminal_fresh_line(struct terminal* terminal) {
  if (terminal->mid_line) terminal_text(terminal, "\n", 1);
}

void terminal_status(struct terminal* terminal, const char* line) {
  char text[256];
  if (!terminal->reserved) return;
  /* Dim; the last column stays free, since writing there makes some terminals wrap. */
  snprintf(text, sizeof text, SAVE_CURSOR "\033[%d;1H\033[2K\033[2m%.*s\033[0m" RESTORE_CURSOR,
           terminal->rows, terminal->columns < 200 ? terminal->columns - 1 : 199, line);
  write_sequence(terminal, text);
}

void terminal_resized(struct terminal* terminal) {
  if (!terminal->reserved) return;
  release_row(terminal);
  reserve_row(terminal);
}
