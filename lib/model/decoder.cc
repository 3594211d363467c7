#include "lib/model/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/kernels/kernels.h"

namespace sluice {
namespace {

// The least weight bytes, times tokens, that one thread takes at a time.
constexpr size_t kGrainBytes = 64 << 10;
// The most multiply-adds between two looks at the cancellation flag: a few milliseconds.
constexpr size_t kMostWork = 16 << 20;
// The least multiply-adds of attention that are worth a second thread.
constexpr size_t kAttentionGrain = 64 << 10;

}  // namespace

Decoder::Decoder(const ModelConfig& config, const Weights* weights, KvCache* kv, FfnStep* ffn,
                 ThreadPool* pool, const std::atomic<bool>* cancelled, size_t max_tokens)
    : config_(config), weights_(weights), kv_(kv), ffn_(ffn), pool_(pool),
      cancelled_(cancelled) {
  const size_t wide = max_tokens * config.d_model;
  for (auto* buffer : {&hidden_, &normed_, &query_, &mixed_, &sublayer_}) buffer->resize(wide);
  if (config.has_projections()) embedded_.resize(max_tokens * config.embed_dim);
  scores_.resize(static_cast<size_t>(pool->num_threads()) * kv->context_tokens());
  final_.resize(config.d_model);
  projected_.resize(config.embed_dim);
}

uint64_t Decoder::BytesFor(const ModelConfig& config, size_t max_tokens,
                           uint32_t context_tokens, int num_threads) {
  uint64_t floats = 5 * max_tokens * config.d_model;
  if (config.has_projections()) floats += max_tokens * config.embed_dim;
  floats += static_cast<uint64_t>(num_threads) * context_tokens;
  return (floats + config.d_model + config.embed_dim) * sizeof(float);
}

absl::Status Decoder::Forward(absl::Span<const int32_t> tokens, uint32_t position,
                              absl::FunctionRef<bool(uint32_t layer)> on_layer) {
  const size_t count = tokens.size();
  ffn_->BeginPass(count);
  const absl::Cleanup end_pass = [this] { ffn_->EndPass(); };
  Embed(tokens, position);
  for (uint32_t layer = 0; layer < config_.num_layers; ++layer) {
    const LayerWeights& weights = weights_->layer(layer);
    Attention(weights, layer, count, position);
    if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
    SLUICE_RETURN_IF_ERROR(CheckFinite(layer, "attention", count, position));

    // The FFN's input is normalised either before it, or after the residual before.
    const float* input = hidden_.data();
    if (config_.norm_before) {
      ApplyNorm(weights.ffn_norm, count, hidden_.data(), normed_.data());
      input = normed_.data();
    }
    SLUICE_RETURN_IF_ERROR(ffn_->Run(layer, count, input, sublayer_.data()));
    AddResidual(count);
    if (!config_.norm_before) {
      ApplyNorm(weights.ffn_norm, count, hidden_.data(), hidden_.data());
    }
    SLUICE_RETURN_IF_ERROR(CheckFinite(layer, "the feed-forward layer", count, position));
    if (ffn_->observer() != nullptr) {
      ffn_->observer()->OnResidual(layer, count, hidden_.data());
    }
    if (!on_layer(layer)) return absl::CancelledError("cancelled");
  }
  return absl::OkStatus();
}

void Decoder::Embed(absl::Span<const int32_t> tokens, uint32_t position) {
  const kernels::Matrix& table = weights_->embed_tokens();
  float* embedded = config_.has_projections() ? embedded_.data() : hidden_.data();
  for (size_t t = 0; t < tokens.size(); ++t) {
    kernels::RowToF32(table, static_cast<size_t>(tokens[t]), embedded + t * table.cols);
  }
  if (config_.has_projections()) {
    Project(*weights_->project_in(), nullptr, embedded, tokens.size(), hidden_.data());
  }
  const kernels::Matrix& positions = weights_->embed_positions();
  float* position_row = normed_.data();
  for (size_t t = 0; t < tokens.size(); ++t) {
    kernels::RowToF32(positions, position + t + config_.position_offset, position_row);
    kernels::Add(position_row, positions.cols, hidden_.data() + t * positions.cols);
  }
}

void Decoder::Attention(const LayerWeights& weights, uint32_t layer, size_t num_tokens,
                        uint32_t position) {
  const float* input = hidden_.data();
  if (config_.norm_before) {
    ApplyNorm(weights.attn_norm, num_tokens, hidden_.data(), normed_.data());
    input = normed_.data();
  }
  Project(weights.q.matrix, weights.q.bias, input, num_tokens, query_.data());
  // Both buffers are free until the heads are mixed.
  float *const keys = mixed_.data(), *const values = sublayer_.data();
  Project(weights.k.matrix, weights.k.bias, input, num_tokens, keys);
  Project(weights.v.matrix, weights.v.bias, input, num_tokens, values);
  kv_->Store(layer, position, num_tokens, keys, values);
  // OPT scales the query, bias included (OPTAttention.scaling).
  const float scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim()));
  kernels::Scale(query_.data(), scale, num_tokens * config_.d_model, query_.data());
  Attend(layer, num_tokens, position);
  Project(weights.out.matrix, weights.out.bias, mixed_.data(), num_tokens, sublayer_.data());
  AddResidual(num_tokens);
  if (!config_.norm_before) {
    ApplyNorm(weights.attn_norm, num_tokens, hidden_.data(), hidden_.data());
  }
}

