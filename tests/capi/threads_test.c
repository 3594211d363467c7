/* One session and several threads: a second call is refused, cancel and close work. */
#include <pthread.h>
#include <string.h>

#include "check.h"

enum { kTokens = 200, kCallbackMs = 10 };
/* What cancel promises, and what a loaded machine may add. Without it these calls would take many
 * seconds: callbacks sleep, one for each token and layer. */
static const double kCancelMsMax = 100 + 900;

struct worker {
  sluice_session* session;
  int generates;      /* else it prefills */
  int hold;           /* the callback waits for `released` */
  int close_within;   /* the callback closes the session */
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int calls;          /* of the callback */
  int released;
  sluice_status status;
  int32_t finish_reason;
  double returned_ms;
};

static int32_t on_call(struct worker* w) {
  if (w->close_within) sluice_session_close(w->session);
  pthread_mutex_lock(&w->mutex);
  ++w->calls;
  pthread_cond_broadcast(&w->changed);
  while (w->hold && !w->released) pthread_cond_wait(&w->changed, &w->mutex);
  pthread_mutex_unlock(&w->mutex);
  if (!w->hold) sleep_ms(kCallbackMs);
  return 0;
}

static int32_t on_progress(uint32_t done, uint32_t total, void* user_data) {
  (void)done;
  (void)total;
  return on_call(user_data);
}

static int32_t on_token(int32_t token, const char* text, size_t text_bytes, void* user_data) {
  (void)token;
  (void)text;
  (void)text_bytes;
  return on_call(user_data);
}

static void* work(void* argument) {
  struct worker* w = argument;
  if (w->generates) {
    sluice_generate_options options;
    sluice_generate_options_init(&options, sizeof options);
    options.max_tokens = kTokens;
    options.ignore_eos = 1;
    w->status = sluice_session_generate(w->session, "The", 3, &options, &w->finish_reason,
                                        on_token, w);
  } else {
    int32_t tokens[kTokens];
    int i;
    for (i = 0; i < kTokens; ++i) tokens[i] = 2 + i;
    w->status = sluice_session_prefill(w->session, tokens, w->hold ? 2 : kTokens, NULL,
                                       on_progress, w);
  }
  w->returned_ms = now_ms();
  return NULL;
}

static void start(struct worker* w, pthread_t* thread) {
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->changed, NULL);
  CHECK(pthread_create(thread, NULL, work, w) == 0);
  pthread_mutex_lock(&w->mutex);
  while (w->calls == 0) pthread_cond_wait(&w->changed, &w->mutex);
  pthread_mutex_unlock(&w->mutex);
}

static void finish(struct worker* w, pthread_t thread) {
  pthread_join(thread, NULL);
  pthread_cond_destroy(&w->changed);
  pthread_mutex_destroy(&w->mutex);
}

void test_threads(const char* path) {
  sluice_model* model = open_model(path, 2);
  sluice_session* other = create_session(model);
  struct worker w = {0};
  pthread_t thread;
  sluice_stats stats;
  const int32_t token = 5;
  w.session = create_session(model);
  w.hold = 1;
  CHECK_STATUS(sluice_session_decode(w.session, token, NULL), SLUICE_OK);
  start(&w, &thread);
  CHECK_STATUS(sluice_session_prefill(w.session, &token, 1, NULL, NULL, NULL),
               SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_decode(w.session, token, NULL), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_generate(w.session, "a", 1, NULL, NULL, NULL, NULL),
               SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_reset(w.session), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_stats_reset(w.session), SLUICE_BAD_STATE);
  stats.struct_size = sizeof stats;
  CHECK_STATUS(sluice_session_stats_copy(w.session, &stats), SLUICE_BAD_STATE);
  CHECK(sluice_session_position(w.session) == 1); /* as of the last call that returned */
  /* A model's other sessions are free to work. */
  CHECK_STATUS(sluice_session_decode(other, token, NULL), SLUICE_OK);
  pthread_mutex_lock(&w.mutex);
  w.released = 1;
  pthread_cond_broadcast(&w.changed);
  pthread_mutex_unlock(&w.mutex);
  finish(&w, thread);
  CHECK(w.status == SLUICE_OK);
  CHECK(sluice_session_position(w.session) == 3);
  CHECK_STATUS(sluice_session_decode(w.session, token, NULL), SLUICE_OK); /* undisturbed */
  sluice_session_close(w.session);
  sluice_session_close(other);
  sluice_model_close(model);
}

static void check_cancelled(const struct worker* w) {
  if (w->generates) {
    CHECK(w->status == SLUICE_OK && w->finish_reason == SLUICE_FINISH_CANCELLED);
  } else {
    CHECK(w->status == SLUICE_CANCELLED);
  }
}

static void cancel_from_outside(sluice_model* model, int generates) {
  struct worker w = {0};
  pthread_t thread;
  double asked_ms;
  w.session = create_session(model);
  w.generates = generates;
  start(&w, &thread);
  asked_ms = now_ms();
  sluice_session_cancel(w.session);
  finish(&w, thread);
  check_cancelled(&w);
  CHECK(w.returned_ms - asked_ms < kCancelMsMax);
  if (!generates) CHECK(sluice_session_position(w.session) == 0);
  /* The cancellation is used up. */
  CHECK_STATUS(sluice_session_decode(w.session, 5, NULL), SLUICE_OK);
  sluice_session_close(w.session);
}

static void cancel_ahead(sluice_model* model) {
  sluice_session* session = create_session(model);
  sluice_session_cancel(session);
  CHECK_STATUS(sluice_session_decode(session, 5, NULL), SLUICE_CANCELLED);
  CHECK_STATUS(sluice_session_decode(session, 5, NULL), SLUICE_OK);
  sluice_session_cancel(session); /* and taken back */
  CHECK_STATUS(sluice_session_prefill(session, NULL, 0, NULL, NULL, NULL), SLUICE_CANCELLED);
  CHECK_STATUS(sluice_session_prefill(session, NULL, 0, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_decode(session, 5, NULL), SLUICE_OK);
  sluice_session_close(session);
}

static void close_from_outside(sluice_model* model) {
  struct worker w = {0};
  pthread_t thread;
  int calls;
  w.session = create_session(model);
  start(&w, &thread);
  sluice_session_close(w.session);
  calls = w.calls; /* no callback runs any more */
  sleep_ms(5 * kCallbackMs);
  CHECK(calls == w.calls);
  finish(&w, thread);
  check_cancelled(&w);
  CHECK_STATUS(sluice_session_reset(w.session), SLUICE_INVALID_ARGUMENT);
}

static void close_from_within(sluice_model* model) {
  struct worker w = {0};
  pthread_t thread;
  w.session = create_session(model);
  w.generates = 1;
  w.close_within = 1;
  start(&w, &thread);
  finish(&w, thread);
  check_cancelled(&w);
  CHECK_STATUS(sluice_session_reset(w.session), SLUICE_INVALID_ARGUMENT);
}

void test_cancel(const char* path) {
  sluice_model* model = open_model(path, 1); /* each session must have left before the next */
  cancel_from_outside(model, 0);
  cancel_from_outside(model, 1);
  cancel_ahead(model);
  close_from_outside(model);
  close_from_within(model);
  sluice_session_close(create_session(model));
  sluice_model_close(model);
}
