#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/convert.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

template <class W>
void Widen(const void* src, size_t n, float* dst) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  const auto* from = static_cast<const W*>(src);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(LoadWide(d, from + i), d, dst + i);
  if (i < n) StoreTail(LoadTail(d, from + i, n - i), d, dst + i, n - i);
}

void ToF32(ElementType type, const void* src, size_t n, float* dst) {
  switch (type) {
    case ElementType::kF32:
      if (n > 0) std::memmove(dst, src, n * sizeof(float));
      return;
    case ElementType::kF16:
      return Widen<Half>(src, n, dst);
    case ElementType::kBF16:
      return Widen<Brain>(src, n, dst);
  }
}

using U32 = hn::RebindToUnsigned<F32>;
using VecU32 = hn::Vec<U32>;

// Rounds the magnitude `abs` (the bits of an f32 without its sign) to nearest even at bit `kDrop`.
template <int kDrop>
HWY_INLINE VecU32 RoundOff(U32 du, VecU32 abs) {
  const VecU32 odd = hn::And(hn::ShiftRight<kDrop>(abs), hn::Set(du, 1));
  const VecU32 just_below_half = hn::Set(du, (1u << (kDrop - 1)) - 1);
  return hn::ShiftRight<kDrop>(hn::Add(abs, hn::Add(just_below_half, odd)));
}

struct NarrowHalf {
  static constexpr uint32_t kInfinity = 0x7c00;
  static constexpr uint32_t kQuietNan = 0x7e00;
  static constexpr int kDrop = 13;

  // In integers, because not every target has the instruction and all must agree.
  static HWY_INLINE VecU32 Finite(U32 du, VecU32 abs) {
    const F32 d;
    // Exponent bias 127 -> 15. Wraps below the normal range, where the other branch counts.
    const VecU32 normal = RoundOff<kDrop>(du, hn::Sub(abs, hn::Set(du, (127 - 15) << 23)));
    // The unit in the last place of 0.5 is 2^-24, an f16's smallest step: the addition rounds.
    const VecF32 half = hn::Set(d, 0.5f);
    const VecU32 subnormal = hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(d, abs), half)),
                                     hn::BitCast(du, half));
    const auto is_normal = hn::Gt(abs, hn::Set(du, ((127 - 14) << 23) - 1));
    const VecU32 infinity = hn::Set(du, kInfinity);
    return hn::IfThenElse(is_normal, hn::Min(normal, infinity), subnormal);
  }
};

struct NarrowBrain {
  static constexpr uint32_t kInfinity = 0x7f80;
  static constexpr uint32_t kQuietNan = 0x7fc0;
  static constexpr int kDrop = 16;

  static HWY_INLINE VecU32 Finite(U32 du, VecU32 abs) { return RoundOff<kDrop>(du, abs); }
};

// Writes Lanes() elements. Returns whether a finite value became infinite.
template <class Narrow>
HWY_INLINE bool NarrowVector(U32 du, VecU32 bits, uint16_t* dst) {
  const hn::RebindToSigned<U32> di;
  const hn::Rebind<uint16_t, U32> du16;
  const VecU32 abs = hn::And(bits, hn::Set(du, 0x7fffffff));
  const VecU32 sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 0x8000));
  const VecU32 f32_infinity = hn::Set(du, 0x7f800000);
  const VecU32 infinity = hn::Set(du, Narrow::kInfinity);

  VecU32 narrow = Narrow::Finite(du, abs);
  const auto is_finite = hn::Lt(abs, f32_infinity);
  const auto overflow = hn::And(is_finite, hn::Eq(narrow, infinity));
  // A NaN keeps the upper bits of its payload and becomes quiet.
  const VecU32 payload = hn::And(hn::ShiftRight<Narrow::kDrop>(abs),
                                 hn::Set(du, Narrow::kQuietNan - Narrow::kInfinity - 1));
  const VecU32 nan = hn::Or(payload, hn::Set(du, Narrow::kQuietNan));
  const VecU32 special = hn::IfThenElse(hn::Eq(abs, f32_infinity), infinity, nan);
  narrow = hn::Or(hn::IfThenElse(is_finite, narrow, special), sign);
  hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di, narrow)), du16, dst);
  return !hn::AllFalse(du, overflow);
}

template <class Narrow>
size_t NarrowTo(const float* src, size_t n, void* dst) {
  const F32 d;
  const U32 du;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  auto* to = static_cast<uint16_t*>(dst);
  size_t first_vector = n;  // that overflows
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VecU32 bits = hn::BitCast(du, hn::LoadU(d, src + i));
    if (NarrowVector<Narrow>(du, bits, to + i) && first_vector == n) first_vector = i;
  }
  if (i < n) {
    HWY_ALIGN uint16_t tail[kLanes];
    const VecU32 bits = hn::BitCast(du, LoadTail(d, src + i, n - i));
    if (NarrowVector<Narrow>(du, bits, tail) && first_vector == n) first_vector = i;
    std::memcpy(to + i, tail, (n - i) * sizeof(uint16_t));
  }
  for (i = first_vector; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, src + i, sizeof(bits));
    const bool is_finite = (bits & 0x7fffffff) < 0x7f800000;
    if (is_finite && (to[i] & 0x7fff) == Narrow::kInfinity) return i;
  }
  return n;
}

size_t FromF32(ElementType type, const float* src, size_t n, void* dst) {
  switch (type) {
    case ElementType::kF32:
      if (n > 0) std::memmove(dst, src, n * sizeof(float));
      return n;
    case ElementType::kF16:
      return NarrowTo<NarrowHalf>(src, n, dst);
    case ElementType::kBF16:
      return NarrowTo<NarrowBrain>(src, n, dst);
  }
  return n;
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(ToF32);
HWY_EXPORT(FromF32);

void ToF32(ElementType type, const void* src, size_t n, float* dst) {
  HWY_DYNAMIC_DISPATCH(ToF32)(type, src, n, dst);
}

size_t FromF32(ElementType type, const float* src, size_t n, void* dst) {
  return HWY_DYNAMIC_DISPATCH(FromF32)(type, src, n, dst);
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
