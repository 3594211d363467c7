// Quantising rows, and widening them again.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/q8.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/q8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

float LargestOfGroup(const float* x) {
  const F32 d;
  VecF32 largest = hn::Zero(d);
  for (size_t i = 0; i < kQ8Group; i += hn::MaxLanes(F32())) {
    largest = hn::Max(largest, hn::Abs(hn::LoadU(d, x + i)));
  }
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

// to[i] = x[i] / scale, rounded to nearest even, within +-127. Each step has one right result, so
// every target writes the same.
void QuantizeGroup(const float* x, float scale, int8_t* to) {
  const F32 d;
  const hn::RebindToSigned<F32> d32;
  const hn::Rebind<int8_t, F32> d8;
  const VecF32 inverse = hn::Set(d, scale > 0 ? 1.0f / scale : 0.0f);
  const VecF32 most = hn::Set(d, 127.0f);
  for (size_t i = 0; i < kQ8Group; i += hn::MaxLanes(F32())) {
    const VecF32 q = hn::Round(hn::Mul(hn::LoadU(d, x + i), inverse));
    const VecF32 within = hn::Min(hn::Max(q, hn::Neg(most)), most);
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(d32, within)), d8, to + i);
  }
}

void WidenQ8(const void* row, size_t cols, float* dst) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  const auto* from = static_cast<const Q8*>(row);
  const uint16_t* scales = Q8Scales(from, cols);
  for (size_t c = 0; c < cols; c += kLanes) {
    const VecF32 scale = WidenHalf(d, hn::Set(U16(), scales[c / kQ8Group]));
    const VecF32 w = LoadQ8(d, from + c, scale);
    if (c + kLanes <= cols) {
      hn::StoreU(w, d, dst + c);
    } else {
      StoreTail(w, d, dst + c, cols - c);
    }
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(LargestOfGroup);
HWY_EXPORT(QuantizeGroup);
HWY_EXPORT(WidenQ8);

namespace {

constexpr uint16_t kNanBits = 0x7e00;

// The f16 scale of a group, as its bits and as a number.
struct GroupScale {
  uint16_t bits = 0;
  float value = 0;

  void Set(uint16_t to) {
    bits = to;
    ToF32(ElementType::kF16, &bits, 1, &value);
  }
};

GroupScale ScaleOf(const float* group) {
  GroupScale scale;
  // A weight that is no number makes its whole group none, so that whoever looks finds it.
  if (HasNonFinite(group, kQ8Group)) {
    scale.Set(kNanBits);
    return scale;
  }
  const float largest = HWY_DYNAMIC_DISPATCH(LargestOfGroup)(group);
  const float exact = largest / 127.0f;
  uint16_t bits = 0;
  FromF32(ElementType::kF16, &exact, 1, &bits);
  scale.Set(bits);
  // Among the smallest f16 numbers, rounding down may cost the largest weight much of its size.
  if (largest > 127.5f * scale.value) scale.Set(static_cast<uint16_t>(bits + 1));
  return scale;
}

}  // namespace

void QuantizeRow(const float* src, size_t cols, void* row) {
  auto* to = static_cast<int8_t*>(row);
  auto* scales = static_cast<unsigned char*>(row) + Q8PaddedCols(cols);
  for (size_t c = 0; c < cols; c += kQ8Group) {
    float padded[kQ8Group] = {};
    const float* group = src + c;
    if (c + kQ8Group > cols) {
      std::copy(group, src + cols, padded);
      group = padded;
    }
    const GroupScale scale = ScaleOf(group);
    HWY_DYNAMIC_DISPATCH(QuantizeGroup)(group, scale.value, to + c);
    std::memcpy(scales, &scale.bits, sizeof(scale.bits));
    scales += sizeof(scale.bits);
  }
}

void RowToF32(const Matrix& w, size_t row, float* dst) {
  const auto* from = static_cast<const unsigned char*>(w.data) + row * w.row_stride_bytes;
  if (!w.quantized) return ToF32(w.type, from, w.cols, dst);
  HWY_DYNAMIC_DISPATCH(WidenQ8)(from, w.cols, dst);
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
