/* Models that are not files of their own: inside another file, behind functions of the host's. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

enum { TOKENS = 12 };

/* A host's store: a file that is "encrypted", and what its functions were asked. */
struct store {
  unsigned char* bytes;
  size_t size;
  pthread_mutex_t mutex;
  int running;
  int most_running;
  int calls;
  int releases;
  int failing_call; /* -1: none */
};

static const unsigned char key = 0xa7;

static void load_store(struct store* store, const char* path) {
  FILE* file = fopen(path, "rb");
  long size = 0;
  size_t i;
  memset(store, 0, sizeof *store);
  pthread_mutex_init(&store->mutex, NULL);
  store->failing_call = -1;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) <= 0) exit(1);
  rewind(file);
  store->size = (size_t)size;
  store->bytes = malloc(store->size);
  if (store->bytes == NULL || fread(store->bytes, 1, store->size, file) != store->size) exit(1);
  fclose(file);
  for (i = 0; i < store->size; ++i) store->bytes[i] ^= key;
}

static void free_store(struct store* store) {
  free(store->bytes);
  pthread_mutex_destroy(&store->mutex);
}

static int64_t read_store(uint64_t offset, void* buffer, size_t bytes, void* user_data) {
  struct store* store = user_data;
  unsigned char* out = buffer;
  size_t i, count;
  int call;
  pthread_mutex_lock(&store->mutex);
  call = store->calls++;
  ++store->running;
  if (store->running > store->most_running) store->most_running = store->running;
  pthread_mutex_unlock(&store->mutex);
  count = offset >= store->size ? 0 : store->size - (size_t)offset;
  if (count > bytes) count = bytes;
  if (count > 50000 && call % 3 == 0) count = 50000; /* fewer are asked for again */
  for (i = 0; i < count; ++i) out[i] = store->bytes[offset + i] ^ key;
  pthread_mutex_lock(&store->mutex);
  --store->running;
  pthread_mutex_unlock(&store->mutex);
  return call == store->failing_call ? -EIO : (int64_t)count;
}

static void release_store(void* user_data) {
  struct store* store = user_data;
  CHECK(store->running == 0);
  ++store->releases;
}

static void source_of(struct store* store, sluice_source* source) {
  CHECK_STATUS(sluice_source_init(source, sizeof *source), SLUICE_OK);
  source->kind = SLUICE_SOURCE_READER;
  source->path = "the store";
  source->bytes = store->size;
  source->read = read_store;
  source->release = release_store;
  source->user_data = store;
}

static void small_options(sluice_model_options* options) {
  sluice_model_options_init(options, sizeof *options);
  options->context_tokens = 64;
}

/* Greedy tokens after a fixed prompt, and the last logits. Takes the model. */
static void run(sluice_model* model, int32_t* tokens, float* logits, sluice_stats* stats) {
  static const int32_t prompt[] = {2, 5, 9};
  sluice_session* session = create_session(model);
  sluice_model_info info;
  uint32_t i, k;
  info.struct_size = sizeof info;
  sluice_model_info_copy(model, &info);
  sluice_model_close(model);
  CHECK_STATUS(sluice_session_prefill(session, prompt, 3, logits, NULL, NULL), SLUICE_OK);
  for (i = 0; i < TOKENS; ++i) {
    tokens[i] = 0;
    for (k = 1; k < info.vocab_size; ++k) {
      if (logits[k] > logits[tokens[i]]) tokens[i] = (int32_t)k;
    }
    CHECK_STATUS(sluice_session_decode(session, tokens[i], logits), SLUICE_OK);
  }
  stats->struct_size = sizeof *stats;
  CHECK_STATUS(sluice_session_stats_copy(session, stats), SLUICE_OK);
  sluice_session_close(session);
}

struct result {
  int32_t tokens[TOKENS];
  float logits[4096];
  sluice_stats stats;
};

static struct result expected, found;

static void check_same(void) {
  CHECK(memcmp(expected.tokens, found.tokens, sizeof expected.tokens) == 0);
  CHECK(memcmp(expected.logits, found.logits, sizeof expected.logits) == 0);
}

/* The least budget, so that reads go on while tokens are made. */
static void at_floor(const sluice_source* source, sluice_model_options* options) {
  sluice_memory_plan plan;
  plan.struct_size = sizeof plan;
  small_options(options);
  CHECK_STATUS(sluice_source_plan(source, options, &plan), SLUICE_OK);
  options->dram_budget_bytes = plan.floor_bytes;
}

