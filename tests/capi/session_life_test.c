/* What a session holds and how that is kept; whole prompts; logits and log probabilities. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

enum { kVocab = 4096 };
static const int32_t kTokens[] = {2, 100, 200, 300, 400, 500, 600, 700};

/* The logits after kTokens[from..8), which `session` holds up to `from`. */
static void feed_rest(sluice_session* session, uint32_t from, float* logits) {
  CHECK(sluice_session_position(session) == from);
  CHECK_STATUS(sluice_session_prefill(session, kTokens + from, 8 - from, logits, NULL, NULL),
               SLUICE_OK);
}

static void test_tokens(sluice_session* session) {
  int32_t tokens[8] = {0};
  size_t count = 77;
  sluice_stats stats;
  CHECK_STATUS(sluice_session_tokens_copy(session, NULL, 0, &count), SLUICE_OK);
  CHECK(count == 0);
  CHECK_STATUS(sluice_session_prefill(session, kTokens, 8, NULL, NULL, NULL), SLUICE_OK);
  CHECK_STATUS(sluice_session_tokens_copy(session, NULL, 0, &count), SLUICE_INVALID_ARGUMENT);
  CHECK(count == 8);
  CHECK_STATUS(sluice_session_tokens_copy(session, tokens, 7, &count), SLUICE_INVALID_ARGUMENT);
  CHECK(count == 8 && tokens[0] == 0);
  CHECK_STATUS(sluice_session_tokens_copy(session, tokens, 8, &count), SLUICE_OK);
  CHECK(count == 8 && memcmp(tokens, kTokens, sizeof tokens) == 0);
  CHECK_STATUS(sluice_session_tokens_copy(session, NULL, 8, &count), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_tokens_copy(session, tokens, 8, NULL), SLUICE_INVALID_ARGUMENT);
  stats.struct_size = sizeof stats;
  CHECK_STATUS(sluice_session_stats_copy(session, &stats), SLUICE_OK);
  CHECK(stats.prefill_bytes > 0 && stats.reused_tokens == 0); /* the model's first tokens */
}

