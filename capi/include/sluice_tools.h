/* Bundle files: making them, teaching them predictors, looking into them, measuring. The command
 * line's convert, train, inspect, verify, eval and device, for hosts. The rules are those of
 * sluice.h. */
#ifndef SLUICE_TOOLS_H_
#define SLUICE_TOOLS_H_

#include "sluice.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- convert and train --------------------------------------------------------------------- */

typedef struct sluice_train_options {
  uint32_t struct_size;
  uint32_t rank;          /* of all layers' predictors; 0: what each needs */
  double parameter_share; /* with rank 0: of the model's parameters at most; 0: 0.075 */
  uint64_t seed;          /* 0: 1 */
  uint32_t threads;       /* 0: by affinity mask and CPU quota */
  uint32_t reserved32;
  uint64_t reserved[4];
} sluice_train_options;

enum { SLUICE_DTYPE_AUTO = 0, SLUICE_DTYPE_F32 = 1, SLUICE_DTYPE_F16 = 2, SLUICE_DTYPE_BF16 = 3 };

typedef struct sluice_convert_options {
  uint32_t struct_size;
  int32_t dtype;                    /* of the weights, SLUICE_DTYPE_...; AUTO: as they are */
  const char* calibration_path;     /* UTF-8 text: trains predictors too; NULL: none */
  const char* device_curve_path;    /* of the device that the file is for; NULL: a generic one */
  uint32_t no_placement;            /* 0, or 1: leaves the neurons in their order */
  uint32_t reserved32;
  uint64_t part_bytes;              /* the file in parts of at most so many bytes; 0: in one */
  const sluice_train_options* train; /* with calibration_path; NULL: all defaults */
  uint64_t reserved[4];
} sluice_convert_options;

typedef struct sluice_convert_report {
  uint32_t struct_size;
  uint32_t has_tokenizer;  /* 0 or 1 */
  uint64_t records;
  uint64_t record_bytes;   /* of one */
  uint64_t bytes;          /* of the file, all parts together */
  double seconds;
  uint64_t peak_rss_bytes; /* of the process */
  uint32_t num_parts;      /* 1: one file */
  uint32_t num_layers;     /* that got predictors */
  uint64_t reserved[4];
} sluice_convert_report;

/* Measured on calibration text that was held out of the training. Fractions of d_ffn. */
typedef struct sluice_layer_quality {
  uint32_t layer;
  uint32_t rank;
  double recall;              /* truly active neurons that were predicted */
  double precision;           /* predicted neurons that were truly active */
  double active_fraction;
  double predicted_fraction;
  double lookahead_recall;    /* of the guess made one layer early; 0 for the first layer */
  double lookahead_precision;
} sluice_layer_quality;

/* Each sets every member to its default, as sluice_model_options_init(). Since ABI 1. */
SLUICE_API sluice_status sluice_train_options_init(sluice_train_options* options,
                                                   size_t struct_size);
SLUICE_API sluice_status sluice_convert_options_init(sluice_convert_options* options,
                                                     size_t struct_size);

/* Reads the Hugging Face folder `source` and writes the bundle file `output`, which appears
 * complete or not at all.
 *   options   NULL: all defaults
 *   report    out, set report->struct_size first; or NULL
 *   progress  or NULL
 * SLUICE_OK | SLUICE_NOT_FOUND | SLUICE_INVALID_ARGUMENT | SLUICE_CORRUPT | SLUICE_UNSUPPORTED (the
 * message names file and tensor, expected and found) | SLUICE_OUT_OF_MEMORY: also a full disk |
 * SLUICE_IO | SLUICE_BAD_STATE: calibration needs a tokenizer | SLUICE_CANCELLED. Blocks for
 * minutes. Any thread. Since ABI 1. */
SLUICE_API sluice_status sluice_convert(const char* source, const char* output,
                                        const sluice_convert_options* options,
                                        sluice_convert_report* report, sluice_stage_fn progress,
                                        void* user_data);

/* Trains the predictors of the bundle file `path` anew on the text at `calibration_path`; a new
 * file replaces the old one when all is done.
 *   layers       out, room for layer_capacity; may be NULL when that is 0
 *   layer_count  out: how many there are, also when they did not all fit (that is no error); or
 *                NULL
 * As sluice_convert(). Since ABI 1. */