static void test_path(const char* path) {
  sluice_source source;
  sluice_model_options options;
  sluice_model* model = NULL;
  sluice_source_init(&source, sizeof source);
  source.path = path;
  at_floor(&source, &options);
  CHECK_STATUS(sluice_model_open(path, &options, &model), SLUICE_OK);
  run(model, expected.tokens, expected.logits, &expected.stats);
  CHECK_STATUS(sluice_source_open(&source, &options, &model, NULL, NULL), SLUICE_OK);
  run(model, found.tokens, found.logits, &found.stats);
  check_same();
}

/* The model behind `offset` bytes of something else, and something else behind it. */
static int archive_of(const char* path, size_t offset) {
  char name[] = "/tmp/sluice-archive-XXXXXX";
  const int fd = mkstemp(name);
  struct store store;
  size_t i, done = 0;
  char other[9000];
  if (fd < 0) exit(1);
  unlink(name);
  load_store(&store, path);
  for (i = 0; i < store.size; ++i) store.bytes[i] ^= key;
  memset(other, 'x', sizeof other);
  if (write(fd, other, offset) != (ssize_t)offset) exit(1);
  while (done < store.size) {
    const ssize_t put = write(fd, store.bytes + done, store.size - done);
    if (put <= 0) exit(1);
    done += (size_t)put;
  }
  if (write(fd, other, sizeof other) != (ssize_t)sizeof other) exit(1);
  free_store(&store);
  return fd;
}

static void test_descriptor(const char* path, size_t offset, uint64_t model_bytes, int engine) {
  const int fd = archive_of(path, offset);
  const int flags = fcntl(fd, F_GETFL), fd_flags = fcntl(fd, F_GETFD);
  sluice_source source;
  sluice_model_options options;
  sluice_model* model = NULL;
  CHECK(lseek(fd, 4711, SEEK_SET) == 4711);
  sluice_source_init(&source, sizeof source);
  source.kind = SLUICE_SOURCE_FD;
  source.fd = fd;
  source.offset = offset;
  source.bytes = model_bytes;
  at_floor(&source, &options);
  options.engine = engine;
  CHECK_STATUS(sluice_source_open(&source, &options, &model, NULL, NULL), SLUICE_OK);
  CHECK(lseek(fd, 0, SEEK_CUR) == 4711);
  CHECK(fcntl(fd, F_GETFL) == flags && fcntl(fd, F_GETFD) == fd_flags);
  close(fd); /* it was duplicated */
  run(model, found.tokens, found.logits, &found.stats);
  check_same();
  if (offset % 4096 != 0) {
    CHECK(found.stats.direct_io == 0);
    CHECK(strstr(found.stats.engine_reason, "no multiple of 4096") != NULL);
  }
}

static void test_reader(const char* path) {
  struct store store;
  sluice_source source;
  sluice_model_options options;
  sluice_model* model = NULL;
  load_store(&store, path);
  source_of(&store, &source);
  at_floor(&source, &options);
  CHECK(store.calls > 0 && store.releases == 0); /* planning leaves the source as it is */
  CHECK_STATUS(sluice_source_open(&source, &options, &model, NULL, NULL), SLUICE_OK);
  memset(&source, 0xff, sizeof source); /* borrowed for the call only */
  run(model, found.tokens, found.logits, &found.stats);
  check_same();
  CHECK(strcmp(found.stats.engine, "host") == 0);
  CHECK(store.most_running <= 4);
  CHECK(store.releases == 1);
  free_store(&store);
}

/* Opening fails at every call in turn, and each time what it was given is released. */
static void test_failing_reader(const char* path) {
  struct store store;
  sluice_source source;
  sluice_model_options options;
  sluice_model* model = NULL;
  int call, opened = 0;
  load_store(&store, path);
  source_of(&store, &source);
  small_options(&options);
  for (call = 0; !opened && call < 1000; ++call) {
    sluice_status status;
    store.calls = store.releases = 0;
    store.failing_call = call;
    status = sluice_source_open(&source, &options, &model, NULL, NULL);
    opened = status == SLUICE_OK;
    if (opened) {
      CHECK(store.releases == 0);
      sluice_model_close(model);
    } else {
      CHECK(status == SLUICE_IO && model == NULL);
      CHECK(strstr(sluice_last_error_message(), "the store") != NULL);
    }
    CHECK(store.releases == 1);
  }
  CHECK(opened && call > 5);
  free_store(&store);
}

