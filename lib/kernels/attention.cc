#include <algorithm>
#include <cstddef>
#include <limits>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include "lib/kernels/accumulate-inl.h"
#include "lib/kernels/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// A head's rows, each `stride` elements behind the one before.
template <class W>
struct HeadRows {
  const W* first;
  size_t stride, num_rows;

  const W* operator[](size_t k) const { return first + std::min(k, num_rows - 1) * stride; }
};

// How many of such rows lie between the one in use and the one to fetch: short as they are, more
// than one block of `block` rows.
template <class W>
HWY_INLINE size_t RowsAhead(const HeadRows<W>& rows, size_t block) {
  const size_t row_bytes = std::max<size_t>(rows.stride * sizeof(W), 1);
  return (kAheadBytes / row_bytes / block + 1) * block;
}

template <class W>
void ScoreKeys(const float* q, const HeadRows<W>& keys, size_t head_dim, float* scores) {
  const W* const* const no_next = nullptr;
  const size_t ahead = RowsAhead(keys, kDotRows);
  const W *rows[kDotRows], *next[kDotRows];
  size_t k = 0;
  for (; k + kDotRows <= keys.num_rows; k += kDotRows) {
    for (size_t i = 0; i < kDotRows; ++i) {
      rows[i] = keys[k + i];
      next[i] = keys[k + i + ahead];
    }
    DotBlock<kDotRows, 1>(rows, head_dim, &q, next, scores + k);
  }
  for (; k < keys.num_rows; ++k) {
    rows[0] = keys[k];
    DotBlock<1, 1>(rows, head_dim, &q, no_next, scores + k);
  }
}

HWY_INLINE VecF32 ExpBelow(F32 d, VecF32 score, VecF32 max) {
  const VecF32 x = hn::Sub(score, max);
  // Highway's Exp gives 0 for NaN, which would hide it from whoever looks for it later.
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, x));
}

// scores[k] = exp(scores[k] - max); returns their sum.
float ExpScores(float* scores, size_t num_keys) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  float largest = -std::numeric_limits<float>::infinity();
  for (size_t k = 0; k < num_keys; ++k) largest = scores[k] > largest ? scores[k] : largest;
  const VecF32 max = hn::Set(d, largest);
  VecF32 sum = hn::Zero(d);
  size_t k = 0;
  for (; k + kLanes <= num_keys; k += kLanes) {
    const VecF32 e = ExpBelow(d, hn::LoadU(d, scores + k), max);
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, scores + k);
  }
  if (k < num_keys) {
    const size_t left = num_keys - k;
    const VecF32 e = ExpBelow(d, LoadTail(d, scores + k, left), max);
    sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, left), e));
    StoreTail(e, d, scores + k, left);
  }
  return Sum(d, sum);
}

template <class W>
void MixValues(const float* weights, const HeadRows<W>& values, size_t head_dim, float* out) {
  const size_t ahead = RowsAhead(values, kAccumulateRows);
  const W *rows[kAccumulateRows], *next[kAccumulateRows];
  size_t k = 0;
  for (; k + kAccumulateRows <= values.num_rows; k += kAccumulateRows) {
    for (size_t i = 0; i < kAccumulateRows; ++i) {
      rows[i] = values[k + i];
      next[i] = values[k + i + ahead];
    }
    AccumulateBlock<kAccumulateRows>(rows, weights + k, next, out, 0, head_dim);
  }
  const size_t left = values.num_rows - k;
  for (size_t i = 0; i < left; ++i) rows[i] = values[k + i];
  AccumulateFew(rows, weights + k, left, out, 0, head_dim);
}

template <class W>
void AttentionHeadOf(const float* q, const void* keys, const void* values, size_t kv_stride,
                     size_t num_keys, size_t head_dim, float* scores, float* out) {
  const HeadRows<W> key_rows{static_cast<const W*>(keys), kv_stride, num_keys};
  const HeadRows<W> value_rows{static_cast<const W*>(values), kv_stride, num_keys};
  ScoreKeys(q, key_rows, head_dim, scores);
  const float total = ExpScores(scores, num_keys);
  for (size_t c = 0; c < head_dim; ++c) out[c] = 0.0f;
  MixValues(scores, value_rows, head_dim, out);
  for (size_t c = 0; c < head_dim; ++c) out[c] /= total;
}

void AttentionHead(ElementType kv_type, const float* q, const void* keys, const void* values,
                   size_t kv_stride, size_t num_keys, size_t head_dim, float* scores, float* out) {
  switch (kv_type) {
    case ElementType::kF32:
      return AttentionHeadOf<float>(q, keys, values, kv_stride, num_keys, head_dim, scores, out);
    case ElementType::kF16:
      return AttentionHeadOf<Half>(q, keys, values, kv_stride, num_keys, head_dim, scores, out);
    case ElementType::kBF16:
      return AttentionHeadOf<Brain>(q, keys, values, kv_stride, num_keys, head_dim, scores, out);
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(AttentionHead);

void AttentionHead(ElementType kv_type, const float* q, const void* keys, const void* values,
                   size_t kv_stride, size_t num_keys, size_t head_dim, float* scores, float* out) {
  HWY_DYNAMIC_DISPATCH(AttentionHead)
  (kv_type, q, keys, values, kv_stride, num_keys, head_dim, scores, out);
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
