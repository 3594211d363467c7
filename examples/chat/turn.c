/* A line of the user's and the model's answer to it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"

/* With a temperature, tokens are drawn from so many: the rarer ones are mostly noise. */
enum { kTopK = 40 };

void chat_complain(struct chat* chat, const char* format, ...) {
  char text[1024];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  chat->failed = 1;
  if (chat->terminal.output) {
    terminal_fresh_line(&chat->terminal);
    terminal_print(&chat->terminal, "%s\n", text);
  } else {
    fprintf(stderr, "chat: %s\n", text);
  }
}

uint32_t chat_used(const struct chat* chat) {
  return sluice_session_position(chat->session) + (chat->pending ? 1 : 0);
}

/* The line as the model gets it: in a conversation it begins a new line, as on the screen. An empty
 * one adds nothing: the answer before goes on. NULL: no memory. */
static char* make_prompt(const struct chat* chat, const char* line, size_t bytes,
                         size_t* prompt_bytes) {
  char* const prompt = malloc(bytes + 2);
  size_t at = 0;
  if (prompt == NULL) return NULL;
  if (bytes > 0 && chat_used(chat) > 0) prompt[at++] = '\n';
  if (bytes > 0) memcpy(prompt + at, line, bytes);
  prompt[at + bytes] = '\0';
  *prompt_bytes = at + bytes;
  return prompt;
}

static int remember_turn(struct chat* chat, uint32_t position) {
  if (chat->num_turns == chat->turn_capacity) {
    const size_t capacity = chat->turn_capacity * 2 + 16;
    uint32_t* const larger = realloc(chat->turn_positions, capacity * sizeof *larger);
    if (larger == NULL) return 0;
    chat->turn_positions = larger;
    chat->turn_capacity = capacity;
  }
  chat->turn_positions[chat->num_turns++] = position;
  return 1;
}

/* How many tokens the answer may have, 0 if the prompt leaves no room (and that was said).
 *   prompt_tokens  out */
static uint32_t room_for_answer(struct chat* chat, const char* prompt, size_t prompt_bytes,
                                size_t* prompt_tokens) {
  const uint32_t used = chat_used(chat);
  const uint32_t free_tokens = used < chat->context_tokens ? chat->context_tokens - used : 0;
  uint64_t room = 0;
  /* Counting needs no room for the ids: too little is what it says then, with the number. */
  const sluice_status status = sluice_model_tokenize(chat->model, prompt, prompt_bytes, used == 0,
                                                     NULL, 0, prompt_tokens);
  if (status != SLUICE_OK && status != SLUICE_INVALID_ARGUMENT) {
    chat_complain(chat, "%s", sluice_last_error_message());
    return 0;
  }
  if (*prompt_tokens > free_tokens || free_tokens == 0) {
    chat_complain(chat,
                  "the context is full: this needs %zu tokens, %u of %u are left. /rewind takes "
                  "turns back, /reset forgets all, --context gives more",
                  *prompt_tokens, free_tokens, chat->context_tokens);
    return 0;
  }
  /* The last token of an answer needs no place. */
  room = (uint64_t)free_tokens - *prompt_tokens + 1;
  return room < chat->arguments.max_tokens ? (uint32_t)room : chat->arguments.max_tokens;
}

static void set_options(const struct chat* chat, uint32_t max_tokens,
                        sluice_generate_options* options) {
  sluice_generate_options_init(options, sizeof *options);
  options->max_tokens = max_tokens;
  options->temperature = chat->arguments.temperature;
  if (options->temperature > 0) options->top_k = kTopK;
  options->seed = chat->arguments.seed + chat->answers;
  options->no_special_tokens = chat_used(chat) > 0;
}

static void show_stats(struct chat* chat) {
  char line[200];
  stats_line_format(&chat->figures, line, sizeof line);
  if (chat->terminal.output) {
    terminal_print(&chat->terminal, "[%s]\n", line);
  } else {
    fprintf(stderr, "[%s]\n", line);
  }
}

/* Remembers where the turn began: behind the last token of the answer before, which took its place
 * with the prompt. Whether there was one, the positions say: after /load nothing else does. */
static void remember(struct chat* chat, uint32_t position, size_t prompt_tokens,
                     const struct answer* answer) {
  const uint32_t now = sluice_session_position(chat->session);
  uint32_t start = position + (chat->pending ? 1 : 0);
  if (now == position) return; /* nothing was fed */
  if (answer->status == SLUICE_OK && answer->tokens > 0) {
    /* All but the answer's last token are in. */
    start = now + 1 - answer->tokens - (uint32_t)prompt_tokens;
  }
  chat->pending = answer->status == SLUICE_OK && answer->tokens > 0;
  if (!remember_turn(chat, start)) {
    chat_complain(chat, "no memory to remember this turn for /rewind");
  }
}

/* Says how the answer ended, where that is not as asked. */
static void conclude(struct chat* chat, const struct answer* answer, uint32_t max_tokens) {
  if (answer->fatal_signal != 0) chat->fatal_signal = answer->fatal_signal;
  if (answer->fatal_signal != 0 || chat->terminal.failed) {
    chat->leave = 1;
    return;
  }
  if (answer->status != SLUICE_OK) {
    chat_complain(chat, "%s", answer->message);
    return;
  }
  if (answer->finish_reason == SLUICE_FINISH_CANCELLED && chat->terminal.output) {
    terminal_print(&chat->terminal, "(stopped)\n");
  }
  if (answer->tokens > 0) show_stats(chat);
  if (answer->finish_reason == SLUICE_FINISH_LENGTH && max_tokens < chat->arguments.max_tokens) {
    chat_complain(chat,
                  "the context is full, so the answer ends here. /rewind takes turns back, "
                  "/reset forgets all, --context gives more");
  }
}

void chat_turn(struct chat* chat, const char* line, size_t bytes) {
  const uint32_t position = sluice_session_position(chat->session);
  sluice_generate_options options;
  struct answer answer;
  size_t prompt_bytes = 0, prompt_tokens = 0;
  uint32_t max_tokens = 0;
  char* prompt = NULL;
  if (bytes == 0 && !chat->pending) {
    if (chat->terminal.input) chat_complain(chat, "type some text for the model to go on from");
    return;
  }
  prompt = make_prompt(chat, line, bytes, &prompt_bytes);
  if (prompt == NULL) {
    chat_complain(chat, "no memory for a line of %zu bytes", bytes);
    return;
  }
  max_tokens = room_for_answer(chat, prompt, prompt_bytes, &prompt_tokens);
  if (max_tokens > 0) {
    set_options(chat, max_tokens, &options);
    sluice_session_stats_reset(chat->session);
    memset(&chat->figures, 0, sizeof chat->figures);
    chat->figures.context_tokens = chat->context_tokens;
    chat->figures.context_used = chat_used(chat) + (uint32_t)prompt_tokens;
    answer_run(&chat->stream, &chat->terminal, chat->input.signals, prompt, prompt_bytes,
               &options, &chat->figures, &answer);
    ++chat->answers;
    remember(chat, position, prompt_tokens, &answer);
    conclude(chat, &answer, max_tokens);
  }
  free(prompt);
}
