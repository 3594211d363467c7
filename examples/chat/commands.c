/* Lines that begin with '/'. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"

static const char kHelp[] =
    "A line is text that the model goes on from; an empty line lets it go on where it stopped.\n"
    "  /save FILE   the conversation into a file\n"
    "  /load FILE   one from a file in place of this one; it must be of the same model\n"
    "  /rewind [N]  takes the last N turns (1) back: your lines and the answers to them\n"
    "  /reset       forgets the whole conversation\n"
    "  /stats       what the last answer took, and the memory plan\n"
    "  /help        this\n"
    "  /quit        leaves, as Ctrl-D does\n"
    "A line that should begin with '/' begins with '//'.\n"
    "Ctrl-C stops an answer; at the prompt it clears the line, twice within two seconds leaves.\n"
    "What is typed while an answer comes is dropped.\n";

/* How many of the tokens are those that the tokenizer puts in front of a text. */
static size_t special_tokens(const struct chat* chat, const int32_t* tokens, size_t count) {
  int32_t special[16];
  size_t num_special = 0, i = 0;
  if (sluice_model_tokenize(chat->model, "", 0, 1, special, 16, &num_special) != SLUICE_OK) {
    return 0;
  }
  while (i < num_special && i < count && special[i] == tokens[i]) ++i;
  return i;
}

/* The end of the conversation, so that one who comes back to it sees where it stands.
 *   ending  behind it */
static void show_tail(struct chat* chat, const char* ending) {
  enum { kTailTokens = 40 };
  const uint32_t position = sluice_session_position(chat->session);
  int32_t* const tokens = malloc(((size_t)position + 1) * sizeof *tokens);
  char text[4096];
  size_t count = 0, first = 0, bytes = 0, start = 0;
  if (tokens != NULL && position > 0 &&
      sluice_session_tokens_copy(chat->session, tokens, position, &count) == SLUICE_OK) {
    first = count > kTailTokens ? count - kTailTokens : special_tokens(chat, tokens, count);
  }
  if (count > first && sluice_model_detokenize(chat->model, tokens + first, count - first, text,
                                               sizeof text, &bytes) == SLUICE_OK) {
    /* The first token may begin inside a character. */
    while (start < bytes && ((unsigned char)text[start] & 0xc0) == 0x80) ++start;
    terminal_print(&chat->terminal, "%s", count > kTailTokens ? "... " : "");
    terminal_text(&chat->terminal, text + start, bytes - start);
    terminal_print(&chat->terminal, "%s\n", ending);
  }
  free(tokens);
}

/* A command's file; NULL if there is none, and that was said. */
static const char* file_of(struct chat* chat, const char* command, const char* argument) {
  if (*argument != '\0') return argument;
  chat_complain(chat, "%s needs a file name", command);
  return NULL;
}

static void save(struct chat* chat, const char* argument) {
  const char* const path = file_of(chat, "/save", argument);
  if (path == NULL) return;
  if (sluice_session_save(chat->session, path) != SLUICE_OK) {
    chat_complain(chat, "not saved: %s", sluice_last_error_message());
    return;
  }
  terminal_print(&chat->terminal, "saved: %u of %u tokens\n", chat_used(chat),
                 chat->context_tokens);
}

static void load(struct chat* chat, const char* argument) {
  const char* const path = file_of(chat, "/load", argument);
  if (path == NULL) return;
  if (sluice_session_load(chat->session, path) != SLUICE_OK) {
    chat_complain(chat, "not loaded: %s", sluice_last_error_message());
    return;
  }
  chat->num_turns = 0;
  /* The file has the token that was chosen last, if any: only the next answer shows it. */
  chat->pending = sluice_session_position(chat->session) > 0;
  terminal_print(&chat->terminal, "loaded: %u of %u tokens\n", chat_used(chat),
                 chat->context_tokens);
  show_tail(chat, " ...");
}

static void rewind_turns(struct chat* chat, const char* argument) {
  char* end = NULL;
  const unsigned long turns = *argument == '\0' ? 1 : strtoul(argument, &end, 10);
  if ((end != NULL && *end != '\0') || *argument == '-' || turns == 0) {
    chat_complain(chat, "/rewind takes a number of turns, at least 1, not '%s'", argument);
    return;
  }
  if (turns > chat->num_turns) {
    chat_complain(chat, "turns to take back here: %zu; /reset forgets all",
                  chat->num_turns);
    return;
  }
  if (sluice_session_rewind(chat->session, chat->turn_positions[chat->num_turns - turns]) !=
      SLUICE_OK) {
    chat_complain(chat, "%s", sluice_last_error_message());
    return;
  }
  chat->num_turns -= turns;
  chat->pending = 0;
  terminal_print(&chat->terminal, "back at %u of %u tokens\n", chat_used(chat),
                 chat->context_tokens);
  show_tail(chat, "");
}

