// Products with q8 rows for one SIMD target.
#if defined(SLUICE_LIB_KERNELS_Q8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_LIB_KERNELS_Q8_INL_H_
#undef SLUICE_LIB_KERNELS_Q8_INL_H_
#else
#define SLUICE_LIB_KERNELS_Q8_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "lib/kernels/kernels.h"
#include "lib/kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// As kAheadBytes; the work on a line of q8 takes longer than on one of other weights, and evens the
// fetches out.
inline constexpr size_t kQ8AheadBytes = 4096;

// A column of a q8 row; behind the padded columns lie the scales (kernels.h).
struct Q8 {
  int8_t value;
};

HWY_INLINE const uint16_t* Q8Scales(const Q8* row, size_t cols) {
  return reinterpret_cast<const uint16_t*>(row + Q8PaddedCols(cols));
}

// Lanes() weights of a group. Exact: 7 bits times the 11 of a scale.
HWY_INLINE VecF32 LoadQ8(F32 d, const Q8* p, VecF32 scale) {
  const hn::Rebind<int8_t, F32> d8;
  const hn::RebindToSigned<F32> d32;
  const auto q = hn::LoadU(d8, reinterpret_cast<const int8_t*>(p));
  return hn::Mul(hn::ConvertTo(d, hn::PromoteTo(d32, q)), scale);
}

// sum[r][t] += row[r][c] * x[t][c] for the columns of the group at c that are before `cols`.
template <size_t kRows, size_t kTokens>
HWY_INLINE void DotGroup(const Q8* const* row, const uint16_t* const* scales,
                         const float* const* x, size_t c, size_t cols,
                         VecF32 (&sum)[kRows][kTokens]) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  VecF32 scale[kRows];
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    scale[r] = WidenHalf(d, hn::Set(U16(), scales[r][c / kQ8Group]));
  }
  SLUICE_UNROLL
  for (size_t i = 0; i < kQ8Group; i += kLanes) {
    if (c + i >= cols) return;
    VecF32 wide[kTokens];
    SLUICE_UNROLL
    for (size_t t = 0; t < kTokens; ++t) {
      wide[t] = c + i + kLanes <= cols ? hn::LoadU(d, x[t] + c + i)
                                       : LoadTail(d, x[t] + c + i, cols - c - i);
    }
    SLUICE_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      const VecF32 w = LoadQ8(d, row[r] + c + i, scale[r]);
      SLUICE_UNROLL
      for (size_t t = 0; t < kTokens; ++t) sum[r][t] = hn::MulAdd(w, wide[t], sum[r][t]);
    }
  }
}

// Whole groups in [c, end), fetching what lies at `ahead` meanwhile.
template <size_t kRows, size_t kTokens>
HWY_INLINE void DotGroups(const Q8* const* row, const uint16_t* const* scales,
                          const float* const* x, size_t c, size_t end, const Q8* const* ahead,
                          VecF32 (&sum)[kRows][kTokens]) {
  const Q8* fetch[kRows];
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) fetch[r] = ahead[r];
  for (; c < end; c += kQ8Group) {
    SLUICE_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      hwy::Prefetch(fetch[r]);
      fetch[r] += kQ8Group;
    }
    DotGroup<kRows, kTokens>(row, scales, x, c, c + kQ8Group, sum);
  }
}

// As DotBlock() of other rows, and with the bits that the widened rows would give there.
template <size_t kRows, size_t kTokens>
HWY_NOINLINE void DotBlock(const Q8* const* rows, size_t cols, const float* const* xs,
                           const Q8* const* next, float* out) {
  const F32 d;
  const Q8 *row[kRows], *ahead[kRows];
  const uint16_t* scales[kRows];
  const float* x[kTokens];
  VecF32 sum[kRows][kTokens];
  const size_t whole = cols / kQ8Group * kQ8Group;
  const size_t turn = whole - std::min(whole, kQ8AheadBytes);
  SLUICE_UNROLL
  for (size_t t = 0; t < kTokens; ++t) x[t] = xs[t];
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    row[r] = rows[r];
    scales[r] = Q8Scales(rows[r], cols);
    ahead[r] = rows[r] + kQ8AheadBytes;
    SLUICE_UNROLL
    for (size_t t = 0; t < kTokens; ++t) sum[r][t] = hn::Zero(d);
  }
  DotGroups<kRows, kTokens>(row, scales, x, 0, turn, ahead, sum);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) ahead[r] = next != nullptr ? next[r] : rows[r];
  if (next != nullptr) {
    for (size_t at = Q8PaddedCols(cols); at < Q8RowBytes(cols); at += kLineBytes) {
      for (size_t r = 0; r < kRows; ++r) hwy::Prefetch(next[r] + at);
    }
  }
  DotGroups<kRows, kTokens>(row, scales, x, turn, whole, ahead, sum);
  if (whole < cols) DotGroup<kRows, kTokens>(row, scales, x, whole, cols, sum);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    SLUICE_UNROLL
    for (size_t t = 0; t < kTokens; ++t) out[r * kTokens + t] = Sum(d, sum[r][t]);
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
