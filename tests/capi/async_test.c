/* Generation on the library's threads: one at a time, an end for each beginning, and close from
 * anywhere. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

enum { kMaxTokens = 6, kCallbackMs = 10, kPromptIds = 32 };
/* What cancel promises, and what a loaded machine may add. */
static const double kCancelMsMax = 100 + 900;
static const char kPrompt[] = "The old woman opened the door and";
/* The same as ids, and whether new jobs begin with those. */
static int32_t prompt_ids[kPromptIds];
static size_t prompt_id_count;
static int from_ids;

/* What on_token or on_done does besides counting. */
enum action { kNothing, kClose, kStartNext, kStartNextAndClose, kCallBlocking };

struct job {
  sluice_session* session;
  int from_ids;
  sluice_generate_options options;
  enum action in_token, in_done;
  unsigned token_ms;      /* that on_token takes */
  int starts_left;        /* for kStartNext */
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int tokens, dones;      /* calls */
  int inside;             /* callbacks that run now */
  char text[2000];
  sluice_status status;
  int32_t finish_reason;
  char message[256];
  double done_ms;
};

/* Not on the stack: where nobody waits for the thread, it may still be leaving a callback. */
static struct job* new_job(sluice_session* session) {
  static struct job jobs[40];
  static int used = 0;
  struct job* job = &jobs[used++ % 40];
  memset(job, 0, sizeof *job);
  pthread_mutex_init(&job->mutex, NULL);
  pthread_cond_init(&job->changed, NULL);
  job->session = session;
  job->from_ids = from_ids;
  sluice_generate_options_init(&job->options, sizeof job->options);
  job->options.max_tokens = kMaxTokens;
  job->options.ignore_eos = 1;
  return job;
}

static void enter(struct job* job) {
  sigset_t blocked;
  pthread_mutex_lock(&job->mutex);
  CHECK(++job->inside == 1); /* one callback at a time */
  pthread_mutex_unlock(&job->mutex);
  CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0);
  CHECK(sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGTERM) &&
        sigismember(&blocked, SIGUSR1) && sigismember(&blocked, SIGALRM));
}

static void leave(struct job* job, int* calls) {
  pthread_mutex_lock(&job->mutex);
  --job->inside;
  ++*calls;
  pthread_cond_broadcast(&job->changed);
  pthread_mutex_unlock(&job->mutex);
}

static int32_t on_token(int32_t token, const char* text, size_t text_bytes, void* user_data) {
  struct job* job = user_data;
  (void)token;
  enter(job);
  if (strlen(job->text) + text_bytes < sizeof job->text) strcat(job->text, text);
  if (job->token_ms > 0) sleep_ms(job->token_ms);
  if (job->in_token == kClose) sluice_session_close(job->session);
  leave(job, &job->tokens);
  return 0;
}

static void on_done(sluice_status status, const char* message, int32_t finish_reason,
                    void* user_data);

/* Prompt and options are the library's own copies once this has returned. */
static sluice_status start_with(struct job* job, const char* text, const int32_t* given_ids,
                                sluice_done_fn done) {
  sluice_generate_options options = job->options;
  int32_t ids[kPromptIds];
  sluice_status status;
  if (!job->from_ids) {
    status = sluice_session_generate_start(job->session, text, strlen(kPrompt), &options, on_token,
                                           done, job);
  } else {
    if (given_ids != NULL) memcpy(ids, given_ids, sizeof ids);
    status = sluice_session_generate_tokens_start(job->session, given_ids != NULL ? ids : NULL,
                                                  prompt_id_count, &options, on_token, done, job);
  }
  memset(ids, 0x7f, sizeof ids);
  memset(&options, 0x7f, sizeof options);
  return status;
}

static sluice_status try_start(struct job* job) {
  return start_with(job, kPrompt, prompt_ids, on_done);
}

