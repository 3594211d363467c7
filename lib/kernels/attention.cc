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

void ScoreKeys(const float* q, const float* keys, size_t kv_stride, size_t num_keys,
               size_t head_dim, float* scores) {
  const float* const* const no_next = nullptr;
  const float* rows[kDotRows];
  size_t k = 0;
  for (; k + kDotRows <= num_keys; k += kDotRows) {
    for (size_t i = 0; i < kDotRows; ++i) rows[i] = keys + (k + i) * kv_stride;
    DotBlock<kDotRows, 1>(rows, head_dim, &q, no_next, scores + k);
  }
  for (; k < num_keys; ++k) {
    rows[0] = keys + k * kv_stride;
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

void MixValues(const float* weights, const float* values, size_t kv_stride, size_t num_keys,
               size_t head_dim, float* out) {
  const float* const* const no_next = nullptr;
  const float* rows[kAccumulateRows];
  size_t k = 0;
  for (; k + kAccumulateRows <= num_keys; k += kAccumulateRows) {
    for (size_t i = 0; i < kAccumulateRows; ++i) rows[i] = values + (k + i) * kv_stride;
    AccumulateBlock<kAccumulateRows>(rows, weights + k, no_next, out, 0, head_dim);
  }
  const size_t left = num_keys - k;
  for (size_t i = 0; i < left; ++i) rows[i] = values + (k + i) * kv_stride;
  AccumulateFew(rows, weights + k, left, out, 0, head_dim);
}

void AttentionHead(const float* q, const float* keys, const float* values, size_t kv_stride,
                   size_t num_keys, size_t head_dim, float* scores, float* out) {
  ScoreKeys(q, keys, kv_stride, num_keys, head_dim, scores);
  const float total = ExpScores(scores, num_keys);
  for (size_t c = 0; c < head_dim; ++c) out[c] = 0.0f;
  MixValues(scores, values, kv_stride, num_keys, head_dim, out);
  for (size_t c = 0; c < head_dim; ++c) out[c] /= total;
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(AttentionHead);

void AttentionHead(const float* q, const float* keys, const float* values, size_t kv_stride,
                   size_t num_keys, size_t head_dim, float* scores, float* out) {
  HWY_DYNAMIC_DISPATCH(AttentionHead)
  (q, keys, values, kv_stride, num_keys, head_dim, scores, out);
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
