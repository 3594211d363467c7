// Loads for one SIMD target: weights of any element type widened to f32, and tails. Compiled
// once per target, hence the guard that toggles.
#if defined(SLUICE_LIB_KERNELS_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_LIB_KERNELS_VECTOR_INL_H_
#undef SLUICE_LIB_KERNELS_VECTOR_INL_H_
#else
#define SLUICE_LIB_KERNELS_VECTOR_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

// Loops over registers must disappear: an array of vectors that is indexed at run time lives in
// memory.
#undef SLUICE_UNROLL
#if defined(__clang__)
#define SLUICE_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define SLUICE_UNROLL _Pragma("GCC unroll 16")
#else
#define SLUICE_UNROLL
#endif

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using VecF32 = hn::Vec<F32>;
using Half = hwy::float16_t;
using Brain = hwy::bfloat16_t;

// What is fetched ahead at a time; on a machine with longer lines, every other fetch does nothing.
inline constexpr size_t kLineBytes = 64;
// How far ahead of its use a row is fetched, its successor behind its end. Nearer, memory answers
// late; much farther, the fetches come in bursts that memory drops, and fill the nearest cache.
inline constexpr size_t kAheadBytes = 2048;

// Lanes(F32()) elements, widened exactly. Any alignment.
HWY_INLINE VecF32 LoadWide(F32 d, const float* p) { return hn::LoadU(d, p); }

using U16 = hn::Rebind<uint16_t, F32>;

// `bits` of f16 numbers, widened exactly.
HWY_INLINE VecF32 WidenHalf(F32 d, hn::Vec<U16> bits) {
  const hn::Rebind<Half, F32> d16;
  const VecF32 wide = hn::PromoteTo(d, hn::BitCast(d16, bits));
#if HWY_TARGET == HWY_SSE2 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_EMU128 || \
    HWY_TARGET == HWY_SCALAR
  // Without an instruction for it, Highway widens infinity and NaN as if they were numbers.
  const hn::RebindToUnsigned<F32> du;
  const auto exponent = hn::Set(du, 0x7c00);
  const auto special = hn::Eq(hn::And(hn::PromoteTo(du, bits), exponent), exponent);
  const auto all_ones = hn::IfThenElseZero(special, hn::Set(du, 0x7f800000));
  return hn::BitCast(d, hn::Or(hn::BitCast(du, wide), all_ones));
#else
  return wide;
#endif
}

HWY_INLINE VecF32 LoadWide(F32 d, const Half* p) {
  return WidenHalf(d, hn::LoadU(U16(), reinterpret_cast<const uint16_t*>(p)));
}

HWY_INLINE VecF32 LoadWide(F32 d, const Brain* p) {
  const hn::Rebind<Brain, F32> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, p));
}

// The first `n` < Lanes(F32()) elements, then zeros. Reads nothing behind them: a row may end
// where mapped memory ends. Not inlined: most rows have no tail, and a block of rows and tokens
// would hold a dozen copies.
template <class W>
HWY_NOINLINE VecF32 LoadTail(F32 d, const W* p, size_t n) {
  HWY_ALIGN W padded[hn::MaxLanes(F32())];
  std::memset(padded, 0, sizeof(padded));
  std::memcpy(padded, p, n * sizeof(W));
  return LoadWide(d, padded);
}

HWY_INLINE void StoreTail(VecF32 v, F32 d, float* p, size_t n) {
  HWY_ALIGN float padded[hn::MaxLanes(F32())];
  hn::Store(v, d, padded);
  std::memcpy(p, padded, n * sizeof(float));
}

HWY_INLINE float Sum(F32 d, VecF32 v) { return hn::GetLane(hn::SumOfLanes(d, v)); }

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
