// Keys and values of one session's past tokens.
#ifndef SLUICE_LIB_MODEL_KV_CACHE_H_
#define SLUICE_LIB_MODEL_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/element_type.h"
#include "lib/base/status_macros.h"
#include "lib/kernels/kernels.h"

namespace sluice {

class KvCache {
 public:
  //   type  kF32, or another that what is stored is rounded to
  static absl::StatusOr<KvCache> Create(uint32_t num_layers, uint32_t context_tokens,
                                        uint32_t num_heads, uint32_t head_dim, ElementType type) {
    KvCache cache;
    cache.num_layers_ = num_layers;
    cache.context_tokens_ = context_tokens;
    cache.num_heads_ = num_heads;
    cache.head_dim_ = head_dim;
    cache.type_ = type;
    SLUICE_ASSIGN_OR_RETURN(cache.buffer_,
                            AlignedBuffer::Allocate(BytesFor(num_layers, context_tokens,
                                                             num_heads * head_dim, type)));
    return cache;
  }
  static uint64_t BytesFor(uint32_t num_layers, uint32_t context_tokens, uint32_t d_model,
                           ElementType type) {
    return uint64_t{num_layers} * 2 * context_tokens * d_model * ElementBytes(type);
  }

  // Rows of head_dim elements, those of a head one after the other by position: attention reads
  // a head at a time, and memory gives most to whoever reads on and on.
  const void* keys(uint32_t layer, size_t head) const { return At(2 * uint64_t{layer}, head, 0); }
  const void* values(uint32_t layer, size_t head) const {
    return At(2 * uint64_t{layer} + 1, head, 0);
  }
  // Takes the keys and values of tokens at [position, position + num_tokens), each of shape
  // [num_tokens, num_heads * head_dim], rounded once to type(). What is beyond its range becomes
  // infinite.
  void Store(uint32_t layer, uint32_t position, size_t num_tokens, const float* keys,
             const float* values) {
    for (size_t t = 0; t < num_tokens; ++t) {
      for (size_t head = 0; head < num_heads_; ++head) {
        const size_t from = (t * num_heads_ + head) * head_dim_;
        const uint64_t plane = 2 * uint64_t{layer};
        kernels::FromF32(type_, keys + from, head_dim_, At(plane, head, position + t));
        kernels::FromF32(type_, values + from, head_dim_, At(plane + 1, head, position + t));
      }
    }
  }

  // A run: the first `positions` rows of one head's keys or values, which lie together. In order
  // layer by layer, first the keys of all its heads, then the values.
  size_t num_runs() const { return size_t{num_layers_} * 2 * num_heads_; }
  absl::Span<const std::byte> run(size_t index, uint32_t positions) const {
    return {At(0, index, 0), positions * row_bytes()};
  }
  absl::Span<std::byte> run(size_t index, uint32_t positions) {
    return {At(0, index, 0), positions * row_bytes()};
  }

  ElementType type() const { return type_; }
  uint32_t num_layers() const { return num_layers_; }
  uint32_t num_heads() const { return num_heads_; }
  uint32_t head_dim() const { return head_dim_; }
  uint32_t context_tokens() const { return context_tokens_; }

 private:
  std::byte* At(uint64_t plane, size_t head, size_t position) {
    return buffer_.data() + Offset(plane, head, position);
  }
  const std::byte* At(uint64_t plane, size_t head, size_t position) const {
    return buffer_.data() + Offset(plane, head, position);
  }
  uint64_t Offset(uint64_t plane, size_t head, size_t position) const {
    const uint64_t row = (plane * num_heads_ + head) * context_tokens_ + position;
    return row * row_bytes();
  }
  size_t row_bytes() const { return head_dim_ * ElementBytes(type_); }

  AlignedBuffer buffer_;
  uint32_t num_layers_ = 0;
  uint32_t context_tokens_ = 0;
  uint32_t num_heads_ = 0;
  uint32_t head_dim_ = 0;
  ElementType type_ = ElementType::kF32;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_KV_CACHE_H_
