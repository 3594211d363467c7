/* Runs every C test: capi_test MODEL.flash MODEL_WITH_PREDICTORS.flash */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"

static int failed = 0;

void check_true(int ok, const char* what, const char* file, int line) {
  if (ok) return;
  ++failed;
  printf("%s:%d: not so: %s\n", file, line, what);
}

void check_status(sluice_status got, sluice_status expected, const char* what, const char* file,
                  int line) {
  const char* message = sluice_last_error_message();
  if (got != expected) {
    ++failed;
    printf("%s:%d: %s: %s (%s), expected %s\n", file, line, what, sluice_status_name(got),
           message, sluice_status_name(expected));
  }
  check_true((got == SLUICE_OK) == (message[0] == '\0'), "a message when and only when it failed",
             file, line);
}

int failures(void) { return failed; }

sluice_model* open_model(const char* path, uint32_t sessions) {
  sluice_model_options options;
  sluice_model* model = NULL;
  sluice_model_options_init(&options, sizeof options);
  options.context_tokens = 256;
  options.max_sessions = sessions;
  options.prefill_chunk_tokens = 1;
  if (sluice_model_open(path, &options, &model) != SLUICE_OK) {
    printf("%s: %s\n", path, sluice_last_error_message());
    exit(1);
  }
  return model;
}

sluice_session* create_session(sluice_model* model) {
  sluice_session* session = NULL;
  if (sluice_session_create(model, &session) != SLUICE_OK) {
    printf("no session: %s\n", sluice_last_error_message());
    exit(1);
  }
  return session;
}

void sleep_ms(unsigned ms) {
  struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
  nanosleep(&time, NULL);
}

double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

void write_copy(const char* path, const char* copy, long bytes, long flips) {
  FILE* in = fopen(path, "rb");
  FILE* out = fopen(copy, "wb");
  char* data = NULL;
  long i;
  if (in != NULL && out != NULL && fseek(in, 0, SEEK_END) == 0) {
    if (bytes == 0) bytes = ftell(in);
    rewind(in);
    data = malloc((size_t)bytes);
  }
  CHECK(data != NULL && fread(data, 1, (size_t)bytes, in) == (size_t)bytes);
  for (i = 0; data != NULL && i < flips; ++i) data[bytes / flips * i + bytes / flips / 2] ^= 1;
  CHECK(data != NULL && fwrite(data, 1, (size_t)bytes, out) == (size_t)bytes);
  free(data);
  if (in != NULL) fclose(in);
  if (out != NULL) fclose(out);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL MODEL_WITH_PREDICTORS\n", argv[0]);
    return 2;
  }
  test_library();
  test_layout();
  test_options(argv[1]);
  test_model(argv[1]);
  test_damaged_model(argv[1]);
  test_session(argv[1]);
  test_source(argv[1]);
  test_generate(argv[1]);
  test_session_life(argv[1]);
  test_misuse(argv[1]);
  test_threads(argv[1]);
  test_cancel(argv[1]);
  test_backend(argv[1]);
  test_backend_hints(argv[2]);
  test_async(argv[1]);
  test_tools(argv[1]);
  if (failures() > 0) printf("%d checks failed\n", failures());
  return failures() > 0;
}