SLUICE_API sluice_status sluice_train(const char* path, const char* calibration_path,
                                      const sluice_train_options* options,
                                      sluice_layer_quality* layers, size_t layer_capacity,
                                      size_t* layer_count, sluice_stage_fn progress,
                                      void* user_data);

/* ---- look inside --------------------------------------------------------------------------- */

/* What is in a file, as one JSON object with a NUL behind it: the command line's `inspect --json`.
 *   json        out, room for json_capacity bytes, the NUL included; may be NULL when that is 0
 *   json_bytes  out: length without the NUL, also when it did not fit
 * SLUICE_OK | SLUICE_INVALID_ARGUMENT: too little room (nothing written but json_bytes), or no
 * bundle file | those of sluice_model_plan(). Any thread. Since ABI 1. */
SLUICE_API sluice_status sluice_inspect(const char* path, char* json, size_t json_capacity,
                                        size_t* json_bytes);

/* One damaged place: section, layer, neurons, expected and found. Nonzero: no more of them. */
typedef int32_t (*sluice_damage_fn)(const char* line, void* user_data);

/* Checks every checksum.
 *   records    out: how many were checked; or NULL
 *   on_damage  or NULL; all damaged places, when the check is over
 * SLUICE_OK: undamaged | SLUICE_CORRUPT: not (the message names the first place) | those of
 * sluice_model_plan() | SLUICE_CANCELLED. Reads the whole file. Any thread. Since ABI 1. */
SLUICE_API sluice_status sluice_verify(const char* path, uint64_t* records,
                                       sluice_damage_fn on_damage, sluice_stage_fn progress,
                                       void* user_data);

/* ---- measure ------------------------------------------------------------------------------- */

typedef struct sluice_evaluation {
  uint32_t struct_size;
  uint32_t reserved32;
  double perplexity;         /* exp of the mean negative log-likelihood per token of text */
  uint64_t tokens;           /* that were predicted */
  double recall;             /* means over layers and tokens */
  double precision;
  double active_fraction;
  double predicted_fraction;
  uint64_t reserved[4];
} sluice_evaluation;

/* Perplexity of text, and how well the predictors do on it. Takes one session of the model.
 *   window_tokens  the text is cut into pieces of so many; 0: 256, or what the context holds
 *   max_tokens     0: all
 *   evaluation     out, set evaluation->struct_size first
 * SLUICE_OK | SLUICE_INVALID_ARGUMENT: too little text | SLUICE_BAD_STATE: no session is free, or
 * no tokenizer | SLUICE_IO | SLUICE_CORRUPT | SLUICE_CANCELLED. Blocks. Any thread. Since ABI 1. */
SLUICE_API sluice_status sluice_evaluate(sluice_model* model, const char* text, size_t text_bytes,
                                         uint32_t window_tokens, uint64_t max_tokens,
                                         sluice_evaluation* evaluation, sluice_stage_fn progress,
                                         void* user_data);

typedef struct sluice_device_point {
  uint64_t read_bytes;
  uint32_t queue_depth;
  uint32_t reserved32;
  double gb_per_s;    /* 1e9 bytes */
  double us_per_read; /* elapsed time over reads */
} sluice_device_point;

/* What reads cost on the storage that `path`, a file or folder, lies on.
 *   seconds         for all points together; 0: 4
 *   curve_path      where the curve is saved, for sluice_model_options.device_curve_path; or NULL
 *   points          out, room for point_capacity; may be NULL when that is 0
 *   point_count     out: how many there are, also when they did not all fit; or NULL
 * SLUICE_OK | SLUICE_BAD_STATE: storage refuses O_DIRECT or is memory | SLUICE_INVALID_ARGUMENT:
 * too small a file, or one with holes | SLUICE_OUT_OF_MEMORY: no room for a temporary file |
 * SLUICE_IO | SLUICE_CANCELLED. Blocks. Any thread. Since ABI 1. */
SLUICE_API sluice_status sluice_device_measure(const char* path, double seconds,
                                               const char* curve_path,
                                               sluice_device_point* points, size_t point_capacity,
                                               size_t* point_count, sluice_stage_fn progress,
                                               void* user_data);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* SLUICE_TOOLS_H_ */
