// Says which neurons of a layer a token needs.
#ifndef SLUICE_LIB_PREDICTOR_PREDICTOR_H_
#define SLUICE_LIB_PREDICTOR_PREDICTOR_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lib/base/element_type.h"
#include "lib/base/thread_pool.h"

namespace sluice {

// The low-rank predictor of "LLM in a flash" (section 3.1): neuron n is predicted active when
//   out[n] . (in . x) + bias[n] > 0,
// with x the FFN's normalised input of this layer, in: [rank, d_model], out: [d_ffn, rank]; the
// threshold is part of the bias. A lookahead predictor is the same with the input of the layer
// before, and shares `out` with the layer's own. Weights are borrowed.
// Threads: const methods may overlap.
class LowRankPredictor {
 public:
  LowRankPredictor() = default;
  LowRankPredictor(const void* in, const void* out, ElementType type, const float* bias,
                   uint32_t d_model, uint32_t d_ffn, uint32_t rank);

  bool present() const { return rank_ != 0; }
  uint32_t rank() const { return rank_; }
  uint32_t d_ffn() const { return d_ffn_; }

  // Predicts for several tokens; for each the same set as it would get alone.
  //   x        shape [num_tokens, d_model]
  //   scratch  at least ScratchFloats(num_tokens) floats; holds the scores afterwards, see Scores()
  //   active   out: active[t] cleared and filled with ascending neuron ids; no allocation once
  //            each has capacity d_ffn
  //   cancelled  looked at between pieces of a few milliseconds; once set, the answer is void
  void Predict(const float* x, size_t num_tokens, ThreadPool* pool,
               const std::atomic<bool>* cancelled, float* scratch,
               std::vector<uint32_t>* active) const;
  size_t ScratchFloats(size_t num_tokens) const { return num_tokens * (rank_ + d_ffn_); }
  // What Predict() left in its scratch, shape [num_tokens, d_ffn]: positive where predicted.
  const float* Scores(const float* scratch, size_t num_tokens) const {
    return scratch + num_tokens * rank_;
  }

 private:
  const void* in_ = nullptr;
  const void* out_ = nullptr;
  ElementType type_ = ElementType::kF32;
  const float* bias_ = nullptr;
  uint32_t d_model_ = 0, d_ffn_ = 0, rank_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_PREDICTOR_PREDICTOR_H_
