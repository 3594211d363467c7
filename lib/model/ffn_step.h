// The feed-forward layer over its active set: asks the predictor which neurons a token needs, the
// window which of their records are missing, hands those to the loader, and computes.
#ifndef SLUICE_LIB_MODEL_FFN_STEP_H_
#define SLUICE_LIB_MODEL_FFN_STEP_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/thread_pool.h"
#include "lib/loader/bundle_loader.h"
#include "lib/model/lookahead.h"
#include "lib/model/neuron_cache.h"
#include "lib/model/weights.h"

namespace sluice {

// For each neuron which of the tokens at hand use it: `words` 64-bit words a neuron, token t is bit
// t % 64 of word t / 64.
struct NeuronMasks {
  std::vector<uint64_t> bits;
  size_t words = 1;

  bool Has(uint32_t neuron, size_t token) const {
    return (bits[neuron * words + token / 64] >> (token % 64)) & 1;
  }
  bool Any(uint32_t neuron) const {
    for (size_t w = 0; w < words; ++w) {
      if (bits[neuron * words + w] != 0) return true;
    }
    return false;
  }
};

// Sees what the FFN layers do, for calibration and evaluation.
class FfnObserver {
 public:
  virtual ~FfnObserver() = default;
  // Before a layer: its normalised input, shape [num_tokens, d_model].
  virtual void OnInput(uint32_t layer, size_t num_tokens, const float* x) = 0;
  // For every neuron once, in ascending order over the calls of one layer.
  //   neurons    ids
  //   outputs    neuron n's output (after ReLU) for token t is outputs[n * num_tokens + t]; every
  //              neuron is computed for every token while there is an observer
  //   predicted  what the active sets are (all, in dense mode)
  virtual void OnNeurons(uint32_t layer, size_t num_tokens, absl::Span<const uint32_t> neurons,
                         const float* outputs, const NeuronMasks& predicted) = 0;
  // After a layer: the residual stream, shape [num_tokens, d_model].
  virtual void OnResidual(uint32_t layer, size_t num_tokens, const float* hidden) {}
};

// What a session's FFN steps took, since the caller last zeroed it.
struct FfnMeter {
  int64_t memory_ns = 0;  // window and slots; the loader's planning is in its own account
  uint64_t records_needed = 0;
  uint64_t records_missing = 0;  // of those, without a slot before the token; read ahead or not
  uint64_t neurons_predicted = 0;  // summed over tokens
  uint64_t neurons_active = 0;
};

// One for each session. Threads: one at a time.
class FfnStep {
 public:
  struct Shape {
    uint32_t d_model = 0;
    uint32_t d_ffn = 0;
    size_t max_tokens = 1;      // that Run() is called with
    uint32_t max_records = 0;   // of any layer
    uint32_t max_rank = 0;      // of any predictor; 0 in dense mode
    bool window = true;         // what Techniques says
    bool overlap = true;
    bool lookahead = true;
  };

  // All borrowed; `cancelled` is looked at between pieces of work of a few milliseconds.
  FfnStep(const Shape& shape, NeuronCache* cache, const Weights* weights, BundleLoader* loader,
          ThreadPool* pool, const std::atomic<bool>* cancelled);

  // y = down(relu(up(x))) over each token's active set: all neurons where the layer has no
  // predictor loaded, else those predicted.
  //   x  shape [num_tokens, d_model], normalised
  //   y  out, shape [num_tokens, d_model]
  // Token t's result has the bits that it would have alone. After an error (storage, kCancelled)
  // no slot claims to hold what it does not, and the call may be repeated.
  absl::Status Run(uint32_t layer, size_t num_tokens, const float* x, float* y);

  // The two halves of Run() that need a disk or a predictor, for who computes by himself.
  // Predict(): the active set of one token, shape [d_model]; valid until the next call of anything
  // here.
  absl::Span<const uint32_t> Predict(uint32_t layer, const float* x);
  // Brings the records of `neurons` (ascending, each < d_ffn) into slots. They stay there while the
  // lease is held, and no call for this layer may be made meanwhile: it would wait for ever.
  //   more  these are more of the token of the last call for this layer
  // kInvalidArgument: more records than slots, and nothing has happened. Other errors as Run().
  absl::StatusOr<LayerSlots::Lease> Fetch(uint32_t layer, absl::Span<const uint32_t> neurons,
                                          bool more);

