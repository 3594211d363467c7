/* What is written to stdout, and the state of the terminal there. Answers go through it as they
 * come; while one does, a terminal's bottom row belongs to the statistics: the text scrolls above
 * it. Elsewhere all is plain. */
#ifndef CHAT_TERMINAL_H_
#define CHAT_TERMINAL_H_

#include <stddef.h>
#include <termios.h>

struct terminal {
  int input;    /* stdin is a terminal */
  int output;   /* stdout is one, */
  int ansi;     /* and it understands ANSI sequences */
  int rows, columns;
  int reserved; /* the bottom row is taken off the text */
  int quiet;    /* keys are not shown; `saved` says how it was before */
  int failed;   /* nobody reads stdout any more */
  int mid_line; /* the last byte was no newline */
  struct termios saved;
};

void terminal_open(struct terminal* terminal);

/* Between these two the bottom row is reserved and keys are not shown. `drop_keys` forgets those
 * that were pressed meanwhile. Both are for the beginning of a line. */
void terminal_begin_answer(struct terminal* terminal);
void terminal_end_answer(struct terminal* terminal, int drop_keys);

/* Writes text of a model: whole UTF-8. A terminal gets no control characters but newline and tab;
 * elsewhere the bytes are what they are. */
void terminal_text(struct terminal* terminal, const char* text, size_t bytes);

/* Writes text of the program's own, as printf() does. */
void terminal_print(struct terminal* terminal, const char* format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* To the beginning of a line, with a newline if it takes one. */
void terminal_fresh_line(struct terminal* terminal);

/* Shows `line`, which is ASCII, in the reserved row, cut to its width. Nothing without one. */
void terminal_status(struct terminal* terminal, const char* line);

/* After a change of size: finds the bottom row anew. */
void terminal_resized(struct terminal* terminal);

#endif /* CHAT_TERMINAL_H_ */
