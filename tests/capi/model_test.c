/* Opening, describing and damaging a model; its tokenizer. */
#include <stdio.h>
#include <string.h>

#include "check.h"

static void test_open(const char* path) {
  sluice_model_options options;
  sluice_memory_plan plan;
  sluice_model* model = (sluice_model*)&plan; /* must be NULL after a failure */
  sluice_model_options_init(&options, sizeof options);
  CHECK_STATUS(sluice_model_open("no-such-file.flash", NULL, &model), SLUICE_NOT_FOUND);
  CHECK(model == NULL);
  CHECK(strstr(sluice_last_error_message(), "no-such-file.flash") != NULL);
  options.context_tokens = 64;
  options.dram_budget_bytes = 4096;
  plan.struct_size = sizeof plan;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_OK);
  CHECK(plan.fits == 0 && plan.floor_bytes > 4096);
  CHECK_STATUS(sluice_model_open(path, &options, &model), SLUICE_OUT_OF_MEMORY);
  options.dram_budget_bytes = plan.floor_bytes;
  CHECK_STATUS(sluice_model_open(path, &options, &model), SLUICE_OK);
  CHECK(model != NULL);
  sluice_model_close(model);
}

static void test_describe(const char* path) {
  sluice_model* model = open_model(path, 3);
  sluice_model_info info;
  sluice_memory_plan plan;
  info.struct_size = sizeof info;
  CHECK_STATUS(sluice_model_info_copy(model, &info), SLUICE_OK);
  CHECK(info.struct_size == sizeof info);
  CHECK(info.num_layers == 8 && info.d_model == 256 && info.d_ffn == 1024);
  CHECK(info.num_heads == 4 && info.vocab_size == 4096 && info.max_positions == 512);
  CHECK(info.has_tokenizer == 1 && info.has_predictors == 0 && info.file_bytes > 1000000);
  CHECK(strcmp(info.family, "opt") == 0);
  CHECK(info.eos_count == 1 && info.eos_ids[0] == 2 && info.eos_ids[1] == 0);
  plan.struct_size = sizeof plan;
  CHECK_STATUS(sluice_model_plan_copy(model, &plan), SLUICE_OK);
  CHECK(plan.fits == 1 && plan.max_sessions == 3 && plan.context_tokens == 256);
  CHECK(plan.mode == SLUICE_MODE_DENSE && plan.slot_bytes > 0 && plan.predictor_bytes == 0);
  CHECK(plan.resident_bytes + plan.kv_bytes + plan.slot_bytes + plan.scratch_bytes +
            plan.io_bytes <= plan.budget_bytes);
  info.struct_size = 4;
  CHECK_STATUS(sluice_model_info_copy(model, &info), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_info_copy(model, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_plan_copy(model, NULL), SLUICE_INVALID_ARGUMENT);
  sluice_model_close(model);
}

static void test_tokenizer(const char* path) {
  static const char text[] = "The old woman opened the door";
  sluice_model* model = open_model(path, 1);
  int32_t tokens[64];
  char back[128];
  size_t count = 99, bare = 0, bytes = 0;
  CHECK_STATUS(sluice_model_tokenize(model, text, strlen(text), 0, NULL, 0, &bare),
               SLUICE_INVALID_ARGUMENT);
  CHECK(bare > 3);
  CHECK_STATUS(sluice_model_tokenize(model, text, strlen(text), 0, tokens, bare, &count),
               SLUICE_OK);
  CHECK(count == bare);
  CHECK_STATUS(sluice_model_detokenize(model, tokens, count, back, sizeof back, &bytes),
               SLUICE_OK);
  CHECK(bytes == strlen(text) && strcmp(back, text) == 0);
  memset(back, 'x', sizeof back);
  CHECK_STATUS(sluice_model_detokenize(model, tokens, count, back, strlen(text), &bytes),
               SLUICE_INVALID_ARGUMENT); /* no room for the NUL */
  CHECK(bytes == strlen(text) && back[0] == 'x');
  CHECK_STATUS(sluice_model_detokenize(model, tokens, count, back, strlen(text) + 1, &bytes),
               SLUICE_OK);
  CHECK_STATUS(sluice_model_tokenize(model, text, strlen(text), 1, tokens, 64, &count),
               SLUICE_OK);
  CHECK(count == bare + 1 && tokens[0] == 2); /* </s> in front */
  CHECK_STATUS(sluice_model_tokenize(model, NULL, 0, 0, NULL, 0, &count), SLUICE_OK);
  CHECK(count == 0);

  CHECK_STATUS(sluice_model_tokenize(model, NULL, 5, 0, tokens, 64, &count),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_tokenize(model, text, SIZE_MAX, 0, tokens, 64, &count),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_tokenize(model, text, 3, 0, NULL, 64, &count),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_tokenize(model, text, 3, 0, tokens, 64, NULL),
               SLUICE_INVALID_ARGUMENT);
  tokens[0] = 1 << 30;
  CHECK_STATUS(sluice_model_detokenize(model, tokens, 1, back, sizeof back, &bytes),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_detokenize(model, NULL, 1, back, sizeof back, &bytes),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_model_detokenize(model, tokens, 1, back, sizeof back, NULL),
               SLUICE_INVALID_ARGUMENT);
  sluice_model_close(model);
}

void test_model(const char* path) {
  test_open(path);
  test_describe(path);
  test_tokenizer(path);
}

void test_damaged_model(const char* path) {
  static const char copy[] = "damaged.flash";
  sluice_model* model = NULL;
  write_copy(path, copy, 1 << 20, 0);
  CHECK_STATUS(sluice_model_open(copy, NULL, &model), SLUICE_CORRUPT);
  CHECK(model == NULL && strstr(sluice_last_error_message(), copy) != NULL);
  write_copy(path, copy, 0, 4000);
  CHECK_STATUS(sluice_model_open(copy, NULL, &model), SLUICE_CORRUPT);
  CHECK(model == NULL);
  remove(copy);
}