  // Around the calls of Run() for all layers in turn. EndPass() after errors too: no layer is held
  // and nothing is being read afterwards.
  void BeginPass(size_t num_tokens);
  void EndPass();
  // Between pieces of work outside Run(): keeps the reads going.
  void Tend() { loader_->Poll(); }

  // nullptr: none. With an observer every neuron is computed (the results stay the same).
  void set_observer(FfnObserver* observer) { observer_ = observer; }
  FfnObserver* observer() const { return observer_; }
  FfnMeter& meter() { return meter_; }
  Lookahead& lookahead() { return lookahead_; }

  static uint64_t BytesFor(const Shape& shape);

 private:
  // Records that are computed together as they arrive, at least: each piece is a hand-over to other
  // threads, and when many are on their way half of them are waited for.
  static constexpr size_t kLeastPiece = 48;

  void ChooseActive(const LayerWeights& weights, size_t num_tokens, const float* x);
  void ListNeeded(const RecordLayout& layout, size_t num_tokens);
  void ListRecordsOf(const RecordLayout& layout, absl::Span<const uint32_t> neurons);
  LayerSlots::Lease Enter(uint32_t layer, LayerSlots& slots);
  void Undo(LayerSlots& slots);
  bool MustLandFirst(const LayerSlots& slots) const;
  absl::Status LandAhead(uint32_t layer, LayerSlots& slots);
  absl::Status RunBatches(uint32_t layer, LayerSlots& slots, size_t num_tokens, const float* x,
                          float* y);
  absl::Status RunBatch(uint32_t layer, LayerSlots& slots, absl::Span<const uint32_t> records,
                        size_t num_tokens, const float* x, float* y);
  absl::Status LoadAndComputeUp(uint32_t layer, LayerSlots& slots,
                                absl::Span<const uint32_t> records, size_t num_tokens,
                                const float* x);
  void SortOut(LayerSlots& slots, absl::Span<const uint32_t> records);
  absl::Status TakeArrivals(uint32_t layer, size_t least, LayerSlots& slots);
  void ComputeUp(uint32_t layer, LayerSlots& slots, absl::Span<const uint32_t> records,
                 size_t num_tokens, const float* x);
  void ComputeUpOneToken(const float* up_bias, const RecordLayout& layout, const float* x);
  void ComputeUpManyTokens(const float* up_bias, const RecordLayout& layout, size_t num_tokens,
                           const float* x);
  void ListNeurons(LayerSlots& slots, absl::Span<const uint32_t> records);
  void ComputeDown(const RecordLayout& layout, size_t num_tokens, float* y);
  void CountAndMask(uint32_t layer, size_t num_tokens);

  const Shape shape_;
  NeuronCache* const cache_;
  const Weights* const weights_;
  BundleLoader* const loader_;
  ThreadPool* const pool_;
  const std::atomic<bool>* const cancelled_;
  Lookahead lookahead_;
  FfnObserver* observer_ = nullptr;
  FfnMeter meter_;
  bool one_token_ = false;  // the pass is of one token alone
  uint32_t num_done_ = 0;   // layers of the pass

  // Scratch, all reserved at construction.
  NeuronMasks predicted_;  // the active sets
  bool all_neurons_ = false;  // compute (not use) every neuron: dense, or an observer
  std::vector<std::vector<uint32_t>> active_;  // [token]: the predictor's answer
  std::vector<float> predictor_scratch_;
  std::vector<float> outputs_;       // [neuron * num_tokens + token]
  std::vector<uint32_t> needed_;     // records
  std::vector<SlotFill> fills_;        // of the batch
  std::vector<SlotFill> ahead_fills_;  // of the layer, being read since the layer before
  bool entered_ahead_ = false;         // the layer's token has begun with a guess
  std::vector<RecordRead> reads_;
  std::vector<uint32_t> resident_, arrived_;
  std::vector<RecordFailure> failed_;
  std::vector<uint32_t> neurons_;      // listed: of the records at hand, ascending
  std::vector<const void*> rows_;      // their bundles
  std::vector<float> dots_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_FFN_STEP_H_
