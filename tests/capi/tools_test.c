/* Making, teaching, checking and measuring bundle files. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static const char source[] = SLUICE_MODELS "/tales-7m";
static const char held_out[] = SLUICE_MODELS "/tales-7m/held-out.txt";
static const char made[] = "made.flash";
static const char little_text[] = "little.txt";

enum { kMaxStages = 16, kStageBytes = 16 };

/* The stages that a call went through, and one at whose first call it is stopped. */
struct stages {
  char seen[kMaxStages][kStageBytes];
  int count;
  int calls;
  const char* stop_at;
};

static int32_t on_stage(const char* stage, double done, void* user_data) {
  struct stages* stages = user_data;
  int known = 0, i;
  ++stages->calls;
  CHECK(done >= 0 && done <= 1);
  for (i = 0; i < stages->count; ++i) known |= strcmp(stages->seen[i], stage) == 0;
  if (!known && stages->count < kMaxStages) {
    strncpy(stages->seen[stages->count++], stage, kStageBytes - 1);
  }
  return stages->stop_at != NULL && strcmp(stages->stop_at, stage) == 0;
}

static int exists(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file != NULL) fclose(file);
  return file != NULL;
}

static void test_convert(void) {
  struct stages stages = {0};
  sluice_convert_options options;
  sluice_convert_report report;
  uint64_t bytes = 0;
  CHECK_STATUS(sluice_convert_options_init(&options, sizeof options), SLUICE_OK);
  memset(&report, 0xff, sizeof report);
  report.struct_size = sizeof report;
  CHECK_STATUS(sluice_convert(source, made, &options, &report, on_stage, &stages), SLUICE_OK);
  CHECK(stages.count == 3 && strcmp(stages.seen[0], "sources") == 0);
  CHECK(report.has_tokenizer == 1 && report.num_parts == 1 && report.num_layers == 0);
  CHECK(report.records > 0 && report.bytes > report.records * report.record_bytes);
  CHECK(report.seconds > 0 && report.peak_rss_bytes > 0 && report.reserved[0] == 0);
  bytes = report.bytes;
  options.dtype = SLUICE_DTYPE_F32;
  CHECK_STATUS(sluice_convert(source, "f32.flash", &options, &report, NULL, NULL), SLUICE_OK);
  CHECK(report.bytes > bytes);
  remove("f32.flash");
  for (int i = 0; i < stages.count; ++i) {
    struct stages stopped = {.stop_at = stages.seen[i]};
    CHECK_STATUS(sluice_convert(source, "none.flash", NULL, NULL, on_stage, &stopped),
                 SLUICE_CANCELLED);
    CHECK(stopped.count == i + 1);
  }
  CHECK(!exists("none.flash"));
}