// Each token's heads over the positions up to its own.
void Decoder::Attend(uint32_t layer, size_t num_tokens, uint32_t position) {
  const size_t heads = config_.num_heads, dim = config_.head_dim(), d = config_.d_model;
  const size_t units = num_tokens * heads;
  const size_t work = units * (position + num_tokens) * dim;
  const size_t threads = static_cast<size_t>(pool_->num_threads());
  // One range for each thread at most: a range's number is the number of its scores.
  const size_t grain = work < kAttentionGrain ? units : DivideRoundUp(units, threads);
  pool_->ParallelFor(units, grain, [&](size_t begin, size_t end) {
    float* scores = scores_.data() + begin / grain * kv_->context_tokens();
    for (size_t unit = begin; unit < end; ++unit) {
      if (cancelled_->load(std::memory_order_relaxed)) return;
      const size_t t = unit / heads, head = unit % heads, at = t * d + head * dim;
      kernels::AttentionHead(kv_->type(), query_.data() + at, kv_->keys(layer, head),
                             kv_->values(layer, head), dim, position + t + 1, dim, scores,
                             mixed_.data() + at);
    }
  });
}

void Decoder::Project(const kernels::Matrix& matrix, const float* bias, const float* x,
                      size_t num_tokens, float* out) {
  const size_t grain =
      std::max<size_t>(kGrainBytes / (matrix.row_stride_bytes * num_tokens), size_t{4});
  const size_t most = std::max<size_t>(kMostWork / (matrix.cols * num_tokens), 4);
  pool_->ParallelFor(matrix.rows, grain, [&](size_t begin, size_t end) {
    for (; begin < end; begin += most) {
      if (cancelled_->load(std::memory_order_relaxed)) return;
      kernels::MatVec(matrix, bias, x, num_tokens, matrix.cols, out, matrix.rows, begin,
                      std::min(end, begin + most));
    }
  });
  ffn_->Tend();
}

void Decoder::ApplyNorm(const Norm& norm, size_t num_tokens, const float* x, float* y) const {
  const size_t d = config_.d_model;
  for (size_t t = 0; t < num_tokens; ++t) {
    kernels::LayerNorm(x + t * d, norm.weight, norm.bias, d, config_.norm_epsilon, y + t * d);
  }
}

void Decoder::AddResidual(size_t num_tokens) {
  kernels::Add(sublayer_.data(), num_tokens * config_.d_model, hidden_.data());
}

absl::Status Decoder::CheckFinite(uint32_t layer, const char* part, size_t num_tokens,
                                  uint32_t position) const {
  const size_t d = config_.d_model;
  if (!kernels::HasNonFinite(hidden_.data(), num_tokens * d)) return absl::OkStatus();
  size_t t = 0;
  while (!kernels::HasNonFinite(hidden_.data() + t * d, d)) ++t;
  return absl::DataLossError(absl::StrCat("layer ", layer, ": values that are not finite after ",
                                          part, ", at position ", position + t,
                                          "; a weight of this layer is broken or overflows"));
}

absl::Status Decoder::Logits(size_t token, float* out) {
  const float* hidden = hidden_.data() + token * config_.d_model;
  if (config_.final_norm) {
    const Norm& norm = weights_->final_norm();
    kernels::LayerNorm(hidden, norm.weight, norm.bias, config_.d_model, config_.norm_epsilon,
                       final_.data());
    hidden = final_.data();
  }
  if (config_.has_projections()) {
    Project(*weights_->project_out(), nullptr, hidden, 1, projected_.data());
    hidden = projected_.data();
  }
  Project(weights_->lm_head(), nullptr, hidden, 1, out);
  if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
  if (kernels::HasNonFinite(out, config_.vocab_size)) {
    return absl::DataLossError(
        "logits that are not finite after the last layer: the final norm or the output "
        "embeddings are broken");
  }
  return absl::OkStatus();
}

}  // namespace sluice
