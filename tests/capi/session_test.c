/* Prefill, decode, generate, statistics. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { kVocab = 4096 };
static const int32_t kPrompt[] = {2, 100, 200, 300, 400};

static int32_t count_progress(uint32_t done, uint32_t total, void* user_data) {
  CHECK(done <= total && total == 5);
  ++*(int*)user_data;
  return 0;
}

static int32_t stop_progress(uint32_t done, uint32_t total, void* user_data) {
  (void)done;
  (void)total;
  (void)user_data;
  return 1;
}

/* The same logits whether tokens are fed together or one by one. */
static void test_feeding(sluice_session* session) {
  static float together[kVocab], single[kVocab];
  int calls = 0;
  CHECK_STATUS(sluice_session_prefill(session, kPrompt, 5, together, count_progress, &calls),
               SLUICE_OK);
  CHECK(calls > 0 && sluice_session_position(session) == 5);
  CHECK(isfinite(together[0]) && isfinite(together[kVocab - 1]));
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  CHECK(sluice_session_position(session) == 0);
  CHECK_STATUS(sluice_session_prefill(session, kPrompt, 4, NULL, NULL, NULL), SLUICE_OK);
  CHECK_STATUS(sluice_session_decode(session, kPrompt[4], single), SLUICE_OK);
  CHECK(memcmp(together, single, sizeof single) == 0);
  CHECK_STATUS(sluice_session_decode(session, 7, NULL), SLUICE_OK);
  CHECK(sluice_session_position(session) == 6);
}

static void test_statistics(sluice_session* session) {
  sluice_stats stats;
  stats.struct_size = sizeof stats;
  CHECK_STATUS(sluice_session_stats_copy(session, &stats), SLUICE_OK);
  CHECK(stats.struct_size == sizeof stats);
  CHECK(stats.tokens == 2 && stats.prefill_tokens == 9 && stats.total_ms_per_token > 0);
  CHECK(stats.engine[0] != '\0' && stats.peak_rss_bytes > 0);
  CHECK_STATUS(sluice_session_stats_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_stats_copy(session, &stats), SLUICE_OK);
  CHECK(stats.tokens == 0 && stats.prefill_tokens == 0);
  stats.struct_size = 8;
  CHECK_STATUS(sluice_session_stats_copy(session, &stats), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_stats_copy(session, NULL), SLUICE_INVALID_ARGUMENT);
}

