// Reads ahead: guesses from one layer's input which neurons the next layer will need, and starts
// reading those that are missing behind the reads of the layer at hand.
#ifndef SLUICE_LIB_MODEL_LOOKAHEAD_H_
#define SLUICE_LIB_MODEL_LOOKAHEAD_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "lib/base/thread_pool.h"
#include "lib/loader/bundle_loader.h"
#include "lib/model/lookahead_gain.h"
#include "lib/model/neuron_cache.h"
#include "lib/model/weights.h"

namespace sluice {

// What reading ahead did, since the caller last zeroed it.
struct LookaheadMeter {
  uint64_t records = 0;  // read ahead
  uint64_t used = 0;     // of those, needed by the token they were read for
  int64_t memory_ns = 0;
};

// One for each session. Wrong guesses cost reads, never results. Threads: one at a time.
class Lookahead {
 public:
  // Borrowed. Never starts anything where not `enabled`, or without lookahead predictors.
  Lookahead(bool enabled, uint32_t d_ffn, uint32_t max_rank, uint32_t max_records,
            NeuronCache* cache, const Weights* weights, BundleLoader* loader, ThreadPool* pool,
            const std::atomic<bool>* cancelled);

  // Guesses what `layer` needs and starts reading what of it has no slot. Does nothing for a layer
  // without lookahead predictor, one that another session uses, and while it does not pay.
  //   x      the input of the layer before, shape [d_model]
  //   asked  somebody else decides whether it pays
  // Holds no other layer. An error is the storage engine's: nothing is pending then.
  absl::Status Start(uint32_t layer, const float* x, bool asked = false);

  // Whether a layer, or this one, is held since Start().
  bool holds() const { return lease_.held(); }
  bool holds(uint32_t layer) const { return lease_.held() && layer_ == layer; }
  // The records guessed, ascending. Until the next Start().
  absl::Span<const uint32_t> guess() const { return guess_; }

  // Ends the hold: the caller has the layer now, and in `fills` what is being read for it.
  LayerSlots::Lease Take(std::vector<SlotFill>* fills);

  // What became of a guess.
  //   fills    that were taken
  //   needed   records that the layer turned out to need, ascending
  //   missing  how many of those had no slot and were not being read ahead
  void Learn(uint32_t layer, absl::Span<const SlotFill> fills, absl::Span<const uint32_t> needed,
             size_t missing);

  // Cancels all reads of the loader and gives the slots of those it started back.
  void Abandon();

  // Between the calls of a host that may never come back: the layer, if one is held, is given up to
  // whoever asks `holder` for it. Take() ends that.
  void LendTo(const std::shared_ptr<IdleHolder>& holder);

  // A token's pass through the layers begins and ends: its time says whether reading ahead pays.
  void BeginPass() { gain_.BeginPass(); }
  void EndPass() { gain_.EndPass(); }

  const LookaheadGain& gain() const { return gain_; }
  LookaheadMeter& meter() { return meter_; }

  static uint64_t BytesFor(uint32_t d_ffn, uint32_t max_rank, uint32_t max_records);

 private:
  void ListCandidates(const LowRankPredictor& predictor, const LayerSlots& slots);
  void AddToGuess(size_t count);

  NeuronCache* const cache_;
  const Weights* const weights_;
  BundleLoader* const loader_;
  ThreadPool* const pool_;
  const std::atomic<bool>* const cancelled_;
  LookaheadGain gain_;
  LookaheadMeter meter_;

  uint32_t layer_ = 0;
  LayerSlots::Lease lease_;
  std::vector<uint32_t> neurons_;
  std::vector<float> scratch_;
  std::vector<std::pair<float, uint32_t>> candidates_;  // score, record: those without a slot
  std::vector<uint32_t> guess_;  // records
  std::vector<SlotFill> fills_;
  std::vector<RecordRead> reads_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_LOOKAHEAD_H_
