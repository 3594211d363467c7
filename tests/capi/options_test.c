/* How structs grow: sizes, tails and reserved members; and which values options may have. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "check.h"

/* Where the first version of this ABI ended: what a host that was built then hands us. */
#define MODEL_OPTIONS_ABI1 \
  (offsetof(sluice_model_options, reserved) + sizeof(((sluice_model_options*)0)->reserved))

/* A struct of a version to come: ours with a tail. */
struct longer_options {
  sluice_model_options options;
  uint64_t tail[3];
};
struct longer_plan {
  sluice_memory_plan plan;
  unsigned char tail[24];
};

static void test_init(void) {
  struct longer_options longer;
  sluice_generate_options generate;
  CHECK_STATUS(sluice_model_options_init(NULL, sizeof(sluice_model_options)),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_generate_options_init(NULL, sizeof generate), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_options_init(&longer.options, MODEL_OPTIONS_ABI1 - 1),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_generate_options_init(&generate, 0), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_generate_options_init(&generate, (size_t)-1), SLUICE_INVALID_ARGUMENT);

  memset(&longer, 0xff, sizeof longer);
  CHECK_STATUS(sluice_model_options_init(&longer.options, sizeof longer.options), SLUICE_OK);
  CHECK(longer.options.struct_size == sizeof longer.options);
  CHECK(longer.options.dram_budget_bytes == 0 && longer.options.reserved[3] == 0);
  CHECK(longer.tail[0] == UINT64_MAX); /* not a byte beyond the size that was given */
  CHECK_STATUS(sluice_model_options_init(&longer.options, sizeof longer), SLUICE_OK);
  CHECK(longer.options.struct_size == sizeof longer && longer.tail[2] == 0);

  longer.options.resident_type = -1;
  CHECK_STATUS(sluice_model_options_init(&longer.options, MODEL_OPTIONS_ABI1), SLUICE_OK);
  CHECK(longer.options.resident_type == -1); /* an older host's struct ends before it */
}

static void test_reading(const char* path) {
  struct longer_options longer;
  sluice_model_options* options = &longer.options;
  sluice_memory_plan plan;
  plan.struct_size = sizeof plan;
  sluice_model_options_init(options, sizeof longer);
  CHECK_STATUS(sluice_model_plan(path, options, &plan), SLUICE_OK);
  longer.tail[2] = 1;
  CHECK_STATUS(sluice_model_plan(path, options, &plan), SLUICE_UNSUPPORTED);
  longer.tail[2] = 0;
  options->reserved[3] = 1;
  CHECK_STATUS(sluice_model_plan(path, options, &plan), SLUICE_UNSUPPORTED);
  options->reserved[3] = 0;
  options->struct_size = 0;
  CHECK_STATUS(sluice_model_plan(path, options, &plan), SLUICE_INVALID_ARGUMENT);
  options->struct_size = UINT32_MAX;
  CHECK_STATUS(sluice_model_plan(path, options, &plan), SLUICE_INVALID_ARGUMENT);
}

/* Members behind `reserved`: absent from an older host's struct, and then the default. */
static void test_appended(const char* path) {
  sluice_model_options options;
  sluice_memory_plan plain, plan;
  plain.struct_size = plan.struct_size = sizeof plan;
  sluice_model_options_init(&options, sizeof options);
  CHECK_STATUS(sluice_model_plan(path, &options, &plain), SLUICE_OK);
  options.kv_type = SLUICE_KV_F16;
  options.resident_type = SLUICE_RESIDENT_Q8;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_OK);
  CHECK(2 * plan.kv_bytes == plain.kv_bytes && plan.resident_bytes < plain.resident_bytes);
  options.kv_type = 2;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_INVALID_ARGUMENT);
  options.kv_type = SLUICE_KV_F32;
  options.resident_type = 2;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_INVALID_ARGUMENT);
  options.resident_type = SLUICE_RESIDENT_AUTO;
  options.disabled = 64; /* no technique of this version */
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_UNSUPPORTED);
  options.struct_size = MODEL_OPTIONS_ABI1;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_OK);
  CHECK(plan.kv_bytes == plain.kv_bytes && plan.resident_bytes == plain.resident_bytes);
}

/* Techniques that are off change what is read, and no result. */
static void test_disabled(const char* path) {
  static float logits[2][4096];
  const int32_t prompt[] = {2, 100, 200, 300};
  sluice_model_options options;
  double reads[2] = {0, 0};
  int i;
  sluice_model_options_init(&options, sizeof options);
  options.context_tokens = 64;
  for (i = 0; i < 2; ++i) {
    sluice_model* model = NULL;
    sluice_session* session = NULL;
    sluice_stats stats;
    stats.struct_size = sizeof stats;
    options.disabled = i == 0 ? 0 : SLUICE_DISABLE_WINDOW | SLUICE_DISABLE_JOIN |
                                    SLUICE_DISABLE_OVERLAP | SLUICE_DISABLE_LOOKAHEAD;
    CHECK_STATUS(sluice_model_open(path, &options, &model), SLUICE_OK);
    CHECK_STATUS(sluice_session_create(model, &session), SLUICE_OK);
    CHECK_STATUS(sluice_session_prefill(session, prompt, 4, NULL, NULL, NULL), SLUICE_OK);
    CHECK_STATUS(sluice_session_decode(session, 400, logits[i]), SLUICE_OK);
    CHECK_STATUS(sluice_session_stats_copy(session, &stats), SLUICE_OK);
    reads[i] = stats.reads_per_token;
    sluice_session_close(session);
    sluice_model_close(model);
  }
  CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
  CHECK(reads[0] == 0 && reads[1] > 100);
}

