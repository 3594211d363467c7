#include <algorithm>
#include <cstddef>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/accumulate.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/accumulate-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

template <class W>
void AccumulateRowsOf(const void* const* rows, const float* values, size_t num_rows, float* y,
                      size_t begin, size_t end) {
  const W* block[2 * kAccumulateRows];
  size_t r = 0;
  for (; r + kAccumulateRows <= num_rows; r += kAccumulateRows) {
    for (size_t i = 0; i < 2 * kAccumulateRows; ++i) {
      block[i] = static_cast<const W*>(rows[std::min(r + i, num_rows - 1)]);
    }
    AccumulateBlock<kAccumulateRows>(block, values + r, block + kAccumulateRows, y, begin, end);
  }
  const size_t left = num_rows - r;
  for (size_t i = 0; i < left; ++i) block[i] = static_cast<const W*>(rows[r + i]);
  AccumulateFew(block, values + r, left, y, begin, end);
}

void AccumulateRows(ElementType type, const void* const* rows, const float* values,
                    size_t num_rows, float* y, size_t begin, size_t end) {
  switch (type) {
    case ElementType::kF32:
      return AccumulateRowsOf<float>(rows, values, num_rows, y, begin, end);
    case ElementType::kF16:
      return AccumulateRowsOf<Half>(rows, values, num_rows, y, begin, end);
    case ElementType::kBF16:
      return AccumulateRowsOf<Brain>(rows, values, num_rows, y, begin, end);
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(AccumulateRows);

void AccumulateRows(ElementType type, const void* const* rows, const float* values,
                    size_t num_rows, float* y, size_t col_begin, size_t col_end) {
  HWY_DYNAMIC_DISPATCH(AccumulateRows)(type, rows, values, num_rows, y, col_begin, col_end);
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
