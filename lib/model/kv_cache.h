// Keys and values of one session's past tokens, f32.
#ifndef SLUICE_LIB_MODEL_KV_CACHE_H_
#define SLUICE_LIB_MODEL_KV_CACHE_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/status_macros.h"

namespace sluice {

class KvCache {
 public:
  static constexpr char kElementType[] = "f32";

  static absl::StatusOr<KvCache> Create(uint32_t num_layers, uint32_t context_tokens,
                                        uint32_t d_model) {
    KvCache cache;
    cache.context_tokens_ = context_tokens;
    cache.d_model_ = d_model;
    SLUICE_ASSIGN_OR_RETURN(
        cache.buffer_, AlignedBuffer::Allocate(BytesFor(num_layers, context_tokens, d_model)));
    return cache;
  }
  static uint64_t BytesFor(uint32_t num_layers, uint32_t context_tokens, uint32_t d_model) {
    return uint64_t{num_layers} * 2 * context_tokens * d_model * sizeof(float);
  }

  // Row of a position; rows of successive positions follow each other, heads side by side in one.
  float* keys(uint32_t layer, uint32_t position) { return Row(2 * uint64_t{layer}, position); }
  float* values(uint32_t layer, uint32_t position) {
    return Row(2 * uint64_t{layer} + 1, position);
  }
  uint32_t context_tokens() const { return context_tokens_; }

 private:
  float* Row(uint64_t plane, uint32_t position) {
    return buffer_.as<float>() + (plane * context_tokens_ + position) * d_model_;
  }

  AlignedBuffer buffer_;
  uint32_t context_tokens_ = 0;
  uint32_t d_model_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_KV_CACHE_H_
