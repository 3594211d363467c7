// Dot products for one SIMD target.
#if defined(SLUICE_LIB_KERNELS_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_LIB_KERNELS_DOT_INL_H_
#undef SLUICE_LIB_KERNELS_DOT_INL_H_
#else
#define SLUICE_LIB_KERNELS_DOT_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "lib/kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// A block of rows hides the latency of the multiply-adds and gives memory as many streams.
inline constexpr size_t kDotRows = 4;
// Tokens of a block: rows x tokens accumulators, the tokens' vectors and one of weights must fit
// the 32 vector registers of AVX-512, or the 16 of the others.
inline constexpr size_t kDotTokens = HWY_TARGET == HWY_AVX3 ? 4 : 3;

// sum[r][t] += rows[r][c] * xs[t][c], for the Lanes() columns from c.
template <size_t kRows, size_t kTokens, class W>
HWY_INLINE void DotStep(const W* const* rows, const float* const* xs, size_t c,
                        VecF32 (&sum)[kRows][kTokens]) {
  const F32 d;
  VecF32 x[kTokens];
  SLUICE_UNROLL
  for (size_t t = 0; t < kTokens; ++t) x[t] = hn::LoadU(d, xs[t] + c);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    const VecF32 w = LoadWide(d, rows[r] + c);
    SLUICE_UNROLL
    for (size_t t = 0; t < kTokens; ++t) sum[r][t] = hn::MulAdd(w, x[t], sum[r][t]);
  }
}

// The same for the last `n` < Lanes() columns.
template <size_t kRows, size_t kTokens, class W>
HWY_INLINE void DotTail(const W* const* rows, const float* const* xs, size_t c, size_t n,
                        VecF32 (&sum)[kRows][kTokens]) {
  const F32 d;
  VecF32 x[kTokens];
  SLUICE_UNROLL
  for (size_t t = 0; t < kTokens; ++t) x[t] = LoadTail(d, xs[t] + c, n);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    const VecF32 w = LoadTail(d, rows[r] + c, n);
    SLUICE_UNROLL
    for (size_t t = 0; t < kTokens; ++t) sum[r][t] = hn::MulAdd(w, x[t], sum[r][t]);
  }
}

// Adds up columns [c, end), `end` a whole number of lines behind c, fetching the lines at `ahead`
// meanwhile.
template <size_t kRows, size_t kTokens, class W>
HWY_INLINE void DotLines(const W* const* row, const float* const* x, size_t c, size_t end,
                         const W* const* ahead, VecF32 (&sum)[kRows][kTokens]) {
  constexpr size_t kLanes = hn::MaxLanes(F32());
  constexpr size_t kLine = std::max(kLanes, kLineBytes / sizeof(W));
  // Copies: the compiler cannot know that no store changes an array that it is given.
  const W* fetch[kRows];
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) fetch[r] = ahead[r];
  for (; c < end; c += kLine) {
    SLUICE_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      hwy::Prefetch(fetch[r]);
      fetch[r] += kLine;
    }
    SLUICE_UNROLL
    for (size_t i = 0; i < kLine; i += kLanes) DotStep<kRows, kTokens>(row, x, c + i, sum);
  }
}

// out[r * kTokens + t] = dot(rows[r], xs[t]). One accumulator vector per pair, filled from column
// 0 upwards whatever the block's shape: that is the order all callers promise.
//   next  rows that will be asked for after these, fetched into cache meanwhile; or nullptr
template <size_t kRows, size_t kTokens, class W>
HWY_NOINLINE void DotBlock(const W* const* rows, size_t cols, const float* const* xs,
                           const W* const* next, float* out) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  constexpr size_t kLine = std::max(kLanes, kLineBytes / sizeof(W));
  constexpr size_t kAhead = kAheadBytes / sizeof(W);
  const W *row[kRows], *ahead[kRows];
  const float* x[kTokens];
  VecF32 sum[kRows][kTokens];
  const size_t lines = cols / kLine * kLine;
  const size_t turn = lines - std::min(lines, kAhead);  // from here on, the next rows are fetched
  SLUICE_UNROLL
  for (size_t t = 0; t < kTokens; ++t) x[t] = xs[t];
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    row[r] = rows[r];
    ahead[r] = rows[r] + kAhead;
    SLUICE_UNROLL
    for (size_t t = 0; t < kTokens; ++t) sum[r][t] = hn::Zero(d);
  }
  DotLines<kRows, kTokens>(row, x, 0, turn, ahead, sum);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) ahead[r] = next != nullptr ? next[r] : rows[r];
  DotLines<kRows, kTokens>(row, x, turn, lines, ahead, sum);
  size_t c = lines;
  for (; c + kLanes <= cols; c += kLanes) DotStep<kRows, kTokens>(row, x, c, sum);
  if (c < cols) DotTail<kRows, kTokens>(row, x, c, cols - c, sum);
  SLUICE_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    SLUICE_UNROLL
    for (size_t t = 0; t < kTokens; ++t) out[r * kTokens + t] = Sum(d, sum[r][t]);
  }
}

// How many of `num_tokens` >= 1 tokens the next block takes: three shapes of code, not one per
// count.
HWY_INLINE size_t BlockTokens(size_t num_tokens) {
  if (num_tokens >= kDotTokens) return kDotTokens;
  return num_tokens >= 2 ? 2 : 1;
}

// DotBlock() for `num_tokens` that came from BlockTokens().
template <size_t kRows, class W>
HWY_INLINE void DotTokens(const W* const* rows, size_t cols, const float* const* xs,
                          size_t num_tokens, const W* const* next, float* out) {
  if (num_tokens == 1) return DotBlock<kRows, 1>(rows, cols, xs, next, out);
  if (num_tokens == 2) return DotBlock<kRows, 2>(rows, cols, xs, next, out);
  DotBlock<kRows, kDotTokens>(rows, cols, xs, next, out);
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
