/* The FFN layers alone: as a whole, and by rows for a host that owns the two matrix products. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>


#include "check.h"

enum { kModel = 256, kFfn = 1024, kLayers = 8 }; /* of tales-7m */

static sluice_model* open_ffn(const char* path, uint32_t backends, int32_t mode,
                              uint64_t budget) {
  sluice_model_options options;
  sluice_model* model = NULL;
  sluice_model_options_init(&options, sizeof options);
  options.ffn_only = 1;
  options.max_sessions = backends;
  options.mode = mode;
  options.dram_budget_bytes = budget;
  CHECK_STATUS(sluice_model_open(path, &options, &model), SLUICE_OK);
  return model;
}

static uint64_t ffn_floor(const char* path, int32_t mode, uint32_t ffn_only) {
  sluice_model_options options;
  sluice_memory_plan plan;
  sluice_model_options_init(&options, sizeof options);
  options.ffn_only = ffn_only;
  options.mode = mode;
  plan.struct_size = sizeof plan;
  CHECK_STATUS(sluice_model_plan(path, &options, &plan), SLUICE_OK);
  CHECK((plan.kv_bytes == 0) == (ffn_only == 1));
  return plan.floor_bytes;
}

static sluice_backend* create_backend(sluice_model* model) {
  sluice_backend* backend = NULL;
  CHECK_STATUS(sluice_backend_create(model, &backend), SLUICE_OK);
  return backend;
}

static sluice_layer_info layer_info(const sluice_backend* backend, uint32_t layer) {
  sluice_layer_info info;
  info.struct_size = sizeof info;
  CHECK_STATUS(sluice_backend_layer_copy(backend, layer, &info), SLUICE_OK);
  return info;
}

static sluice_backend_stats stats_of(const sluice_backend* backend) {
  sluice_backend_stats stats;
  stats.struct_size = sizeof stats;
  CHECK_STATUS(sluice_backend_stats_copy(backend, &stats), SLUICE_OK);
  return stats;
}

/* About what a norm gives. */
static void make_input(uint32_t seed, float* x, size_t count) {
  size_t i;
  for (i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
  }
}

static float from_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const float fraction = (float)(bits & 1023);
  const float size = exponent == 0 ? ldexpf(fraction, -24) : ldexpf(1024 + fraction, exponent - 25);
  return (bits >> 15) != 0 ? -size : size;
}

static float element(const void* row, int32_t type, size_t i) {
  return type == SLUICE_ELEMENT_F16 ? from_f16(((const uint16_t*)row)[i])
                                    : ((const float*)row)[i];
}

static float dot(const void* row, int32_t type, const float* x) {
  float sum = 0;
  size_t k;
  for (k = 0; k < kModel; ++k) sum += element(row, type, k) * x[k];
  return sum;
}

/* How many of the neurons lie in at most `slots` records. */
static size_t part_size(const uint32_t* neurons, size_t count, const sluice_layer_info* info) {
  size_t n = 0;
  uint32_t records = 0, last = UINT32_MAX;
  for (; n < count; ++n) {
    const uint32_t record = neurons[n] / info->neurons_per_record;
    if (record != last && ++records > info->num_slots) break;
    last = record;
  }
  return n;
}

/* What a host does that has matrix products of its own: those of the rows it is lent. `next` is the
 * layer to hint at when the last rows of this one are there; 0: none. */
static void forward_by_rows(sluice_backend* backend, uint32_t layer, uint32_t next,
                            const float* x, float* y) {
  const sluice_layer_info info = layer_info(backend, layer);
  static uint32_t neurons[kFfn];
  static const void *up[kFfn], *down[kFfn];
  size_t count = 0, first = 0, part, i, k;
  CHECK_STATUS(sluice_backend_predict(backend, layer, x, neurons, kFfn, &count), SLUICE_OK);
  CHECK(count > 0 && count <= kFfn);
  for (k = 0; k < kModel; ++k) y[k] = info.down_bias[k];
  for (; first < count; first += part) {
    part = part_size(neurons + first, count - first, &info);
    CHECK_STATUS(sluice_backend_acquire(backend, layer, neurons + first, part, first > 0, up,
                                        down), SLUICE_OK);
    if (next != 0 && first + part == count) {
      CHECK_STATUS(sluice_backend_hint(backend, next, x), SLUICE_OK);
    }
    for (i = 0; i < part; ++i) {
      const float value = dot(up[i], info.element, x) + info.up_bias[neurons[first + i]];
      if (value <= 0) continue; /* ReLU */
      for (k = 0; k < kModel; ++k) y[k] += value * element(down[i], info.element, k);
    }
    CHECK_STATUS(sluice_backend_release(backend, layer), SLUICE_OK);
  }
}