static void on_done(sluice_status status, const char* message, int32_t finish_reason,
                    void* user_data) {
  struct job* job = user_data;
  enter(job);
  job->status = status;
  job->finish_reason = finish_reason;
  job->done_ms = now_ms();
  strncpy(job->message, message, sizeof job->message - 1);
  CHECK((status == SLUICE_OK) == (message[0] == '\0'));
  if (job->in_done == kCallBlocking) {
    CHECK_STATUS(sluice_session_rewind(job->session, 1), SLUICE_OK);
    CHECK_STATUS(sluice_session_decode(job->session, 5, NULL), SLUICE_OK);
  }
  if ((job->in_done == kStartNext || job->in_done == kStartNextAndClose) &&
      job->starts_left-- > 0) {
    const sluice_status started = try_start(job);
    /* Meanwhile somebody may have closed it. */
    CHECK(started == SLUICE_OK || started == SLUICE_INVALID_ARGUMENT);
    sleep_ms(5); /* what was started waits for the end of this */
  }
  if (job->in_done == kClose || job->in_done == kStartNextAndClose) {
    sluice_session_close(job->session);
  }
  leave(job, &job->dones);
}

static void start(struct job* job) { CHECK_STATUS(try_start(job), SLUICE_OK); }

static void wait_for(struct job* job, const int* calls, int at_least) {
  pthread_mutex_lock(&job->mutex);
  while (*calls < at_least) pthread_cond_wait(&job->changed, &job->mutex);
  pthread_mutex_unlock(&job->mutex);
}

static int count(struct job* job, const int* calls) {
  int result;
  pthread_mutex_lock(&job->mutex);
  result = *calls;
  pthread_mutex_unlock(&job->mutex);
  return result;
}

static void test_same_as_blocking(sluice_model* model) {
  struct job* blocking = new_job(create_session(model));
  struct job* job;
  uint32_t position;
  int32_t reason;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* as enter() expects it */
  CHECK_STATUS(sluice_session_generate(blocking->session, kPrompt, strlen(kPrompt),
                                       &blocking->options, &reason, on_token, blocking),
               SLUICE_OK);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  position = sluice_session_position(blocking->session);
  sluice_session_close(blocking->session);

  job = new_job(create_session(model));
  start(job);
  wait_for(job, &job->dones, 1);
  CHECK(job->status == SLUICE_OK && job->finish_reason == reason);
  CHECK(strcmp(job->text, blocking->text) == 0 && job->tokens == blocking->tokens);
  CHECK(sluice_session_position(job->session) == position);
  sluice_session_close(job->session);
  CHECK(job->dones == 1);
}

static void test_busy(sluice_model* model) {
  struct job* job = new_job(create_session(model));
  size_t count_of_tokens;
  sluice_session* clone;
  job->token_ms = kCallbackMs;
  job->options.max_tokens = 100;
  start(job);
  wait_for(job, &job->tokens, 1);
  CHECK_STATUS(try_start(job), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_decode(job->session, 5, NULL), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_rewind(job->session, 0), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_load(job->session, "none"), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_save(job->session, "none"), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_clone(job->session, &clone), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_session_tokens_copy(job->session, NULL, 0, &count_of_tokens),
               SLUICE_BAD_STATE);
  CHECK(sluice_session_position(job->session) == 0);
  {
    const double asked_ms = now_ms();
    sluice_session_cancel(job->session);
    wait_for(job, &job->dones, 1);
    CHECK(job->done_ms - asked_ms < kCancelMsMax);
  }
  CHECK(job->status == SLUICE_OK && job->finish_reason == SLUICE_FINISH_CANCELLED);
  CHECK(job->tokens < 100);
  /* Free again, and the cancellation is used up. */
  CHECK_STATUS(sluice_session_decode(job->session, 5, NULL), SLUICE_OK);
  sluice_session_close(job->session);
}