struct progress {
  int calls;
  int stop_at;
  double last;
};

static int32_t note_progress(const char* stage, double done, void* user_data) {
  struct progress* progress = user_data;
  CHECK(strcmp(stage, "read") == 0);
  CHECK(done >= progress->last && done <= 1);
  progress->last = done;
  return ++progress->calls == progress->stop_at;
}

static void test_progress(const char* path) {
  struct progress progress = {0, 0, 0};
  struct store store;
  sluice_source source;
  sluice_model_options options;
  sluice_model* model = NULL;
  load_store(&store, path);
  source_of(&store, &source);
  small_options(&options);
  CHECK_STATUS(sluice_source_open(&source, &options, &model, note_progress, &progress), SLUICE_OK);
  CHECK(progress.calls > 1 && progress.last == 1);
  sluice_model_close(model);
  progress.calls = 0;
  progress.last = 0;
  progress.stop_at = 2;
  CHECK_STATUS(sluice_source_open(&source, &options, &model, note_progress, &progress),
               SLUICE_CANCELLED);
  CHECK(model == NULL && progress.calls == 2);
  CHECK(store.releases == 2);
  free_store(&store);
}

static void test_mistakes(const char* path) {
  struct store store;
  sluice_source source, broken;
  sluice_memory_plan plan;
  sluice_model* model = NULL;
  int releases = 0;
  load_store(&store, path);
  source_of(&store, &source);
  plan.struct_size = sizeof plan;
  CHECK_STATUS(sluice_source_init(NULL, sizeof source), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_source_init(&broken, 8), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_source_open(NULL, NULL, &model, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_source_plan(NULL, NULL, &plan), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_source_plan(&source, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK(store.releases == 0);

  CHECK_STATUS(sluice_source_open(&source, NULL, NULL, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK(store.releases == ++releases);
  broken = source;
  broken.read = NULL;
  CHECK_STATUS(sluice_source_open(&broken, NULL, &model, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK(store.releases == ++releases);
  broken = source;
  broken.bytes = 0;
  CHECK_STATUS(sluice_source_open(&broken, NULL, &model, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK(store.releases == ++releases);
  broken = source;
  broken.read_threads = 65;
  CHECK_STATUS(sluice_source_open(&broken, NULL, &model, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK(store.releases == ++releases);
  broken = source;
  broken.reserved[3] = 1;
  CHECK_STATUS(sluice_source_open(&broken, NULL, &model, NULL, NULL), SLUICE_UNSUPPORTED);
  CHECK(store.releases == ++releases);
  broken = source;
  broken.struct_size = 12; /* not to be read at all */
  CHECK_STATUS(sluice_source_open(&broken, NULL, &model, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK(store.releases == releases);
  broken = source;
  broken.kind = 3;
  CHECK_STATUS(sluice_source_plan(&broken, NULL, &plan), SLUICE_INVALID_ARGUMENT);
  sluice_source_init(&broken, sizeof broken);
  CHECK_STATUS(sluice_source_plan(&broken, NULL, &plan), SLUICE_INVALID_ARGUMENT); /* no path */
  broken.kind = SLUICE_SOURCE_FD;
  broken.fd = -1;
  CHECK_STATUS(sluice_source_plan(&broken, NULL, &plan), SLUICE_INVALID_ARGUMENT);
  free_store(&store);
}

void test_source(const char* path) {
  struct store store;
  uint64_t bytes;
  load_store(&store, path);
  bytes = store.size;
  free_store(&store);
  test_path(path);
  test_descriptor(path, 0, bytes, SLUICE_ENGINE_AUTO);
  test_descriptor(path, 8192, bytes, SLUICE_ENGINE_AUTO);
  test_descriptor(path, 8192, bytes, SLUICE_ENGINE_PREAD);
  test_descriptor(path, 777, bytes, SLUICE_ENGINE_AUTO);
  test_descriptor(path, 777, bytes, SLUICE_ENGINE_PREAD);
  test_reader(path);
  test_failing_reader(path);
  test_progress(path);
  test_mistakes(path);
}
