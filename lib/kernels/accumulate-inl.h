// Weighted sums of rows for one SIMD target.
#if defined(SLUICE_LIB_KERNELS_ACCUMULATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_LIB_KERNELS_ACCUMULATE_INL_H_
#undef SLUICE_LIB_KERNELS_ACCUMULATE_INL_H_
#else
#define SLUICE_LIB_KERNELS_ACCUMULATE_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "lib/kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// Rows added per pass over y, which so is read and written an eighth as often.
inline constexpr size_t kAccumulateRows = 8;

// y[c] += values[r] * rows[r][c], r ascending, for the Lanes() columns from c.
template <size_t kRows, class W>
HWY_INLINE void AccumulateStep(const W* const* rows, const VecF32* value, float* y, size_t c) {
  const F32 d;
  VecF32 sum = hn::LoadU(d, y + c);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) sum = hn::MulAdd(value[r], LoadWide(d, rows[r] + c), sum);
  hn::StoreU(sum, d, y + c);
}

// The same for c in [begin, end), a whole number of lines, fetching the lines at `ahead` meanwhile.
template <size_t kRows, class W>
HWY_INLINE void AccumulateLines(const W* const* rows, const VecF32* value, const W* const* ahead,
                                float* y, size_t begin, size_t end) {
  constexpr size_t kLanes = hn::MaxLanes(F32());
  constexpr size_t kLine = std::max(kLanes, kLineBytes / sizeof(W));
  for (size_t c = begin; c < end; c += kLine) {
    SLUICE_UNROLL
    for (size_t r = 0; r < kRows; ++r) hwy::Prefetch(ahead[r] + (c - begin));
    SLUICE_UNROLL
    for (size_t i = 0; i < kLine; i += kLanes) AccumulateStep<kRows>(rows, value, y, c + i);
  }
}

// y[c] += values[r] * rows[r][c], r ascending, for c in [begin, end).
//   next  rows of the pass after this one, fetched into cache meanwhile; or nullptr
template <size_t kRows, class W>
HWY_NOINLINE void AccumulateBlock(const W* const* rows, const float* values,
                                  const W* const* next, float* y, size_t begin, size_t end) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  constexpr size_t kLine = std::max(kLanes, kLineBytes / sizeof(W));
  constexpr size_t kAhead = kAheadBytes / sizeof(W);
  VecF32 value[kRows];
  // Copies: the compiler cannot know that no store changes an array that it is given.
  const W *row[kRows], *ahead[kRows];
  const size_t lines = begin + (end - begin) / kLine * kLine;
  const size_t turn = lines - std::min(lines - begin, kAhead);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    value[r] = hn::Set(d, values[r]);
    row[r] = rows[r];
    ahead[r] = rows[r] + begin + kAhead;
  }
  AccumulateLines<kRows>(row, value, ahead, y, begin, turn);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) ahead[r] = (next != nullptr ? next[r] : rows[r]) + begin;
  AccumulateLines<kRows>(row, value, ahead, y, turn, lines);
  size_t c = lines;
  for (; c + kLanes <= end; c += kLanes) AccumulateStep<kRows>(row, value, y, c);
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