static void test_errors(sluice_model* model) {
  sluice_session* session = create_session(model);
  struct job* job = new_job(NULL);
  CHECK_STATUS(try_start(job), SLUICE_INVALID_ARGUMENT);
  job->session = session;
  CHECK_STATUS(start_with(job, kPrompt, prompt_ids, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(start_with(job, NULL, NULL, on_done), SLUICE_INVALID_ARGUMENT);
  job->options.temperature = -1;
  CHECK_STATUS(try_start(job), SLUICE_INVALID_ARGUMENT);
  job->options.temperature = 0;
  sleep_ms(2 * kCallbackMs);
  CHECK(count(job, &job->dones) == 0); /* what did not start does not end */
  job->options.max_tokens = 10000;     /* what only the session knows is told at the end */
  start(job);
  wait_for(job, &job->dones, 1);
  CHECK(job->status == SLUICE_INVALID_ARGUMENT && strstr(job->message, "10000") != NULL);
  sluice_session_close(job->session);
  CHECK(job->dones == 1 && job->tokens == 0);
}

/* The next begins in the end of the one before, without the depth of the stack growing. */
static void test_chain(sluice_model* model) {
  struct job* job = new_job(create_session(model));
  job->options.max_tokens = 2;
  job->options.whole_prompt = 1;
  job->in_done = kStartNext;
  job->starts_left = 9;
  start(job);
  wait_for(job, &job->dones, 10);
  CHECK(job->status == SLUICE_OK);
  sluice_session_close(job->session);
  CHECK(job->dones == 10);

  job = new_job(create_session(model));
  job->in_done = kCallBlocking;
  start(job);
  wait_for(job, &job->dones, 1);
  CHECK(sluice_session_position(job->session) == 2);
  sluice_session_close(job->session);
}

static void test_close(sluice_model* model) {
  static const enum action kInDone[] = {kClose, kStartNextAndClose};
  struct job* job;
  unsigned i;
  for (i = 0; i < 20; ++i) { /* from outside, at any time */
    int calls;
    job = new_job(create_session(model));
    job->options.max_tokens = 100;
    job->in_done = i % 2 == 0 ? kNothing : kStartNext;
    job->starts_left = 1000;
    start(job);
    sleep_ms(i);
    sluice_session_close(job->session);
    calls = job->tokens + job->dones;
    CHECK(job->inside == 0 && job->dones >= 1);
    if (job->in_done == kNothing) CHECK(job->dones == 1);
    sleep_ms(3);
    CHECK(calls == job->tokens + job->dones); /* nothing runs any more */
  }
  job = new_job(create_session(model)); /* from within */
  job->in_token = kClose;
  start(job);
  wait_for(job, &job->dones, 1);
  CHECK(job->status == SLUICE_OK && job->finish_reason == SLUICE_FINISH_CANCELLED);
  for (i = 0; i < 2; ++i) {
    job = new_job(create_session(model));
    job->in_done = kInDone[i];
    job->starts_left = 1;
    start(job);
    wait_for(job, &job->dones, 1 + (int)i);
    CHECK(job->status == SLUICE_OK);
    CHECK_STATUS(sluice_session_reset(job->session), SLUICE_INVALID_ARGUMENT);
  }
}

static void test_two(const char* path) {
  sluice_model* model = open_model(path, 2);
  struct job* first = new_job(create_session(model));
  struct job* second = new_job(create_session(model));
  start(first);
  start(second);
  sluice_model_close(model);
  wait_for(first, &first->dones, 1);
  wait_for(second, &second->dones, 1);
  CHECK(strcmp(first->text, second->text) == 0);
  sluice_session_close(first->session);
  sluice_session_close(second->session);
}

/* Only the session knows the vocabulary. */
static void test_bad_id(sluice_model* model) {
  const int32_t ids[kPromptIds] = {5, -1};
  struct job* job = new_job(create_session(model));
  CHECK_STATUS(start_with(job, NULL, ids, on_done), SLUICE_OK);
  wait_for(job, &job->dones, 1);
  CHECK(job->status == SLUICE_INVALID_ARGUMENT && strstr(job->message, "-1") != NULL);
  CHECK(job->tokens == 0 && sluice_session_position(job->session) == 0);
  sluice_session_close(job->session);
}

static void test_either_form(const char* path) {
  sluice_model* model = open_model(path, 1); /* each session must have left before the next */
  test_same_as_blocking(model);
  test_busy(model);
  test_errors(model);
  test_chain(model);
  test_close(model);
  if (from_ids) test_bad_id(model);
  sluice_session_close(create_session(model));
  sluice_model_close(model);
  test_two(path);
}

void test_async(const char* path) {
  sluice_model* model = open_model(path, 1);
  CHECK_STATUS(sluice_model_tokenize(model, kPrompt, strlen(kPrompt), 1, prompt_ids, kPromptIds,
                                     &prompt_id_count), SLUICE_OK);
  sluice_model_close(model);
  for (from_ids = 0; from_ids < 2; ++from_ids) test_either_form(path);
}
