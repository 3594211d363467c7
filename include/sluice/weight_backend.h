// The feed-forward (FFN) layers of a model alone, for hosts that keep their own attention and KV
// cache: whole layers with Forward(), or one level lower the rows of the neurons that a token needs
// with Predict() and Acquire(). docs/WEIGHT_BACKEND.md has the whole story.
//
//   auto model = sluice::FlashModel::Open("opt.flash", {.ffn_only = true});
//   auto backend = (*model)->CreateWeightBackend();
//   for each layer: (*backend)->Forward(layer, x, y);
#ifndef SLUICE_WEIGHT_BACKEND_H_
#define SLUICE_WEIGHT_BACKEND_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace sluice {

enum class RowType { kF32 = 0, kF16 = 1, kBf16 = 2 };

struct BackendLayer {
  uint32_t d_model = 0;
  uint32_t d_ffn = 0;
  RowType row_type = RowType::kF32;
  uint32_t neurons_per_record = 0;  // neurons [k * this, (k + 1) * this) are read together
  uint32_t num_records = 0;
  uint32_t num_slots = 0;           // records that can be held at one time
  bool has_predictor = false;       // loaded: sparse mode
  bool has_lookahead = false;       // Hint() does something
  // By neuron id, shape [d_ffn], and shape [d_model]; empty: none. Valid while the backend is.
  absl::Span<const float> up_bias;
  absl::Span<const float> down_bias;
};

// Sums since the backend was made.
struct BackendStats {
  uint64_t tokens = 0;              // that went through a layer, summed over layers
  uint64_t records_needed = 0;
  uint64_t records_missing = 0;     // of those, not in DRAM; read ahead or not
  uint64_t records_ahead = 0;       // read on a guess
  uint64_t records_ahead_used = 0;  // of those, needed by the token they were read for
  uint64_t reads = 0;               // requests to storage
  uint64_t bytes = 0;               // from storage
  uint64_t neurons_predicted = 0;
  uint64_t neurons_active = 0;      // of those that were computed here, with non-zero output
  int64_t io_ns = 0;                // waited for reads
  int64_t total_ns = 0;             // in Forward(), Acquire() and Predict()
  std::string engine;               // as in Stats
  std::string engine_reason;
  bool direct_io = false;
};

// Takes the place of one session, and keeps its model alive. Threads: one at a time, any one;
// Cancel() from any thread at any time. layer() may overlap anything.
//
// A backend that is not in a call stands in nobody's way but for rows that it has acquired: what it
// reads ahead between calls is given up when another session or backend needs the layer.
class WeightBackend {
 public:
  virtual ~WeightBackend() = default;  // gives back what is acquired

  virtual uint32_t num_layers() const = 0;
  // kInvalidArgument: no such layer.
  virtual absl::StatusOr<BackendLayer> layer(uint32_t layer) const = 0;

  // y = down(activation(up(x))) with biases, over the neurons that the predictor names (all, in
  // dense mode); the bits are those of a session of the same model.
  //   x  shape [num_tokens, d_model]: what the model's own FFN gets, after its norm
  //   y  out, as x; may not overlap it. Undefined after an error
  // Layers in any order, tokens in any number: they go through in chunks of prefill_chunk_tokens.
  // One token at a time and layers in turn, the next layer is read ahead. Values are not checked:
  // what is not a number comes out as such. kInvalidArgument; kFailedPrecondition: rows of this
  // layer are acquired; kUnavailable, kDataLoss: storage; kCancelled. After an error the call may
  // be repeated. Blocks on storage, and while another session or backend is at the layer.
  virtual absl::Status Forward(uint32_t layer, absl::Span<const float> x,
                               absl::Span<float> y) = 0;

  // The neurons that one token needs, ascending; in dense mode all. Valid until the next call on
  // this backend. No I/O, and too short to be cancelled.
  //   x  shape [d_model], as for Forward()
  virtual absl::StatusOr<absl::Span<const uint32_t>> Predict(uint32_t layer,
                                                             absl::Span<const float> x) = 0;

  // Brings the rows of neurons into DRAM and pins them until Release(). Counts as one token for the
  // layer's neuron window, the parts of one token that follow each other with `more` as one.
  //   neurons    strictly ascending, each < d_ffn
  //   more       these belong to the token of the Acquire() before on this layer
  //   up_rows    out, shape [neurons.size()]: row n of the up projection, d_model elements of
  //              row_type; read only, valid until Release()
  //   down_rows  out, as up_rows: column n of the down projection
  // kInvalidArgument: not ascending, out of range, or in more records than num_slots (the message
  // has both numbers); kFailedPrecondition: rows of this layer are acquired already; others as
  // Forward(). After an error nothing is acquired. Who holds rows of one layer and asks for those
  // of another does so in ascending order of layers, as sessions do.
  virtual absl::Status Acquire(uint32_t layer, absl::Span<const uint32_t> neurons, bool more,
                               absl::Span<const void*> up_rows,
                               absl::Span<const void*> down_rows) = 0;
  // kFailedPrecondition: none are acquired.
  virtual absl::Status Release(uint32_t layer) = 0;

  // Guesses which neurons `layer` will need and starts reading those that are missing, without
  // waiting. The next Forward() or Acquire() takes the reads over when it is of this layer, and
  // abandons them when it is of another; so does a hint for another layer. A wrong guess costs
  // reads, never results.
  //   x  the input of the layer before it, shape [d_model]
  // Does nothing for layer 0, without lookahead predictors, and where somebody is at the layer.
  virtual absl::Status Hint(uint32_t layer, absl::Span<const float> x) = 0;

  // Makes the call that is running now, or the next one that may block, return soon with
  // kCancelled. Any thread.
  virtual void Cancel() = 0;

  virtual BackendStats stats() const = 0;
};

}  // namespace sluice

#endif  // SLUICE_WEIGHT_BACKEND_H_
