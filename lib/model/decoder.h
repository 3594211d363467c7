// Runs tokens through all layers of a model: the dense part here, the FFN in ffn_step.h.
#ifndef SLUICE_LIB_MODEL_DECODER_H_
#define SLUICE_LIB_MODEL_DECODER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "lib/base/thread_pool.h"
#include "lib/model/ffn_step.h"
#include "lib/model/kv_cache.h"
#include "lib/model/model_config.h"
#include "lib/model/weights.h"

namespace sluice {

// One for each session. Threads: one at a time.
class Decoder {
 public:
  // All borrowed. `max_tokens` that go through the layers together.
  Decoder(const ModelConfig& config, const Weights* weights, KvCache* kv, FfnStep* ffn,
          ThreadPool* pool, const std::atomic<bool>* cancelled, size_t max_tokens);

  // Feeds tokens at positions [position, position + tokens.size()), at most max_tokens, writing
  // their keys and values; earlier positions are read. A token's results have the bits that it
  // would have if fed alone.
  //   on_layer  called after each layer; false stops with kCancelled
  // kDataLoss names the first layer whose output is not finite.
  absl::Status Forward(absl::Span<const int32_t> tokens, uint32_t position,
                       absl::FunctionRef<bool(uint32_t layer)> on_layer);

  // Logits of the token'th of the tokens fed last; out: shape [vocab_size].
  absl::Status Logits(size_t token, float* out);

  static uint64_t BytesFor(const ModelConfig& config, size_t max_tokens, uint32_t context_tokens,
                           int num_threads);

 private:
  void Embed(absl::Span<const int32_t> tokens, uint32_t position);
  void Attention(const LayerWeights& weights, uint32_t layer, size_t num_tokens,
                 uint32_t position);
  void Attend(uint32_t layer, size_t num_tokens, uint32_t position);
  void Project(const kernels::Matrix& matrix, const float* bias, const float* x,
               size_t num_tokens, float* out);
  void ApplyNorm(const Norm& norm, size_t num_tokens, const float* x, float* y) const;
  void AddResidual(size_t num_tokens);
  absl::Status CheckFinite(uint32_t layer, const char* part, size_t num_tokens,
                           uint32_t position) const;

  const ModelConfig config_;
  const Weights* const weights_;
  KvCache* const kv_;
  FfnStep* const ffn_;
  ThreadPool* const pool_;
  const std::atomic<bool>* const cancelled_;

  // Scratch; [max_tokens, d_model] unless said otherwise.
  std::vector<float> hidden_, normed_, query_, mixed_, sublayer_;
  std::vector<float> embedded_;  // [max_tokens, embed_dim], with project_in only
  std::vector<float> scores_;    // [num_threads, context_tokens]
  std::vector<float> final_, projected_;  // [d_model], [embed_dim]
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_DECODER_H_
