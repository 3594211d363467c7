#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/elementwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

float SumOf(const float* x, size_t n) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  VecF32 sum = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = hn::Add(sum, hn::LoadU(d, x + i));
  if (i < n) sum = hn::Add(sum, LoadTail(d, x + i, n - i));
  return Sum(d, sum);
}

// sum((x - mean)^2): the two passes keep the digits that sum(x^2) - n mean^2 would lose.
float SumOfSquares(const float* x, size_t n, float mean) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  const VecF32 center = hn::Set(d, mean);
  VecF32 sum = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VecF32 off = hn::Sub(hn::LoadU(d, x + i), center);
    sum = hn::MulAdd(off, off, sum);
  }
  if (i < n) {
    const VecF32 off = hn::IfThenElseZero(hn::FirstN(d, n - i),
                                          hn::Sub(LoadTail(d, x + i, n - i), center));
    sum = hn::MulAdd(off, off, sum);
  }
  return Sum(d, sum);
}

void LayerNorm(const float* x, const float* gamma, const float* beta, size_t n, float eps,
               float* y) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  const float count = static_cast<float>(n);
  const float mean = SumOf(x, n) / count;
  const float inverse = 1.0f / std::sqrt(SumOfSquares(x, n, mean) / count + eps);
  const VecF32 center = hn::Set(d, mean);
  const VecF32 scale = hn::Set(d, inverse);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    VecF32 v = hn::Mul(hn::Sub(hn::LoadU(d, x + i), center), scale);
    if (gamma != nullptr) v = hn::MulAdd(v, hn::LoadU(d, gamma + i), hn::LoadU(d, beta + i));
    hn::StoreU(v, d, y + i);
  }
  if (i < n) {
    VecF32 v = hn::Mul(hn::Sub(LoadTail(d, x + i, n - i), center), scale);
    if (gamma != nullptr) {
      v = hn::MulAdd(v, LoadTail(d, gamma + i, n - i), LoadTail(d, beta + i, n - i));
    }
    StoreTail(v, d, y + i, n - i);
  }
}

void Add(const float* x, size_t n, float* y) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] += x[i];
}

void Scale(const float* x, float factor, size_t n, float* y) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  const VecF32 by = hn::Set(d, factor);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), by), d, y + i);
  }
  for (; i < n; ++i) y[i] = x[i] * factor;
}

// On the bits: a compiler told that NaN does not exist would drop a test on values.
bool HasNonFinite(const float* x, size_t n) {
  const F32 d;
  const hn::RebindToUnsigned<F32> du;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  const auto exponent = hn::Set(du, 0x7f800000);
  const auto* bits = reinterpret_cast<const uint32_t*>(x);
  auto found = hn::MaskFromVec(hn::Zero(du));
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    found = hn::Or(found, hn::Eq(hn::And(hn::LoadU(du, bits + i), exponent), exponent));
  }
  if (i < n) {
    const auto tail = hn::BitCast(du, LoadTail(d, x + i, n - i));
    found = hn::Or(found, hn::Eq(hn::And(tail, exponent), exponent));
  }
  return !hn::AllFalse(du, found);
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(LayerNorm);
HWY_EXPORT(Add);
HWY_EXPORT(Scale);
HWY_EXPORT(HasNonFinite);

void LayerNorm(const float* x, const float* gamma, const float* beta, size_t n, float eps,
               float* y) {
  HWY_DYNAMIC_DISPATCH(LayerNorm)(x, gamma, beta, n, eps, y);
}

void Add(const float* x, size_t n, float* y) { HWY_DYNAMIC_DISPATCH(Add)(x, n, y); }

void Scale(const float* x, float factor, size_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(Scale)(x, factor, n, y);
}

bool HasNonFinite(const float* x, size_t n) { return HWY_DYNAMIC_DISPATCH(HasNonFinite)(x, n); }

size_t ArgMax(const float* x, size_t n) {
  const auto is_nan = [x](size_t i) {
    return (std::bit_cast<uint32_t>(x[i]) & 0x7fffffff) > 0x7f800000;
  };
  size_t best = 0;
  while (best < n && is_nan(best)) ++best;
  if (best == n) return 0;
  for (size_t i = best + 1; i < n; ++i) {
    if (x[i] > x[best]) best = i;  // false for NaN
  }
  return best;
}

double LogSumExp(const float* x, size_t n) {
  const double max = x[ArgMax(x, n)];
  // All -inf: the sum of nothing. Infinity less itself would be NaN.
  if (std::isinf(max) && max < 0) return max;
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) - max);
  return max + std::log(sum);
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