static void test_rewind_and_clone(sluice_session* session, const float* whole) {
  static float logits[kVocab];
  sluice_session* clone = NULL;
  sluice_session* none = session;
  sluice_stats stats;
  stats.struct_size = sizeof stats;
  CHECK_STATUS(sluice_session_rewind(session, 9), SLUICE_INVALID_ARGUMENT);
  CHECK(sluice_session_position(session) == 8);
  CHECK_STATUS(sluice_session_rewind(session, 3), SLUICE_OK);
  CHECK_STATUS(sluice_session_clone(session, &clone), SLUICE_OK);
  CHECK_STATUS(sluice_session_clone(session, &none), SLUICE_BAD_STATE); /* room for two */
  CHECK(none == NULL);
  CHECK_STATUS(sluice_session_clone(session, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_stats_copy(clone, &stats), SLUICE_OK);
  CHECK(stats.prefill_tokens == 0);
  feed_rest(session, 3, logits);
  CHECK(memcmp(logits, whole, sizeof logits) == 0);
  memset(logits, 0, sizeof logits);
  feed_rest(clone, 3, logits);
  CHECK(memcmp(logits, whole, sizeof logits) == 0);
  sluice_session_close(clone);
}

static void cut_file(const char* path, size_t bytes) {
  static char content[1 << 20];
  FILE* file = fopen(path, "rb");
  const size_t size = fread(content, 1, sizeof content, file);
  fclose(file);
  CHECK(size > bytes && size < sizeof content);
  file = fopen(path, "wb");
  CHECK(fwrite(content, 1, bytes, file) == bytes);
  fclose(file);
}

static void test_files(const char* path, sluice_session* session, const float* whole) {
  static float logits[kVocab];
  char saved[1000];
  sluice_model_options options;
  sluice_model* other = NULL;
  sluice_session* of_other;
  snprintf(saved, sizeof saved, "%s.session", path);
  CHECK_STATUS(sluice_session_rewind(session, 5), SLUICE_OK);
  CHECK_STATUS(sluice_session_save(session, saved), SLUICE_OK);
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_load(session, saved), SLUICE_OK);
  feed_rest(session, 5, logits);
  CHECK(memcmp(logits, whole, sizeof logits) == 0);
  CHECK_STATUS(sluice_session_save(session, "/none/such/folder"), SLUICE_NOT_FOUND);
  CHECK_STATUS(sluice_session_save(session, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_load(session, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_load(session, "/none/such/file"), SLUICE_NOT_FOUND);
  CHECK_STATUS(sluice_session_load(session, path), SLUICE_INVALID_ARGUMENT); /* the model itself */

  sluice_model_options_init(&options, sizeof options);
  options.context_tokens = 64;
  options.kv_type = SLUICE_KV_F16;
  CHECK_STATUS(sluice_model_open(path, &options, &other), SLUICE_OK);
  of_other = create_session(other);
  CHECK_STATUS(sluice_session_load(of_other, saved), SLUICE_INVALID_ARGUMENT);
  sluice_session_close(of_other);
  sluice_model_close(other);

  cut_file(saved, 1000);
  CHECK_STATUS(sluice_session_load(session, saved), SLUICE_CORRUPT);
  CHECK(sluice_session_position(session) == 8);
  remove(saved);
}

struct seen {
  int choices, logprobs, tokens;
  int stop_at_choice;
  uint32_t first_position;
  float expected;
};

/* Forbids all tokens but 300 and 400, and makes one e times as likely as the other. */
static int32_t two_tokens(float* logits, size_t vocab_size, uint32_t position, void* user_data) {
  struct seen* seen = user_data;
  size_t i;
  CHECK(vocab_size == kVocab && isfinite(logits[0]));
  if (seen->choices == 0) seen->first_position = position;
  CHECK(position == seen->first_position + (uint32_t)seen->choices);
  for (i = 0; i < vocab_size; ++i) logits[i] = -INFINITY;
  logits[300] = 1;
  logits[400] = 2;
  return ++seen->choices == seen->stop_at_choice;
}

static int32_t count_logprobs(const sluice_token_logprob* chosen, const sluice_token_logprob* top,
                              size_t top_count, void* user_data) {
  struct seen* seen = user_data;
  const double likely = -log1p(exp(-1)), unlikely = likely - 1;
  CHECK(chosen->token == 400 && fabs(chosen->logprob - likely) < 1e-6);
  CHECK(top_count == 2 && top[0].token == 400 && top[1].token == 300);
  CHECK(fabs(top[1].logprob - unlikely) < 1e-6);
  CHECK(seen->tokens == seen->logprobs); /* before the token callback */
  ++seen->logprobs;
  return 0;
}

static int32_t count_tokens(int32_t token, const char* text, size_t text_bytes, void* user_data) {
  (void)text;
  (void)text_bytes;
  if (token >= 0) ++((struct seen*)user_data)->tokens;
  return 0;
}

static void test_choices(sluice_session* session) {
  struct seen seen = {0};
  sluice_generate_options options;
  int32_t reason = 77;
  sluice_generate_options_init(&options, sizeof options);
  options.max_tokens = 4;
  options.ignore_eos = 1;
  options.top_logprobs = 5;
  options.on_logits = two_tokens;
  options.on_logprobs = count_logprobs;
  options.sampling_user_data = &seen;
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_generate_tokens(session, kTokens, 3, &options, &reason,
                                              count_tokens, &seen), SLUICE_OK);
  CHECK(reason == SLUICE_FINISH_LENGTH && seen.choices == 4 && seen.logprobs == 4);
  CHECK(seen.tokens == 4 && seen.first_position == 3);
  CHECK(sluice_session_position(session) == 6);

  memset(&seen, 0, sizeof seen);
  seen.stop_at_choice = 2;
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_generate_tokens(session, kTokens, 3, &options, &reason,
                                              count_tokens, &seen), SLUICE_OK);
  CHECK(reason == SLUICE_FINISH_CANCELLED && seen.choices == 2 && seen.tokens == 1);
  options.top_logprobs = 257;
  CHECK_STATUS(sluice_session_generate_tokens(session, kTokens, 3, &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  options.top_logprobs = 0;
  options.whole_prompt = 2;
  CHECK_STATUS(sluice_session_generate_tokens(session, kTokens, 3, &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_generate_tokens(session, NULL, 3, NULL, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_generate_tokens(session, NULL, 0, NULL, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
}

static void test_whole_prompt(sluice_session* session) {
  static const char question[] = "The old woman opened the door and";
  sluice_generate_options options;
  sluice_stats stats;
  uint32_t position;
  sluice_generate_options_init(&options, sizeof options);
  options.max_tokens = 2;
  options.ignore_eos = 1;
  options.whole_prompt = 1;
  stats.struct_size = sizeof stats;
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_stats_reset(session), SLUICE_OK);
  CHECK_STATUS(sluice_session_generate(session, question, strlen(question), &options, NULL, NULL,
                                       NULL), SLUICE_OK);
  position = sluice_session_position(session);
  CHECK_STATUS(sluice_session_generate(session, question, strlen(question), &options, NULL, NULL,
                                       NULL), SLUICE_OK);
  CHECK(sluice_session_position(session) == position); /* not behind the first */
  CHECK_STATUS(sluice_session_stats_copy(session, &stats), SLUICE_OK);
  CHECK(stats.prefill_tokens == position && stats.reused_tokens == position - 2);
  CHECK(strcmp(stats.lookahead, "none") == 0); /* no predictors in this file */

  /* An older host's struct ends before all of these. */
  options.struct_size = offsetof(sluice_generate_options, whole_prompt);
  CHECK_STATUS(sluice_session_generate(session, question, strlen(question), &options, NULL, NULL,
                                       NULL), SLUICE_OK);
  CHECK(sluice_session_position(session) > position);
}

void test_session_life(const char* path) {
  static float whole[kVocab];
  sluice_model* model = open_model(path, 2);
  sluice_session* session = create_session(model);
  test_tokens(session);
  CHECK_STATUS(sluice_session_reset(session), SLUICE_OK);
  feed_rest(session, 0, whole);
  test_rewind_and_clone(session, whole);
  test_files(path, session, whole);
  test_choices(session);
  test_whole_prompt(session);
  sluice_session_close(session);
  sluice_model_close(model);
}