static void reset(struct chat* chat) {
  if (sluice_session_reset(chat->session) != SLUICE_OK) {
    chat_complain(chat, "%s", sluice_last_error_message());
    return;
  }
  chat->num_turns = 0;
  chat->pending = 0;
  terminal_print(&chat->terminal, "all forgotten\n");
}

static void show_plan(struct chat* chat) {
  sluice_memory_plan plan;
  memset(&plan, 0, sizeof plan);
  plan.struct_size = sizeof plan;
  if (sluice_model_plan_copy(chat->model, &plan) != SLUICE_OK) return;
  terminal_print(&chat->terminal, "memory plan   %.1f MB: %.1f weights, %.1f predictors,\n",
                 (double)plan.budget_bytes / 1e6, (double)plan.resident_bytes / 1e6,
                 (double)plan.predictor_bytes / 1e6);
  terminal_print(&chat->terminal, "              %.1f KV cache, %.1f neuron slots, %.1f others\n",
                 (double)plan.kv_bytes / 1e6, (double)plan.slot_bytes / 1e6,
                 (double)(plan.scratch_bytes + plan.io_bytes) / 1e6);
}

static void show_stats(struct chat* chat) {
  const sluice_stats* const stats = &chat->figures.stats;
  terminal_print(&chat->terminal, "conversation  %u of %u tokens, turns: %zu\n", chat_used(chat),
                 chat->context_tokens, chat->num_turns);
  show_plan(chat);
  if (!chat->figures.has_stats) return;
  terminal_print(&chat->terminal,
                 "last answer   %.2f ms per token: %.2f reads, %.2f window, "
                 "%.2f compute\n",
                 stats->total_ms_per_token, stats->io_ms_per_token, stats->memory_ms_per_token,
                 stats->compute_ms_per_token);
  terminal_print(&chat->terminal,
                 "from disk     %.2f MB per token in %.1f reads of %.1f kB; %.0f %% hits\n",
                 stats->bytes_per_token / 1e6, stats->reads_per_token,
                 stats->mean_read_bytes / 1e3, 100 * stats->hit_rate);
  terminal_print(&chat->terminal,
                 "neurons       %.2f %% computed, %.2f %% active; window of %.1f tokens\n",
                 100 * stats->predicted_fraction, 100 * stats->active_fraction,
                 stats->window_tokens);
  terminal_print(&chat->terminal, "prompt        %llu tokens in %.1f ms\n",
                 (unsigned long long)stats->prefill_tokens, stats->prefill_ms);
  terminal_print(&chat->terminal, "storage       %s, %s: %s\n", stats->engine,
                 stats->direct_io ? "direct" : "page cache",
                 stats->engine_reason);
}

void chat_command(struct chat* chat, const char* line, size_t bytes) {
  char text[4096];
  char* argument = text;
  if (bytes >= sizeof text || memchr(line, '\0', bytes) != NULL) {
    chat_complain(chat, "there is no such command; /help lists them");
    return;
  }
  memcpy(text, line, bytes);
  text[bytes] = '\0';
  while (bytes > 0 && text[bytes - 1] == ' ') text[--bytes] = '\0';
  argument += strcspn(text, " ");
  if (*argument != '\0') *argument++ = '\0';
  argument += strspn(argument, " ");
  if (strcmp(text, "/save") == 0) {
    save(chat, argument);
  } else if (strcmp(text, "/load") == 0) {
    load(chat, argument);
  } else if (strcmp(text, "/rewind") == 0) {
    rewind_turns(chat, argument);
  } else if (strcmp(text, "/reset") == 0) {
    reset(chat);
  } else if (strcmp(text, "/stats") == 0) {
    show_stats(chat);
  } else if (strcmp(text, "/help") == 0) {
    terminal_print(&chat->terminal, "%s", kHelp);
  } else if (strcmp(text, "/quit") == 0) {
    chat->leave = 1;
  } else {
    chat_complain(chat, "there is no command %s; /help lists them", text);
  }
}
