/* The feed-forward (FFN) layers of a model alone, for hosts that keep their own attention and KV
 * cache: whole layers, or one level lower the rows of the neurons that a token needs. The rules are
 * those of sluice.h.
 *
 *   sluice_model_options options;
 *   sluice_model_options_init(&options, sizeof options);
 *   options.ffn_only = 1;                     // attention and embeddings are the host's
 *   sluice_model_open("opt.flash", &options, &model);
 *   sluice_backend_create(model, &backend);
 *   for each layer: sluice_backend_forward(backend, layer, num_tokens, x, y);
 */
#ifndef SLUICE_BACKEND_H_
#define SLUICE_BACKEND_H_

#include "sluice.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Takes one of the model's max_sessions (their reads and scratch, not their KV caches). Threads: as
 * a session: movable, one call at a time. Keeps the model alive. */
typedef struct sluice_backend sluice_backend;

enum { SLUICE_ELEMENT_F32 = 0, SLUICE_ELEMENT_F16 = 1, SLUICE_ELEMENT_BF16 = 2 };

typedef struct sluice_layer_info {
  uint32_t struct_size;
  uint32_t d_model;
  uint32_t d_ffn;
  int32_t element;             /* of the rows, SLUICE_ELEMENT_... */
  uint32_t neurons_per_record; /* neurons [k * this, (k + 1) * this) are read together */
  uint32_t num_records;
  uint32_t num_slots;          /* records that can be held at one time */
  uint32_t has_predictor;      /* 0 or 1 */
  uint32_t has_lookahead;      /* 0 or 1: sluice_backend_hint() does something */
  uint32_t reserved32;
  const float* up_bias;        /* d_ffn values, by neuron id, or NULL; valid while the backend is */
  const float* down_bias;      /* d_model values, or NULL */
  uint64_t reserved[4];
} sluice_layer_info;

/* SLUICE_OK | SLUICE_BAD_STATE: all max_sessions are taken. Any thread. Since ABI 1. */
SLUICE_API sluice_status sluice_backend_create(sluice_model* model, sluice_backend** backend);
/* Takes the handle. Rows that are still acquired are released; a call that runs on another thread
 * is cancelled and waited for. Any thread. Since ABI 1. */
SLUICE_API void sluice_backend_close(sluice_backend* backend);

/* Set info->struct_size first. SLUICE_INVALID_ARGUMENT: no such layer. Since ABI 1. */
SLUICE_API sluice_status sluice_backend_layer_copy(const sluice_backend* backend, uint32_t layer,
                                                   sluice_layer_info* info);

/* y = down(activation(up(x))) with biases, over the neurons that the predictor names (all, in dense
 * mode). The bits are those of a session of the same model.
 *   x  num_tokens * d_model floats, one token after the other: what the model's own FFN gets,
 *      after its norm
 *   y  out, as x; may not overlap it
 * Layers may come in any order, tokens in any number (they go through in chunks of
 * prefill_chunk_tokens). One token at a time and layers in turn, the next layer is read ahead.
 * SLUICE_OK | SLUICE_INVALID_ARGUMENT | SLUICE_BAD_STATE: another call runs, or rows of this layer
 * are acquired | SLUICE_IO | SLUICE_CORRUPT | SLUICE_CANCELLED. Blocks on storage. Since ABI 1. */
SLUICE_API sluice_status sluice_backend_forward(sluice_backend* backend, uint32_t layer,
                                                size_t num_tokens, const float* x, float* y);

/* The neurons that one token needs, ascending.
 *   x             d_model floats, as for sluice_backend_forward()
 *   neurons       out, room for neuron_capacity (d_ffn always suffices)
 *   neuron_count  out: how many there are, also when they did not fit
 * SLUICE_OK | SLUICE_INVALID_ARGUMENT | SLUICE_BAD_STATE: another call runs. No I/O. In dense mode:
 * all neurons. Since ABI 1. */
SLUICE_API sluice_status sluice_backend_predict(sluice_backend* backend, uint32_t layer,
                                                const float* x, uint32_t* neurons,
                                                size_t neuron_capacity, size_t* neuron_count);

/* Brings the rows of neurons into DRAM and pins them until sluice_backend_release(). This counts as
 * one token for the layer's neuron window, the parts of one token that follow each other with
 * `more` as one.
 *   neurons    neuron_count ids, strictly ascending
 *   more       0, or 1: these belong to the token of the acquire before on this layer
 *   up_rows    out, neuron_count pointers to d_model elements each: row n of the up projection
 *   down_rows  out, neuron_count pointers to d_model elements each: column n of the down projection
 * Pointers are valid until the release; read only. At most num_slots records at a time: more is
 * SLUICE_INVALID_ARGUMENT, and the message names the limit; nothing is acquired then.
 * SLUICE_OK | SLUICE_BAD_STATE: another call runs, or rows of this layer are acquired already |
 * SLUICE_IO | SLUICE_CORRUPT | SLUICE_CANCELLED. Blocks on storage, and while another session or
 * backend of the model uses the layer. A thread that holds rows of one layer and asks for those of
 * another should do so in ascending order of layers, as sessions do. Since ABI 1. */
SLUICE_API sluice_status sluice_backend_acquire(sluice_backend* backend, uint32_t layer,
                                                const uint32_t* neurons, size_t neuron_count,
                                                uint32_t more, const void** up_rows,
                                                const void** down_rows);
/* Gives the rows of a layer back. SLUICE_BAD_STATE: none are acquired. Since ABI 1. */
SLUICE_API sluice_status sluice_backend_release(sluice_backend* backend, uint32_t layer);

/* Guesses which neurons `layer` will need, and starts reading those that are missing; returns
 * without waiting. A wrong guess costs reads, never results.
 *   x  the input of the layer before it, d_model floats
 * Does nothing for layer 0, without lookahead predictors, and where another session or backend
 * holds the layer. SLUICE_OK | SLUICE_INVALID_ARGUMENT | SLUICE_BAD_STATE: another call runs |
 * SLUICE_IO. Since ABI 1. */
SLUICE_API sluice_status sluice_backend_hint(sluice_backend* backend, uint32_t layer,
                                             const float* x);

/* As sluice_session_cancel(): any thread, at any time. Since ABI 1. */
SLUICE_API void sluice_backend_cancel(sluice_backend* backend);

typedef struct sluice_backend_stats {
  uint32_t struct_size;
  uint32_t direct_io;         /* 1: reads bypass the page cache */
  uint64_t tokens;            /* that went through a layer, summed over layers */
  uint64_t records_needed;
  uint64_t records_missing;   /* of those, not in DRAM */
  uint64_t reads;             /* requests to storage */
  uint64_t bytes;             /* from storage */
  uint64_t neurons_predicted;
  uint64_t neurons_active;    /* of those that were computed here, with non-zero output */
  double io_ms;               /* waited for reads */
  double total_ms;            /* in forward, acquire and predict */
  uint64_t reserved[4];
} sluice_backend_stats;

/* Sums since the backend was made. Set stats->struct_size first. SLUICE_OK | SLUICE_BAD_STATE: a
 * call runs. Any thread. Since ABI 1. */
SLUICE_API sluice_status sluice_backend_stats_copy(const sluice_backend* backend,
                                                   sluice_backend_stats* stats);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* SLUICE_BACKEND_H_ */