static void test_writing(const char* path) {
  struct longer_plan longer;
  sluice_memory_plan* plan = &longer.plan;
  memset(&longer, 0xff, sizeof longer);
  plan->struct_size = sizeof *plan;
  CHECK_STATUS(sluice_model_plan(path, NULL, plan), SLUICE_OK);
  CHECK(plan->struct_size == sizeof *plan && plan->fits == 1 && plan->reserved[0] == 0);
  CHECK(longer.tail[0] == 0xff);
  plan->struct_size = sizeof longer;
  CHECK_STATUS(sluice_model_plan(path, NULL, plan), SLUICE_OK);
  CHECK(plan->struct_size == sizeof longer && longer.tail[0] == 0 && longer.tail[23] == 0);
  plan->struct_size = sizeof *plan - 1;
  plan->floor_bytes = 77;
  CHECK_STATUS(sluice_model_plan(path, NULL, plan), SLUICE_INVALID_ARGUMENT);
  CHECK(plan->floor_bytes == 77);
}

static void test_model_values(const char* path) {
  sluice_model_options options;
  sluice_memory_plan plan;
  plan.struct_size = sizeof plan;
  sluice_model_options_init(&options, sizeof options);
  options.mode = 3;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_INVALID_ARGUMENT);
  options.mode = -1;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_INVALID_ARGUMENT);
  options.mode = SLUICE_MODE_DENSE;
  options.engine = 3;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_INVALID_ARGUMENT);
  options.engine = SLUICE_ENGINE_PREAD;
  options.skip_verify = 2;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_INVALID_ARGUMENT);
  options.skip_verify = 1;
  options.queue_depth = 4097;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_INVALID_ARGUMENT);
  options.queue_depth = 8;
  options.context_tokens = UINT32_MAX;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_INVALID_ARGUMENT);
  options.context_tokens = 64;
  options.max_sessions = 2;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_OK);
  CHECK(plan.mode == SLUICE_MODE_DENSE && plan.context_tokens == 64 && plan.max_sessions == 2);
  options.mode = SLUICE_MODE_SPARSE; /* the file has no predictors */
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_BAD_STATE);
}

static void try_float(sluice_session* session, float* member, float value,
                      const sluice_generate_options* options) {
  const float before = *member;
  *member = value;
  CHECK_STATUS(sluice_session_generate(session, "a", 1, options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  *member = before;
}

static void test_generate_values(const char* path) {
  sluice_model* model = open_model(path, 1);
  sluice_session* session = create_session(model);
  sluice_generate_options options;
  const char* no_string[1] = {NULL};
  sluice_generate_options_init(&options, sizeof options);
  options.max_tokens = 1;
  try_float(session, &options.temperature, NAN, &options);
  try_float(session, &options.temperature, -1, &options);
  try_float(session, &options.temperature, INFINITY, &options);
  try_float(session, &options.top_p, NAN, &options);
  try_float(session, &options.top_p, 1.5f, &options);
  try_float(session, &options.min_p, NAN, &options);
  try_float(session, &options.min_p, -0.5f, &options);
  try_float(session, &options.repetition_penalty, NAN, &options);
  try_float(session, &options.repetition_penalty, -2, &options);
  options.stop_count = 1;
  CHECK_STATUS(sluice_session_generate(session, "a", 1, &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  options.stop = no_string;
  CHECK_STATUS(sluice_session_generate(session, "a", 1, &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  options.stop_count = SIZE_MAX;
  CHECK_STATUS(sluice_session_generate(session, "a", 1, &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  options.stop_count = 0;
  options.ignore_eos = 7;
  CHECK_STATUS(sluice_session_generate(session, "a", 1, &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  options.ignore_eos = 0;
  options.reserved32 = 1;
  CHECK_STATUS(sluice_session_generate(session, "a", 1, &options, NULL, NULL, NULL),
               SLUICE_UNSUPPORTED);
  options.reserved32 = 0;
  CHECK_STATUS(sluice_session_generate(session, "a", 1, &options, NULL, NULL, NULL), SLUICE_OK);
  sluice_session_close(session);
  sluice_model_close(model);
}

void test_options(const char* path) {
  test_init();
  test_reading(path);
  test_appended(path);
  test_disabled(path);
  test_writing(path);
  test_model_values(path);
  test_generate_values(path);
}