/* After each of these the position is what it was. */
static void test_refused(sluice_session* session) {
  int32_t tokens[300] = {0};
  const uint32_t position = sluice_session_position(session);
  CHECK_STATUS(sluice_session_prefill(session, tokens, 0, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_prefill(session, NULL, 3, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_prefill(session, tokens, SIZE_MAX, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_prefill(session, tokens, 300, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT); /* a context of 256 */
  tokens[1] = kVocab;
  CHECK_STATUS(sluice_session_prefill(session, tokens, 2, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_decode(session, -1, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_prefill(session, kPrompt, 5, NULL, stop_progress, NULL),
               SLUICE_CANCELLED);
  CHECK(sluice_session_position(session) == position);
}

void test_session(const char* path) {
  sluice_model* model = open_model(path, 1);
  sluice_session* session = create_session(model);
  sluice_session* second = session;
  CHECK_STATUS(sluice_session_create(model, &second), SLUICE_BAD_STATE); /* room for one */
  CHECK(second == NULL);
  sluice_model_close(model); /* the session keeps what it needs */
  test_feeding(session);
  test_statistics(session);
  test_refused(session);
  sluice_session_close(session);
}

struct collected {
  char text[2000];
  size_t bytes;
  int calls;
  int stop_at; /* nonzero: ask to stop at this call */
};

static int32_t collect(int32_t token, const char* text, size_t text_bytes, void* user_data) {
  struct collected* c = user_data;
  CHECK(token >= -1 && token < kVocab && text[text_bytes] == '\0');
  if (c->bytes + text_bytes < sizeof c->text) {
    memcpy(c->text + c->bytes, text, text_bytes + 1);
    c->bytes += text_bytes;
  }
  return ++c->calls == c->stop_at;
}

static void test_stops(sluice_session* session, const char* prompt) {
  const char* stops[] = {"no such text", " the"};
  struct collected c = {"", 0, 0, 0};
  sluice_generate_options options;
  int32_t reason = 77;
  sluice_generate_options_init(&options, sizeof options);
  options.max_tokens = 40;
  options.stop = stops;
  options.stop_count = 2;
  CHECK_STATUS(sluice_session_generate(session, prompt, strlen(prompt), &options, &reason,
                                       collect, &c), SLUICE_OK);
  CHECK(reason == SLUICE_FINISH_STOP && strstr(c.text, " the") == NULL);
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);

  c.bytes = 0;
  c.calls = 0;
  c.stop_at = 3;
  options.stop_count = 0;
  CHECK_STATUS(sluice_session_generate(session, prompt, strlen(prompt), &options, &reason,
                                       collect, &c), SLUICE_OK);
  CHECK(reason == SLUICE_FINISH_CANCELLED && c.calls >= 3 && c.calls <= 4);
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);

  reason = 77;
  options.max_tokens = 1000; /* more than the context holds */
  CHECK_STATUS(sluice_session_generate(session, prompt, strlen(prompt), &options, &reason, NULL,
                                       NULL), SLUICE_INVALID_ARGUMENT);
  CHECK(reason == 77 && sluice_session_position(session) == 0);
  CHECK_STATUS(sluice_session_generate(session, NULL, 5, NULL, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
}

struct watched {
  sluice_session* session;
  uint64_t tokens; /* decoded, as of the last callback */
  int calls;
};

static int32_t watch(int32_t token, const char* text, size_t text_bytes, void* user_data) {
  struct watched* w = user_data;
  sluice_stats stats;
  (void)token;
  (void)text;
  (void)text_bytes;
  stats.struct_size = sizeof stats;
  CHECK_STATUS(sluice_session_stats_copy(w->session, &stats), SLUICE_OK);
  CHECK(stats.tokens >= w->tokens && stats.tokens <= w->tokens + 1);
  CHECK((stats.total_ms_per_token > 0) == (stats.tokens > 0));
  CHECK_STATUS(sluice_session_stats_reset(w->session), SLUICE_BAD_STATE);
  w->tokens = stats.tokens;
  ++w->calls;
  return 0;
}

/* A callback sees the statistics of the call that it is part of. */
static void test_stats_within(sluice_session* session) {
  struct watched w = {session, 0, 0};
  sluice_generate_options options;
  sluice_generate_options_init(&options, sizeof options);
  options.max_tokens = 5;
  options.ignore_eos = 1;
  CHECK_STATUS(sluice_session_stats_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_generate(session, "The", 3, &options, NULL, watch, &w), SLUICE_OK);
  CHECK(w.calls >= 5 && w.tokens == 4);
}

void test_generate(const char* path) {
  static const char prompt[] = "The old woman opened the door and";
  struct collected first = {"", 0, 0, 0}, again = {"", 0, 0, 0};
  sluice_model* model = open_model(path, 1);
  sluice_session* session = create_session(model);
  sluice_generate_options options;
  int32_t reason = 77;
  sluice_generate_options_init(&options, sizeof options);
  options.max_tokens = 12;
  options.ignore_eos = 1;
  options.temperature = 0.8f;
  options.top_k = 40;
  options.top_p = 0.9f;
  options.min_p = 0.01f;
  options.repetition_penalty = 1.1f;
  options.seed = 3;
  CHECK_STATUS(sluice_session_generate(session, prompt, strlen(prompt), &options, &reason,
                                       collect, &first), SLUICE_OK);
  CHECK(reason == SLUICE_FINISH_LENGTH && first.calls >= 12 && first.bytes > 0);
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_generate(session, prompt, strlen(prompt), &options, NULL, collect,
                                       &again), SLUICE_OK);
  CHECK(strcmp(first.text, again.text) == 0); /* the same seed, the same text */
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  test_stops(session, prompt);
  test_stats_within(session);
  sluice_session_close(session);
  sluice_model_close(model);
}
