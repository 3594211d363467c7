#include <algorithm>
#include <cstddef>
#include <limits>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include "lib/kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// A head's rows, each `stride` elements behind the one before.
template <class W>
struct HeadRows {
  const W* first;
  size_t stride, num_rows;

  const W* operator[](size_t k) const { return first + std::min(k, num_rows - 1) * stride; }
};

// As kAheadBytes, but on a single stream.
constexpr size_t kHeadAheadBytes = 6144;

// How many of such rows lie between the one in use and the one to fetch.
template <class W>
HWY_INLINE size_t RowsAhead(const HeadRows<W>& rows) {
  return kHeadAheadBytes / std::max<size_t>(rows.stride * sizeof(W), 1) + 1;
}

// The bits of DotBlock(), which is made for longer rows. The rows of a head are short and lie one
// after the other: one at a time is what memory follows best, and their sums do not wait for each
// other.
template <class W>
void ScoreKeys(const float* q, const HeadRows<W>& keys, size_t head_dim, float* scores) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  const size_t ahead = RowsAhead(keys);
  for (size_t k = 0; k < keys.num_rows; ++k) {
    const W *const row = keys[k], *const next = keys[k + ahead];
    for (size_t c = 0; c < head_dim; c += kLineBytes / sizeof(W)) hwy::Prefetch(next + c);
    VecF32 sum = hn::Zero(d);
    size_t c = 0;
    for (; c + kLanes <= head_dim; c += kLanes) {
      sum = hn::MulAdd(LoadWide(d, row + c), hn::LoadU(d, q + c), sum);
    }
    if (c < head_dim) {
      const size_t left = head_dim - c;
      sum = hn::MulAdd(LoadTail(d, row + c, left), LoadTail(d, q + c, left), sum);
    }
    scores[k] = Sum(d, sum);
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

// Columns whose sums stay in registers while the rows of a head go by.
constexpr size_t kStripVectors = 8;

// out[c] = sum of weights[k] * values[k][c], k ascending, for kVectors * Lanes() columns from c on.
template <size_t kVectors, class W>
HWY_INLINE void MixStrip(const float* weights, const HeadRows<W>& values, size_t c, float* out) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  const size_t ahead = RowsAhead(values);
  VecF32 sum[kVectors];
  SLUICE_UNROLL
  for (size_t i = 0; i < kVectors; ++i) sum[i] = hn::Zero(d);
  for (size_t k = 0; k < values.num_rows; ++k) {
    const W *const row = values[k] + c, *const next = values[k + ahead] + c;
    const VecF32 weight = hn::Set(d, weights[k]);
    SLUICE_UNROLL
    for (size_t i = 0; i < kVectors * kLanes; i += kLineBytes / sizeof(W)) {
      hwy::Prefetch(next + i);
    }
    SLUICE_UNROLL
    for (size_t i = 0; i < kVectors; ++i) {
      sum[i] = hn::MulAdd(weight, LoadWide(d, row + i * kLanes), sum[i]);
    }
  }
  SLUICE_UNROLL
  for (size_t i = 0; i < kVectors; ++i) hn::StoreU(sum[i], d, out + c + i * kLanes);
}

template <class W>
void MixValues(const float* weights, const HeadRows<W>& values, size_t head_dim, float* out) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  size_t c = 0;
  for (; c + kStripVectors * kLanes <= head_dim; c += kStripVectors * kLanes) {
    MixStrip<kStripVectors>(weights, values, c, out);
  }
  for (; c + kLanes <= head_dim; c += kLanes) MixStrip<1>(weights, values, c, out);
  if (c == head_dim) return;
  VecF32 sum = hn::Zero(d);
  for (size_t k = 0; k < values.num_rows; ++k) {
    const VecF32 row = LoadTail(d, values[k] + c, head_dim - c);
    sum = hn::MulAdd(hn::Set(d, weights[k]), row, sum);
  }
  StoreTail(sum, d, out + c, head_dim - c);
}

template <class W>
void AttentionHeadOf(const float* q, const void* keys, const void* values, size_t kv_stride,
                     size_t num_keys, size_t head_dim, float* scores, float* out) {
  const HeadRows<W> key_rows{static_cast<const W*>(keys), kv_stride, num_keys};
  const HeadRows<W> value_rows{static_cast<const W*>(values), kv_stride, num_keys};
  ScoreKeys(q, key_rows, head_dim, scores);
  const float total = ExpScores(scores, num_keys);
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
