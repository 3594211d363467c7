/* What hosts get wrong: every one is an error, none is a crash. */
#include <string.h>

#include "check.h"

/* Every function that takes a model handle refuses `model`. */
static void refuse_model(sluice_model* model) {
  sluice_model_info info;
  sluice_memory_plan plan;
  sluice_session* session = NULL;
  sluice_evaluation evaluation;
  int32_t token = 5;
  char text[8];
  size_t count = 0;
  info.struct_size = sizeof info;
  plan.struct_size = sizeof plan;
  CHECK_STATUS(sluice_model_info_copy(model, &info), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_plan_copy(model, &plan), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_tokenize(model, "a", 1, 0, &token, 1, &count),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_detokenize(model, &token, 1, text, sizeof text, &count),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_create(model, &session), SLUICE_INVALID_ARGUMENT);
  CHECK(session == NULL);
  evaluation.struct_size = sizeof evaluation;
  CHECK_STATUS(sluice_evaluate(model, "a", 1, 0, 0, &evaluation, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
}

static void refuse_session(sluice_session* session) {
  sluice_stats stats;
  const int32_t token = 5;
  size_t count = 77;
  sluice_session* clone = session;
  stats.struct_size = sizeof stats;
  CHECK_STATUS(sluice_session_reset(session), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_prefill(session, &token, 1, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_decode(session, 5, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_generate(session, "a", 1, NULL, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_generate_tokens(session, &token, 1, NULL, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_tokens_copy(session, NULL, 0, &count), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_rewind(session, 0), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_clone(session, &clone), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_save(session, "none.session"), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_load(session, "none.session"), SLUICE_INVALID_ARGUMENT);
  CHECK(count == 0 && clone == NULL);
  CHECK_STATUS(sluice_session_stats_copy(session, &stats), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_stats_reset(session), SLUICE_INVALID_ARGUMENT);
  CHECK(sluice_session_position(session) == 0);
  sluice_session_cancel(session); /* nothing happens */
}

static void test_null_arguments(const char* path, sluice_model* model) {
  sluice_memory_plan plan;
  sluice_model* opened = NULL;
  plan.struct_size = sizeof plan;
  CHECK_STATUS(sluice_model_plan(NULL, NULL, &plan), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_plan(path, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_open(NULL, NULL, &opened), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_open(path, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_session_create(model, NULL), SLUICE_INVALID_ARGUMENT);
  sluice_model_close(NULL);
  sluice_session_close(NULL);
}

static void test_null_tools(const char* path, sluice_model* model) {
  sluice_train_options train;
  sluice_convert_options convert;
  sluice_evaluation evaluation;
  size_t count = 7;
  evaluation.struct_size = sizeof evaluation;
  CHECK_STATUS(sluice_train_options_init(NULL, sizeof train), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_train_options_init(&train, sizeof train - 1), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_convert_options_init(NULL, sizeof convert), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_convert_options_init(&convert, 4097), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_convert(NULL, "none.flash", NULL, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_convert(".", NULL, NULL, NULL, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_train(NULL, path, NULL, NULL, 0, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_train(path, NULL, NULL, NULL, 0, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_train(path, path, NULL, NULL, 3, &count, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK(count == 0);
  CHECK_STATUS(sluice_inspect(NULL, NULL, 0, &count), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_inspect(path, NULL, 0, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_inspect(path, NULL, 100000000, &count), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_verify(NULL, NULL, NULL, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_evaluate(model, "a", 1, 0, 0, NULL, NULL, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_evaluate(model, NULL, 1, 0, 0, &evaluation, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_evaluate(model, "a", SIZE_MAX, 0, 0, &evaluation, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_device_measure(NULL, 0.1, NULL, NULL, 0, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_device_measure(path, 0.1, NULL, NULL, 5, &count, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
}

void test_misuse(const char* path) {
  sluice_model* model = open_model(path, 1);
  sluice_session* session = create_session(model);
  char message[256];
  int not_a_handle = 0;
  test_null_arguments(path, model);
  test_null_tools(path, model);
  refuse_model(NULL);
  refuse_session(NULL);
  refuse_model((sluice_model*)session); /* the wrong type */
  refuse_session((sluice_session*)model);
  refuse_model((sluice_model*)&not_a_handle);

  /* What returns no status leaves the last message alone. */
  CHECK_STATUS(sluice_session_decode(session, -1, NULL), SLUICE_INVALID_ARGUMENT);
  strncpy(message, sluice_last_error_message(), sizeof message - 1);
  message[sizeof message - 1] = '\0';
  sluice_session_close(session);
  sluice_session_close(session); /* twice */
  CHECK(strcmp(message, sluice_last_error_message()) == 0);
  refuse_session(session);
  sluice_model_close(model);
  sluice_model_close(model);
  refuse_model(model);

  /* Values of closed handles do not come back. */
  model = open_model(path, 1);
  refuse_session(session);
  sluice_model_close(model);
}
