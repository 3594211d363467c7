/* Talks with a model in a terminal, through the C ABI alone.
 *
 *   chat tales-7m.flash --dram-budget 20M
 *
 * Build it against an installed copy: cc *.c $(pkg-config --cflags --libs sluice) -o chat */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chat.h"
#include "signals.h"

/* Ctrl-C at the prompt twice within so many seconds leaves. */
static const time_t kTwiceSeconds = 2;

static void show_prompt(struct chat* chat) {
  if (chat->terminal.input && chat->terminal.output) terminal_print(&chat->terminal, "> ");
  chat->terminal.mid_line = 0; /* the line's own newline is echoed */
}

/* 0: an error, which sluice_last_error_message() names. */
static int open_chat(struct chat* chat) {
  sluice_model_options options;
  sluice_memory_plan plan;
  sluice_model_options_init(&options, sizeof options);
  options.dram_budget_bytes = chat->arguments.dram_budget_bytes;
  options.context_tokens = chat->arguments.context_tokens;
  memset(&plan, 0, sizeof plan);
  plan.struct_size = sizeof plan;
  if (sluice_model_open(chat->arguments.model_path, &options, &chat->model) != SLUICE_OK ||
      sluice_model_plan_copy(chat->model, &plan) != SLUICE_OK ||
      sluice_session_create(chat->model, &chat->session) != SLUICE_OK) {
    return 0;
  }
  chat->context_tokens = plan.context_tokens;
  return 1;
}

static void greet(struct chat* chat) {
  if (!chat->terminal.input) return;
  terminal_print(&chat->terminal, "%s, %u tokens of context. /help says what there is.\n",
                 chat->arguments.model_path, chat->context_tokens);
}

static void take_signal(struct chat* chat, int number, time_t* last_interrupt) {
  const time_t now = time(NULL);
  switch (number) {
    case SIGINT:
      input_clear(&chat->input);
      if (chat->terminal.output) terminal_print(&chat->terminal, "\n");
      if (now - *last_interrupt <= kTwiceSeconds) {
        chat->leave = 1;
        return;
      }
      *last_interrupt = now;
      if (chat->terminal.input) {
        terminal_print(&chat->terminal, "%s", "(Ctrl-C again or Ctrl-D leaves)\n");
      }
      show_prompt(chat);
      return;
    case SIGTSTP:
      if (chat->terminal.output) terminal_print(&chat->terminal, "\n");
      signals_stop();
      if (chat->terminal.input) input_clear(&chat->input); /* the kernel dropped its half as well */
      show_prompt(chat);
      return;
    case SIGHUP:
    case SIGQUIT:
    case SIGTERM:
      chat->fatal_signal = number;
      chat->leave = 1;
      return;
    default: /* SIGWINCH: the prompt does not mind */
      return;
  }
}

static void take_line(struct chat* chat, const char* line, size_t bytes) {
  if (bytes > 0 && line[0] == '/' && !(bytes > 1 && line[1] == '/')) {
    chat_command(chat, line, bytes);
    return;
  }
  if (bytes > 1 && line[0] == '/') {
    ++line;
    --bytes;
  }
  chat_turn(chat, line, bytes);
}

static void talk(struct chat* chat) {
  time_t last_interrupt = 0;
  const char* line = NULL;
  size_t bytes = 0;
  int number = 0;
  show_prompt(chat);
  while (!chat->leave && !chat->terminal.failed) {
    switch (input_wait(&chat->input, &line, &bytes)) {
      case INPUT_LINE:
        last_interrupt = 0;
        take_line(chat, line, bytes);
        if (!chat->leave) show_prompt(chat);
        break;
      case INPUT_TOO_LONG:
        chat_complain(chat, "a line of more than %d bytes was dropped", (int)kLineBytesMax);
        show_prompt(chat);
        break;
      case INPUT_SIGNAL:
        while (!chat->leave && (number = signals_take()) != 0) {
          take_signal(chat, number, &last_interrupt);
        }
        break;
      case INPUT_END:
        if (chat->terminal.input) terminal_print(&chat->terminal, "\n");
        chat->leave = 1;
        break;
    }
  }
}

static void close_chat(struct chat* chat) {
  sluice_session_close(chat->session);
  sluice_model_close(chat->model);
  input_free(&chat->input);
  free(chat->turn_positions);
}

int main(int argc, char** argv) {
  struct chat chat;
  char error[300];
  memset(&chat, 0, sizeof chat);
  if (!arguments_read(argc, argv, &chat.arguments, error, sizeof error)) {
    fprintf(stderr, "chat: %s; chat --help says more\n", error);
    return 2;
  }
  if (chat.arguments.help) {
    fputs(kUsage, stdout);
    return 0;
  }
  terminal_open(&chat.terminal);
  if (!open_chat(&chat)) {
    fprintf(stderr, "chat: %s\n", sluice_last_error_message());
    close_chat(&chat);
    return 1;
  }
  chat.input.signals = signals_open();
  if (chat.input.signals < 0 || !stream_open(&chat.stream, chat.session)) {
    fprintf(stderr, "chat: no pipe could be had\n");
    close_chat(&chat);
    return 1;
  }
  greet(&chat);
  talk(&chat);
  close_chat(&chat);
  stream_close(&chat.stream);
  if (chat.fatal_signal != 0) signals_die(chat.fatal_signal);
  /* A person has seen what failed; a script reads the status. */
  return chat.failed && !chat.terminal.input ? 1 : chat.terminal.failed;
}
