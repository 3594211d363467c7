// Weighted sums of rows for one SIMD target.
#if defined(SLUICE_LIB_KERNELS_ACCUMULATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_LIB_KERNELS_ACCUMULATE_INL_H_
#undef SLUICE_LIB_KERNELS_ACCUMULATE_INL_H_
#else
#define SLUICE_LIB_KERNELS_ACCUMULATE_INL_H_
#endif

#include <cstddef>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "lib/kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// Rows added per pass over y, which so is read and written an eighth as often.
inline constexpr size_t kAccumulateRows = 8;

// y[c] += values[r] * rows[r][c], r ascending, for c in [begin, end).
//   next  rows of the pass after this one, fetched into cache meanwhile; or nullptr
template <size_t kRows, class W>
HWY_NOINLINE void AccumulateBlock(const W* const* rows, const float* values,
                                  const W* const* next, float* y, size_t begin, size_t end) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  VecF32 value[kRows];
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) value[r] = hn::Set(d, values[r]);
  size_t c = begin;
  for (; c + kLanes <= end; c += kLanes) {
    VecF32 sum = hn::LoadU(d, y + c);
    SLUICE_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      sum = hn::MulAdd(value[r], LoadWide(d, rows[r] + c), sum);
      if (next != nullptr) hwy::Prefetch(next[r] + c);
    }
    hn::StoreU(sum, d, y + c);
  }
  if (c < end) {
    VecF32 sum = LoadTail(d, y + c, end - c);
    SLUICE_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      sum = hn::MulAdd(value[r], LoadTail(d, rows[r] + c, end - c), sum);
    }
    StoreTail(sum, d, y + c, end - c);
  }
}

// Fewer rows than kAccumulateRows.
template <class W>
HWY_INLINE void AccumulateFew(const W* const* rows, const float* values, size_t num_rows, float* y,
                              size_t begin, size_t end) {
  const W* const* const no_next = nullptr;
  size_t r = 0;
  for (; r + 4 <= num_rows; r += 4) {
    AccumulateBlock<4>(rows + r, values + r, no_next, y, begin, end);
  }
  for (; r < num_rows; ++r) {
    AccumulateBlock<1>(rows + r, values + r, no_next, y, begin, end);
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