static int near_enough(const float* a, const float* b) {
  size_t k;
  for (k = 0; k < kModel; ++k) {
    if (!(fabsf(a[k] - b[k]) <= 1e-4f * (1 + fabsf(b[k])))) return 0;
  }
  return 1;
}

static void test_layers(const char* path) {
  sluice_model* model = open_ffn(path, 1, SLUICE_MODE_AUTO, 0);
  sluice_backend *backend = create_backend(model), *second = backend;
  sluice_session* session = NULL;
  struct longer {
    sluice_layer_info info;
    unsigned char tail[16];
  } longer;
  sluice_layer_info info = layer_info(backend, kLayers - 1);
  CHECK(info.struct_size == sizeof info && info.d_model == kModel && info.d_ffn == kFfn);
  CHECK(info.element == SLUICE_ELEMENT_F16 && info.neurons_per_record == 4);
  CHECK(info.num_records == kFfn / 4 && info.num_slots <= info.num_records);
  CHECK(info.up_bias != NULL && info.down_bias != NULL && info.reserved[3] == 0);
  CHECK_STATUS(sluice_backend_layer_copy(backend, kLayers, &info), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_layer_copy(backend, 0, NULL), SLUICE_INVALID_ARGUMENT);
  info.struct_size = 4;
  CHECK_STATUS(sluice_backend_layer_copy(backend, 0, &info), SLUICE_INVALID_ARGUMENT);
  memset(&longer, 0xff, sizeof longer);
  longer.info.struct_size = sizeof longer;
  CHECK_STATUS(sluice_backend_layer_copy(backend, 0, &longer.info), SLUICE_OK);
  CHECK(longer.info.d_model == kModel && longer.tail[15] == 0);
  /* There is room for one, and none for a session. */
  CHECK_STATUS(sluice_backend_create(model, &second), SLUICE_BAD_STATE);
  CHECK(second == NULL);
  CHECK_STATUS(sluice_session_create(model, &session), SLUICE_BAD_STATE);
  sluice_model_close(model);
  sluice_backend_close(backend);
  CHECK_STATUS(sluice_backend_layer_copy(backend, 0, &info), SLUICE_INVALID_ARGUMENT);
  CHECK(ffn_floor(path, SLUICE_MODE_AUTO, 1) < ffn_floor(path, SLUICE_MODE_AUTO, 0));
}

/* Tokens together, one by one, out of order: the same bits; and by rows nearly the same. */
static void test_forward(const char* path, int32_t mode, int at_floor) {
  enum { kTokens = 3 };
  static float x[kTokens * kModel], y[kLayers][kTokens * kModel], z[kModel];
  const uint64_t budget = at_floor ? ffn_floor(path, mode, 1) : 0;
  sluice_model* model = open_ffn(path, 1, mode, budget);
  sluice_backend* backend = create_backend(model);
  sluice_backend_stats stats;
  uint32_t layer;
  size_t t;
  make_input(7, x, kTokens * kModel);
  for (layer = kLayers; layer-- > 0;) {
    CHECK_STATUS(sluice_backend_forward(backend, layer, kTokens, x, y[layer]), SLUICE_OK);
  }
  for (t = 0; t < kTokens; ++t) {
    for (layer = 0; layer < kLayers; ++layer) {
      CHECK_STATUS(sluice_backend_forward(backend, layer, 1, x + t * kModel, z), SLUICE_OK);
      CHECK(memcmp(z, y[layer] + t * kModel, sizeof z) == 0);
    }
  }
  for (t = 0; t < kTokens; ++t) {
    for (layer = 0; layer < kLayers; ++layer) {
      const uint32_t next = layer + 1 < kLayers ? layer + 1 : 0;
      forward_by_rows(backend, layer, next, x + t * kModel, z);
      CHECK(near_enough(z, y[layer] + t * kModel));
    }
  }
  stats = stats_of(backend);
  CHECK(stats.struct_size == sizeof stats && stats.tokens == 3 * kTokens * kLayers);
  CHECK(stats.records_needed >= stats.records_missing && stats.records_missing > 0);
  CHECK(stats.reads > 0 && stats.bytes > 0 && stats.total_ms >= stats.io_ms);
  CHECK(stats.neurons_predicted > stats.neurons_active && stats.neurons_active > 0);
  sluice_backend_close(backend);
  sluice_model_close(model);
}

