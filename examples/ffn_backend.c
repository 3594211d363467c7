/* One feed-forward layer both ways: as a whole, and by the rows of the neurons that a token needs,
 * for a host that has matrix products of its own.
 *
 *   ffn_backend MODEL.flash [LAYER [DRAM_BUDGET_MIB]]
 *
 * Build it against an installed copy: cc ffn_backend.c $(pkg-config --cflags --libs sluice) -lm */
#include <sluice_backend.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kTokens = 64 };

struct host {
  sluice_backend* backend;
  uint32_t layer;
  sluice_layer_info info;
  uint32_t* neurons;
  const void **up, **down;
  size_t num_neurons;                       /* summed over tokens */
  double predict_ms, acquire_ms, forward_ms; /* likewise */
};

static double now_ms(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static float element(const void* row, int32_t type, size_t i) {
  uint32_t bits;
  float value;
  if (type == SLUICE_ELEMENT_F32) return ((const float*)row)[i];
  bits = ((const uint16_t*)row)[i];
  if (type == SLUICE_ELEMENT_BF16) {
    bits <<= 16;
    memcpy(&value, &bits, sizeof value);
    return value;
  }
  value = (bits & 0x7c00) == 0 ? ldexpf((float)(bits & 1023), -24)
                               : ldexpf((float)(1024 + (bits & 1023)),
                                        (int)((bits >> 10) & 31) - 25);
  return (bits & 0x8000) != 0 ? -value : value;
}

/* How many of these neurons lie in no more records than can be held at one time. */
static size_t part_size(const struct host* h, const uint32_t* neurons, size_t count) {
  size_t n = 0;
  uint32_t records = 0, last = UINT32_MAX;
  for (; n < count; ++n) {
    const uint32_t record = neurons[n] / h->info.neurons_per_record;
    if (record != last && ++records > h->info.num_slots) break;
    last = record;
  }
  return n;
}

/* y += down(relu(up(x) + bias)) over `count` neurons whose rows are there. */
static void multiply(const struct host* h, const uint32_t* neurons, size_t count, const float* x,
                     float* y) {
  size_t i, k;
  for (i = 0; i < count; ++i) {
    float value = h->info.up_bias == NULL ? 0 : h->info.up_bias[neurons[i]];
    for (k = 0; k < h->info.d_model; ++k) {
      value += element(h->up[i], h->info.element, k) * x[k];
    }
    if (value <= 0) continue;
    for (k = 0; k < h->info.d_model; ++k) {
      y[k] += value * element(h->down[i], h->info.element, k);
    }
  }
}

static sluice_status forward_by_rows(struct host* h, const float* x, float* y) {
  size_t count = 0, first = 0, part, k;
  double start = now_ms();
  sluice_status status =
      sluice_backend_predict(h->backend, h->layer, x, h->neurons, h->info.d_ffn, &count);
  h->predict_ms += now_ms() - start;
  h->num_neurons += count;
  for (k = 0; k < h->info.d_model; ++k) {
    y[k] = h->info.down_bias == NULL ? 0 : h->info.down_bias[k];
  }
  for (; status == SLUICE_OK && first < count; first += part) {
    part = part_size(h, h->neurons + first, count - first);
    start = now_ms();
    status = sluice_backend_acquire(h->backend, h->layer, h->neurons + first, part, first > 0,
                                    h->up, h->down);
    h->acquire_ms += now_ms() - start;
    if (status != SLUICE_OK) break;
    multiply(h, h->neurons + first, part, x, y);
    status = sluice_backend_release(h->backend, h->layer);
  }
  return status;
}

/* Both ways for some tokens, the same in each round; the largest difference of an output. */
static sluice_status compare(struct host* h, float* x, float* y, float* z, float* difference) {
  const size_t d = h->info.d_model;
  uint32_t seed = 1;
  size_t t, k;
  h->num_neurons = 0;
  h->predict_ms = h->acquire_ms = h->forward_ms = 0;
  for (t = 0; t < kTokens; ++t) {
    sluice_status status;
    double start;
    for (k = 0; k < d; ++k) { /* in place of what the layer's norm gives */
      seed = seed * 1664525u + 1013904223u;
      x[k] = (float)(seed >> 8) / (float)(1 << 23) - 1;
    }
    status = forward_by_rows(h, x, y);
    if (status != SLUICE_OK) return status;
    start = now_ms();
    status = sluice_backend_forward(h->backend, h->layer, 1, x, z);
    if (status != SLUICE_OK) return status;
    h->forward_ms += now_ms() - start;
    for (k = 0; k < d; ++k) *difference = fmaxf(*difference, fabsf(y[k] - z[k]));
  }
  return SLUICE_OK;
}

static int run(struct host* h) {
  const size_t d = h->info.d_model, f = h->info.d_ffn;
  float* const vectors = malloc(3 * d * sizeof *vectors);
  float difference = 0;
  sluice_status status = SLUICE_OUT_OF_MEMORY;
  h->neurons = malloc(f * sizeof *h->neurons);
  h->up = malloc(f * sizeof *h->up);
  h->down = malloc(f * sizeof *h->down);
  if (vectors != NULL && h->neurons != NULL && h->up != NULL && h->down != NULL) {
    int round;
    status = SLUICE_OK;
    for (round = 0; status == SLUICE_OK && round < 2; ++round) { /* the first fills the slots */
      status = compare(h, vectors, vectors + d, vectors + 2 * d, &difference);
    }
  }
  if (status == SLUICE_OK) {
    printf("layer %u: %.0f of %zu neurons a token; predict %.3f, acquire %.3f, forward %.3f ms\n",
           (unsigned)h->layer, (double)h->num_neurons / kTokens, f, h->predict_ms / kTokens,
           h->acquire_ms / kTokens, h->forward_ms / kTokens);
    printf("largest difference of an output: %g\n", (double)difference);
  }
  free(h->down);
  free(h->up);
  free(h->neurons);
  free(vectors);
  return status == SLUICE_OK && difference < 1e-3f;
}

int main(int argc, char** argv) {
  sluice_model_options options;
  sluice_model* model = NULL;
  struct host h;
  int ok;
  if (argc < 2 || argc > 4) {
    fprintf(stderr, "usage: %s MODEL [LAYER [DRAM_BUDGET_MIB]]\n", argv[0]);
    return 2;
  }
  memset(&h, 0, sizeof h);
  h.layer = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
  h.info.struct_size = sizeof h.info;
  sluice_model_options_init(&options, sizeof options);
  options.ffn_only = 1;
  options.dram_budget_bytes = argc > 3 ? strtoull(argv[3], NULL, 10) << 20 : 0;
  ok = sluice_model_open(argv[1], &options, &model) == SLUICE_OK &&
       sluice_backend_create(model, &h.backend) == SLUICE_OK &&
       sluice_backend_layer_copy(h.backend, h.layer, &h.info) == SLUICE_OK && run(&h);
  if (!ok) fprintf(stderr, "%s: failed: %s\n", argv[0], sluice_last_error_message());
  sluice_backend_close(h.backend);
  sluice_model_close(model);
  return ok ? 0 : 1;
}