/* One bundle file in several, opened and checked by the name of the first. */
static void test_parts(void) {
  static const char* const parts[] = {"parts.flash", "parts.flash.2", "parts.flash.3"};
  sluice_convert_options options;
  sluice_convert_report report;
  uint64_t records = 0;
  size_t i;
  sluice_convert_options_init(&options, sizeof options);
  options.part_bytes = 6 << 20;
  report.struct_size = sizeof report;
  CHECK_STATUS(sluice_convert(source, parts[0], &options, &report, NULL, NULL), SLUICE_OK);
  CHECK(report.num_parts == 3 && report.bytes > 2 * options.part_bytes);
  CHECK_STATUS(sluice_verify(parts[0], &records, NULL, NULL, NULL), SLUICE_OK);
  CHECK(records == report.records);
  for (i = 0; i < 3; ++i) CHECK(remove(parts[i]) == 0);
  options.part_bytes = 4096;
  CHECK_STATUS(sluice_convert(source, parts[0], &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
}

static void test_convert_refuses(void) {
  sluice_convert_options options;
  sluice_train_options train;
  sluice_convert_report report;
  sluice_convert_options_init(&options, sizeof options);
  sluice_train_options_init(&train, sizeof train);
  CHECK_STATUS(sluice_convert("no-such-folder", "none.flash", NULL, NULL, NULL, NULL),
               SLUICE_NOT_FOUND);
  options.dtype = 4;
  CHECK_STATUS(sluice_convert(source, "none.flash", &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  options.dtype = SLUICE_DTYPE_F16;
  options.no_placement = 2;
  CHECK_STATUS(sluice_convert(source, "none.flash", &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  options.no_placement = 0;
  options.reserved32 = 1;
  CHECK_STATUS(sluice_convert(source, "none.flash", &options, NULL, NULL, NULL),
               SLUICE_UNSUPPORTED);
  options.reserved32 = 0;
  options.train = &train;
  train.parameter_share = NAN;
  CHECK_STATUS(sluice_convert(source, "none.flash", &options, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  train.parameter_share = 0;
  train.reserved[3] = 1;
  CHECK_STATUS(sluice_convert(source, "none.flash", &options, NULL, NULL, NULL),
               SLUICE_UNSUPPORTED);
  train.reserved[3] = 0;
  options.calibration_path = "no-such-text";
  CHECK_STATUS(sluice_convert(source, "none.flash", &options, NULL, NULL, NULL),
               SLUICE_NOT_FOUND);
  options.calibration_path = NULL;
  options.device_curve_path = "no-such-curve";
  CHECK_STATUS(sluice_convert(source, "none.flash", &options, NULL, NULL, NULL),
               SLUICE_NOT_FOUND);
  report.struct_size = 8; /* found out before the work, not after it */
  CHECK_STATUS(sluice_convert(source, "none.flash", NULL, &report, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK(!exists("none.flash"));
}

static void test_inspect(void) {
  size_t bytes = 0, again = 0;
  char* json = NULL;
  CHECK_STATUS(sluice_inspect(made, NULL, 0, &bytes), SLUICE_INVALID_ARGUMENT);
  CHECK(bytes > 100);
  json = malloc(bytes + 1);
  if (json == NULL) return;
  memset(json, 'x', bytes + 1);
  CHECK_STATUS(sluice_inspect(made, json, bytes, &again), SLUICE_INVALID_ARGUMENT);
  CHECK(again == bytes && json[0] == 'x');
  CHECK_STATUS(sluice_inspect(made, json, bytes + 1, &again), SLUICE_OK);
  CHECK(again == bytes && strlen(json) == bytes && json[0] == '{' && json[bytes - 1] == '}');
  CHECK(strstr(json, "\"config\":") != NULL && strstr(json, "\"uuid\":") != NULL);
  free(json);
  CHECK_STATUS(sluice_inspect("no-such-file.flash", NULL, 0, &bytes), SLUICE_NOT_FOUND);
  CHECK_STATUS(sluice_inspect(held_out, NULL, 0, &bytes), SLUICE_INVALID_ARGUMENT);
}

struct lines {
  int count;
  int stop_after;
  char first[512];
};

static int32_t on_damage(const char* line, void* user_data) {
  struct lines* lines = user_data;
  if (lines->count++ == 0) strncpy(lines->first, line, sizeof lines->first - 1);
  return lines->count == lines->stop_after;
}

static int32_t stop_progress(const char* stage, double done, void* user_data) {
  (void)done;
  (void)user_data;
  CHECK(strcmp(stage, "verify") == 0 || strcmp(stage, "evaluate") == 0 ||
        strcmp(stage, "measure") == 0);
  return 1;
}

static void test_verify(void) {
  static const char copy[] = "hurt.flash";
  struct lines lines = {0}, some = {.stop_after = 2};
  uint64_t records = 0, checked = 0;
  CHECK_STATUS(sluice_verify(made, &records, on_damage, NULL, &lines), SLUICE_OK);
  CHECK(records > 0 && lines.count == 0);
  CHECK_STATUS(sluice_verify(made, NULL, NULL, stop_progress, NULL), SLUICE_CANCELLED);
  write_copy(made, copy, 0, 1); /* a bit in the middle: of one neuron, or of padding */
  CHECK_STATUS(sluice_verify(copy, &checked, on_damage, NULL, &lines), SLUICE_CORRUPT);
  CHECK(checked == records && lines.count == 1);
  CHECK(strstr(sluice_last_error_message(), copy) != NULL);
  CHECK(strstr(sluice_last_error_message(), lines.first) != NULL);
  CHECK_STATUS(sluice_verify(copy, NULL, NULL, NULL, NULL), SLUICE_CORRUPT);
  write_copy(made, copy, 1 << 20, 0); /* too damaged to be looked through */
  memset(&lines, 0, sizeof lines);
  CHECK_STATUS(sluice_verify(copy, &checked, on_damage, NULL, &lines), SLUICE_CORRUPT);
  CHECK(checked == 0 && lines.count == 1);
  write_copy(made, copy, 0, 7);
  memset(&lines, 0, sizeof lines);
  CHECK_STATUS(sluice_verify(copy, NULL, on_damage, NULL, &lines), SLUICE_CORRUPT);
  CHECK_STATUS(sluice_verify(copy, NULL, on_damage, NULL, &some), SLUICE_CORRUPT);
  CHECK(lines.count > 2 && some.count == 2);
  remove(copy);
  CHECK_STATUS(sluice_verify(copy, NULL, NULL, NULL, NULL), SLUICE_NOT_FOUND);
}

/* About the least that predictors can be trained on. */
static char text[12000];

/* The beginning of the held-out text, in memory and as a file. */
static void read_little_text(void) {
  FILE* in = fopen(held_out, "rb");
  FILE* out = fopen(little_text, "wb");
  CHECK(in != NULL && fread(text, 1, sizeof text, in) == sizeof text);
  CHECK(out != NULL && fwrite(text, 1, sizeof text, out) == sizeof text);
  if (in != NULL) fclose(in);
  if (out != NULL) fclose(out);
}

static void test_evaluate(const char* path) {
  struct stages stages = {0};
  sluice_model* model = open_model(path, 1);
  sluice_session* session = NULL;
  sluice_evaluation all, part;
  all.struct_size = part.struct_size = sizeof all;
  CHECK_STATUS(sluice_evaluate(model, text, 6000, 0, 0, &all, on_stage, &stages), SLUICE_OK);
  CHECK(stages.count == 1 && strcmp(stages.seen[0], "evaluate") == 0);
  CHECK(all.perplexity > 10 && all.perplexity < 200 && all.tokens > 500);
  CHECK(all.recall == 1 && all.predicted_fraction == 1 && all.active_fraction < 0.5);
  CHECK_STATUS(sluice_evaluate(model, text, 6000, 32, 128, &part, NULL, NULL), SLUICE_OK);
  CHECK(part.tokens == 128 && part.perplexity != all.perplexity);
  CHECK_STATUS(sluice_evaluate(model, text, 6000, 0, 0, &part, stop_progress, NULL),
               SLUICE_CANCELLED);
  CHECK_STATUS(sluice_evaluate(model, text, 0, 0, 0, &part, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  part.struct_size = 8;
  CHECK_STATUS(sluice_evaluate(model, text, 6000, 0, 0, &part, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  part.struct_size = sizeof part;
  session = create_session(model);
  CHECK_STATUS(sluice_evaluate(model, text, 6000, 0, 0, &part, NULL, NULL), SLUICE_BAD_STATE);
  sluice_session_close(session);
  sluice_model_close(model);
}

/* On so little text that the predictors are of no use; of what use they are otherwise, the tests
 * of training say. */
static void test_train(void) {
  struct stages stages = {0}, stopped = {0};
  sluice_train_options options;
  sluice_layer_quality layers[9];
  sluice_model* model = NULL;
  sluice_model_info info;
  size_t count = 0;
  CHECK_STATUS(sluice_train_options_init(&options, sizeof options), SLUICE_OK);
  options.rank = 2;
  memset(layers, 0x7f, sizeof layers);
  CHECK_STATUS(sluice_train(made, little_text, &options, layers, 7, &count, on_stage, &stages),
               SLUICE_OK);
  CHECK(count == 8 && stages.count > 2);
  CHECK(layers[6].layer == 6 && layers[6].rank == 2 && layers[7].rank == 0x7f7f7f7f);
  CHECK(layers[6].recall > 0 && layers[6].recall <= 1 && layers[0].lookahead_recall == 0);
  stopped.stop_at = stages.seen[1];
  CHECK_STATUS(sluice_train(made, little_text, &options, NULL, 0, NULL, on_stage, &stopped),
               SLUICE_CANCELLED);
  CHECK(stopped.count == 2);
  info.struct_size = sizeof info;
  CHECK_STATUS(sluice_model_open(made, NULL, &model), SLUICE_OK);
  CHECK_STATUS(sluice_model_info_copy(model, &info), SLUICE_OK);
  CHECK(info.has_predictors == 1);
  sluice_model_close(model);

  options.parameter_share = 2;
  CHECK_STATUS(sluice_train(made, little_text, &options, NULL, 0, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  options.parameter_share = 0;
  options.reserved32 = 1;
  CHECK_STATUS(sluice_train(made, little_text, &options, NULL, 0, NULL, NULL, NULL),
               SLUICE_UNSUPPORTED);
  CHECK_STATUS(sluice_train(made, "no-such-text", NULL, NULL, 0, NULL, NULL, NULL),
               SLUICE_NOT_FOUND);
  CHECK_STATUS(sluice_train("no-such-file.flash", little_text, NULL, NULL, 0, &count, NULL, NULL),
               SLUICE_NOT_FOUND);
  CHECK(count == 0);
}

/* A calibrated conversion goes through every stage there is, and can be stopped at each. */
static void test_calibrated(void) {
  struct stages stages = {0};
  sluice_train_options train;
  sluice_convert_options options;
  sluice_convert_report report;
  int i;
  sluice_train_options_init(&train, sizeof train);
  sluice_convert_options_init(&options, sizeof options);
  train.rank = 2;
  options.train = &train;
  options.calibration_path = little_text;
  report.struct_size = sizeof report;
  CHECK_STATUS(sluice_convert(source, made, &options, &report, on_stage, &stages), SLUICE_OK);
  CHECK(stages.count == 8 && report.num_layers == 8);
  remove(made);
  for (i = 3; i < stages.count; ++i) {
    struct stages stopped = {.stop_at = stages.seen[i]};
    CHECK_STATUS(sluice_convert(source, made, &options, NULL, on_stage, &stopped),
                 SLUICE_CANCELLED);
    CHECK(stopped.count == i + 1 && !exists(made));
  }
}

static void test_measure(void) {
  enum { kPieces = 64 };
  static const char file_path[] = "measured.bin", curve_path[] = "curve.json";
  static char piece[1 << 20];
  sluice_device_point points[3];
  sluice_model_options options;
  sluice_model* model = NULL;
  size_t count = 0;
  sluice_status status;
  int i;
  FILE* file = fopen(file_path, "wb");
  if (file == NULL) return;
  for (i = 0; i < kPieces; ++i) {
    memset(piece, i + 1, sizeof piece);
    CHECK(fwrite(piece, 1, sizeof piece, file) == sizeof piece);
  }
  fclose(file);
  memset(points, 0x7f, sizeof points);
  status = sluice_device_measure(file_path, 0.02, curve_path, points, 2, &count, NULL, NULL);
  if (status == SLUICE_BAD_STATE) { /* in memory, or no O_DIRECT */
    printf("not measured: %s\n", sluice_last_error_message());
  } else {
    CHECK_STATUS(status, SLUICE_OK);
    CHECK(count > 2 && points[1].read_bytes > 0 && points[1].queue_depth > 0);
    CHECK(points[1].gb_per_s > 0 && points[1].us_per_read > 0 && points[1].reserved32 == 0);
    CHECK(points[2].queue_depth == 0x7f7f7f7f);
    sluice_model_options_init(&options, sizeof options);
    options.device_curve_path = curve_path;
    CHECK_STATUS(sluice_model_open(made, &options, &model), SLUICE_OK);
    sluice_model_close(model);
    CHECK_STATUS(sluice_device_measure(file_path, 0.02, NULL, NULL, 0, NULL, stop_progress, NULL),
                 SLUICE_CANCELLED);
    CHECK_STATUS(sluice_device_measure(file_path, 0.02, "no-such-folder/curve", NULL, 0, NULL, NULL,
                                       NULL),
                 SLUICE_NOT_FOUND);
  }
  sluice_model_options_init(&options, sizeof options);
  options.device_curve_path = "no-such-curve";
  CHECK_STATUS(sluice_model_open(made, &options, &model), SLUICE_NOT_FOUND);
  CHECK_STATUS(sluice_device_measure(file_path, NAN, NULL, NULL, 0, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_device_measure(little_text, 0.02, NULL, NULL, 0, NULL, NULL, NULL),
               SLUICE_INVALID_ARGUMENT);
  remove(file_path);
  remove(curve_path);
}

void test_tools(const char* path) {
  read_little_text();
  test_convert();
  test_parts();
  test_convert_refuses();
  test_inspect();
  test_verify();
  test_evaluate(path);
  test_train();
  test_measure();
  test_calibrated();
  remove(made);
  remove(little_text);
}