static void test_refused_calls(const char* path) {
  static float x[kModel], y[kModel];
  static uint32_t neurons[kFfn];
  static const void *up[kFfn], *down[kFfn];
  sluice_model* model = open_ffn(path, 1, SLUICE_MODE_DENSE, ffn_floor(path, SLUICE_MODE_DENSE, 1));
  sluice_backend* backend = create_backend(model);
  size_t count = 0;
  sluice_backend_stats stats;
  make_input(3, x, kModel);
  CHECK_STATUS(sluice_backend_forward(backend, kLayers, 1, x, y), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_forward(backend, 0, 1, NULL, y), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_forward(backend, 0, 1, x, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_forward(backend, 0, SIZE_MAX, x, y), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_forward(backend, 0, 1, x, x), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_forward(backend, 0, 0, NULL, NULL), SLUICE_OK);
  CHECK_STATUS(sluice_backend_predict(backend, 0, x, neurons, 10, &count),
               SLUICE_INVALID_ARGUMENT);
  CHECK(count == kFfn);
  CHECK_STATUS(sluice_backend_predict(backend, 0, x, NULL, kFfn, &count),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_predict(backend, 0, x, neurons, kFfn, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_predict(backend, 0, NULL, neurons, kFfn, &count),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_predict(backend, 0, x, neurons, kFfn, &count), SLUICE_OK);
  CHECK_STATUS(sluice_backend_acquire(backend, 0, neurons, kFfn, 0, up, down),
               SLUICE_INVALID_ARGUMENT); /* more records than slots */
  CHECK_STATUS(sluice_backend_acquire(backend, 0, neurons, 1, 2, up, down),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_acquire(backend, 0, NULL, 1, 0, up, down),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_acquire(backend, 0, neurons, 1, 0, NULL, down),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_acquire(backend, 0, neurons, 1, 0, up, NULL),
               SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_release(backend, 0), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_backend_hint(backend, 1, NULL), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_hint(backend, kLayers, x), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_hint(backend, 1, x), SLUICE_OK);
  CHECK_STATUS(sluice_backend_acquire(backend, 2, neurons, 7, 0, up, down), SLUICE_OK);
  CHECK_STATUS(sluice_backend_acquire(backend, 2, neurons, 7, 0, up, down), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_backend_forward(backend, 2, 1, x, y), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_backend_forward(backend, 3, 1, x, y), SLUICE_OK);
  sluice_backend_cancel(backend);
  CHECK_STATUS(sluice_backend_forward(backend, 3, 1, x, y), SLUICE_CANCELLED);
  CHECK_STATUS(sluice_backend_forward(backend, 3, 1, x, y), SLUICE_OK);
  CHECK_STATUS(sluice_backend_stats_copy(backend, NULL), SLUICE_INVALID_ARGUMENT);
  stats.struct_size = 0;
  CHECK_STATUS(sluice_backend_stats_copy(backend, &stats), SLUICE_INVALID_ARGUMENT);
  sluice_backend_close(backend); /* with rows of layer 2 acquired */
  backend = create_backend(model);
  CHECK_STATUS(sluice_backend_forward(backend, 2, 1, x, y), SLUICE_OK);
  sluice_backend_close(backend);
  sluice_model_close(model);
}

/* NULL, closed and mistaken handles. */
static void test_handles(const char* path) {
  static float x[kModel], y[kModel];
  uint32_t neuron = 0;
  size_t count = 0;
  const void *up = NULL, *down = NULL;
  sluice_layer_info info;
  sluice_backend_stats stats;
  sluice_model* model = open_ffn(path, 1, SLUICE_MODE_DENSE, 0);
  sluice_backend* bad[3];
  int i;
  bad[0] = NULL;
  bad[1] = create_backend(model);
  bad[2] = (sluice_backend*)(void*)model;
  sluice_backend_close(bad[1]);
  info.struct_size = sizeof info;
  stats.struct_size = sizeof stats;
  for (i = 0; i < 3; ++i) {
    CHECK_STATUS(sluice_backend_layer_copy(bad[i], 0, &info), SLUICE_INVALID_ARGUMENT);
    CHECK_STATUS(sluice_backend_forward(bad[i], 0, 1, x, y), SLUICE_INVALID_ARGUMENT);
    CHECK_STATUS(sluice_backend_predict(bad[i], 0, x, &neuron, 1, &count),
                 SLUICE_INVALID_ARGUMENT);
    CHECK_STATUS(sluice_backend_acquire(bad[i], 0, &neuron, 1, 0, &up, &down),
                 SLUICE_INVALID_ARGUMENT);
    CHECK_STATUS(sluice_backend_release(bad[i], 0), SLUICE_INVALID_ARGUMENT);
    CHECK_STATUS(sluice_backend_hint(bad[i], 0, x), SLUICE_INVALID_ARGUMENT);
    CHECK_STATUS(sluice_backend_stats_copy(bad[i], &stats), SLUICE_INVALID_ARGUMENT);
    sluice_backend_cancel(bad[i]);
    sluice_backend_close(bad[i]);
  }
  CHECK_STATUS(sluice_backend_create(NULL, &bad[0]), SLUICE_INVALID_ARGUMENT);
  CHECK_STATUS(sluice_backend_create(model, NULL), SLUICE_INVALID_ARGUMENT);
  sluice_backend_close(create_backend(model)); /* the mistakes above took nothing */
  sluice_model_close(model);
}

struct waiter {
  sluice_backend* backend;
  sluice_status status;
};

static void* forward_layer_1(void* argument) {
  static float x[kModel], y[kModel];
  struct waiter* w = argument;
  w->status = sluice_backend_forward(w->backend, 1, 1, x, y);
  return NULL;
}

/* A call that waits for rows which another backend holds: refused to others, ended by close. */
static void test_waiting(const char* path) {
  sluice_model* model = open_ffn(path, 2, SLUICE_MODE_DENSE, 0);
  sluice_backend* holder = create_backend(model);
  struct waiter w = {NULL, SLUICE_OK};
  const uint32_t neuron = 9;
  const void *up = NULL, *down = NULL;
  sluice_backend_stats stats;
  sluice_layer_info info;
  pthread_t thread;
  stats.struct_size = sizeof stats;
  info.struct_size = sizeof info;
  w.backend = create_backend(model);
  CHECK_STATUS(sluice_backend_acquire(holder, 1, &neuron, 1, 0, &up, &down), SLUICE_OK);
  CHECK(pthread_create(&thread, NULL, forward_layer_1, &w) == 0);
  sleep_ms(50);
  CHECK_STATUS(sluice_backend_release(w.backend, 1), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_backend_stats_copy(w.backend, &stats), SLUICE_BAD_STATE);
  CHECK_STATUS(sluice_backend_layer_copy(w.backend, 0, &info), SLUICE_OK);
  sluice_backend_close(w.backend);
  pthread_join(thread, NULL);
  CHECK(w.status == SLUICE_CANCELLED);
  CHECK_STATUS(sluice_backend_release(holder, 1), SLUICE_OK);
  w.backend = create_backend(model);
  forward_layer_1(&w);
  CHECK(w.status == SLUICE_OK);
  sluice_backend_close(w.backend);
  sluice_backend_close(holder);
  sluice_model_close(model);
}

/* With predictors: what is hinted at is read before it is asked for, and need not be read again. */
void test_backend_hints(const char* path) {
  enum { kTokens = 12 };
  static float x[kTokens * kModel], y[kModel], z[kModel];
  uint64_t hinted = 0, asked = 0, asked_without = 0;
  int hints;
  make_input(11, x, kTokens * kModel);
  for (hints = 0; hints < 2; ++hints) {
    const uint64_t floor = ffn_floor(path, SLUICE_MODE_SPARSE, 1);
    sluice_model* model = open_ffn(path, 1, SLUICE_MODE_SPARSE, floor + (1 << 20));
    sluice_backend* backend = create_backend(model);
    uint32_t layer;
    size_t t;
    CHECK(layer_info(backend, 1).has_predictor == 1 && layer_info(backend, 1).has_lookahead == 1);
    CHECK(layer_info(backend, 0).has_lookahead == 0);
    for (t = 0; t < kTokens; ++t) {
      for (layer = 0; layer < kLayers; ++layer) {
        const uint64_t before = stats_of(backend).reads;
        uint64_t between;
        if (hints && layer > 0) {
          CHECK_STATUS(sluice_backend_hint(backend, layer, x + t * kModel), SLUICE_OK);
        }
        between = stats_of(backend).reads;
        forward_by_rows(backend, layer, 0, x + t * kModel, y);
        hinted += between - before;
        *(hints ? &asked : &asked_without) += stats_of(backend).reads - between;
        if (t + 1 < kTokens) continue;
        CHECK_STATUS(sluice_backend_forward(backend, layer, 1, x + t * kModel, z), SLUICE_OK);
        CHECK(near_enough(y, z));
      }
    }
    sluice_backend_close(backend);
    sluice_model_close(model);
  }
  CHECK(hinted > 0 && asked < asked_without);
}

void test_backend(const char* path) {
  test_layers(path);
  test_forward(path, SLUICE_MODE_AUTO, 0);
  test_forward(path, SLUICE_MODE_DENSE, 1);
  test_refused_calls(path);
  test_handles(path);
  test_waiting(path);
}
