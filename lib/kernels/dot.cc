#include <algorithm>
#include <cstddef>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/dot.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/dot-inl.h"
#include "lib/kernels/q8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// Where the results of MatVec() go.
struct Output {
  float* out;
  size_t stride;
  const float* bias;

  void Put(size_t row, size_t token, float dot) const {
    out[token * stride + row] = bias == nullptr ? dot : dot + bias[row];
  }
};

template <class W>
constexpr const W* const* NoNext() {
  return nullptr;
}

// Rows at a time for one token, which is bound by memory: fewer streams through it are followed
// better, more hide the latency of the multiply-adds, of which a byte of q8 has the most.
template <class W>
constexpr size_t kOneTokenRows = 3;
template <>
constexpr size_t kOneTokenRows<Q8> = 4;

template <class W>
void MatVecOne(const Matrix& w, const float* x, size_t begin, size_t end, const Output& output) {
  constexpr size_t kRows = kOneTokenRows<W>;
  const auto* data = static_cast<const unsigned char*>(w.data);
  const W* rows[2 * kRows];
  float dots[kRows];
  size_t r = begin;
  for (; r + kRows <= end; r += kRows) {
    for (size_t i = 0; i < 2 * kRows; ++i) {
      const size_t row = std::min(r + i, end - 1);
      rows[i] = reinterpret_cast<const W*>(data + row * w.row_stride_bytes);
    }
    DotBlock<kRows, 1>(rows, w.cols, &x, rows + kRows, dots);
    for (size_t i = 0; i < kRows; ++i) output.Put(r + i, 0, dots[i]);
  }
  for (; r < end; ++r) {
    rows[0] = reinterpret_cast<const W*>(data + r * w.row_stride_bytes);
    DotBlock<1, 1>(rows, w.cols, &x, NoNext<W>(), dots);
    output.Put(r, 0, dots[0]);
  }
}

// kRows rows against all tokens: the weights stay in the nearest caches. While the first tokens
// are computed, the rows that come next are fetched; none after `end`.
template <size_t kRows, class W>
void MatVecRows(const Matrix& w, const float* x, size_t num_tokens, size_t x_stride, size_t row,
                size_t end, const Output& output) {
  const auto* data = static_cast<const unsigned char*>(w.data);
  const W* rows[2 * kRows];
  for (size_t i = 0; i < 2 * kRows; ++i) {
    rows[i] = reinterpret_cast<const W*>(data + std::min(row + i, end - 1) * w.row_stride_bytes);
  }
  float dots[kRows * kDotTokens];
  for (size_t t = 0, num = 0; t < num_tokens; t += num) {
    num = BlockTokens(num_tokens - t);
    const float* xs[kDotTokens];
    for (size_t j = 0; j < num; ++j) xs[j] = x + (t + j) * x_stride;
    DotTokens<kRows>(rows, w.cols, xs, num, t == 0 ? rows + kRows : NoNext<W>(), dots);
    for (size_t i = 0; i < kRows; ++i) {
      for (size_t j = 0; j < num; ++j) output.Put(row + i, t + j, dots[i * num + j]);
    }
  }
}

template <class W>
void MatVecOf(const Matrix& w, const float* x, size_t num_tokens, size_t x_stride, size_t begin,
              size_t end, const Output& output) {
  if (num_tokens == 1) return MatVecOne<W>(w, x, begin, end, output);
  size_t r = begin;
  for (; r + kDotRows <= end; r += kDotRows) {
    MatVecRows<kDotRows, W>(w, x, num_tokens, x_stride, r, end, output);
  }
  for (; r < end; ++r) MatVecRows<1, W>(w, x, num_tokens, x_stride, r, end, output);
}

void MatVec(const Matrix& w, const float* bias, const float* x, size_t num_tokens,
            size_t x_stride, float* out, size_t out_stride, size_t begin, size_t end) {
  const Output output{out, out_stride, bias};
  if (w.quantized) return MatVecOf<Q8>(w, x, num_tokens, x_stride, begin, end, output);
  switch (w.type) {
    case ElementType::kF32:
      return MatVecOf<float>(w, x, num_tokens, x_stride, begin, end, output);
    case ElementType::kF16:
      return MatVecOf<Half>(w, x, num_tokens, x_stride, begin, end, output);
    case ElementType::kBF16:
      return MatVecOf<Brain>(w, x, num_tokens, x_stride, begin, end, output);
  }
}

template <class W>
void GatherDotOf(const void* const* rows, size_t num_rows, size_t cols, const float* x,
                 float* out) {
  const W* block[2 * kDotRows];
  size_t r = 0;
  for (; r + kDotRows <= num_rows; r += kDotRows) {
    for (size_t i = 0; i < 2 * kDotRows; ++i) {
      block[i] = static_cast<const W*>(rows[std::min(r + i, num_rows - 1)]);
    }
    DotBlock<kDotRows, 1>(block, cols, &x, block + kDotRows, out + r);
  }
  for (; r < num_rows; ++r) {
    block[0] = static_cast<const W*>(rows[r]);
    DotBlock<1, 1>(block, cols, &x, NoNext<W>(), out + r);
  }
}

void GatherDot(ElementType type, const void* const* rows, size_t num_rows, size_t cols,
               const float* x, float* out) {
  switch (type) {
    case ElementType::kF32:
      return GatherDotOf<float>(rows, num_rows, cols, x, out);
    case ElementType::kF16:
      return GatherDotOf<Half>(rows, num_rows, cols, x, out);
    case ElementType::kBF16:
      return GatherDotOf<Brain>(rows, num_rows, cols, x, out);
  }
}

template <class W>
void RowDotOf(const void* row, size_t cols, const float* const* xs, size_t num_tokens,
              float* out) {
  const W* const rows[1] = {static_cast<const W*>(row)};
  for (size_t t = 0, num = 0; t < num_tokens; t += num) {
    num = BlockTokens(num_tokens - t);
    DotTokens<1>(rows, cols, xs + t, num, NoNext<W>(), out + t);
  }
}

void RowDot(ElementType type, const void* row, size_t cols, const float* const* xs,
            size_t num_tokens, float* out) {
  switch (type) {
    case ElementType::kF32:
      return RowDotOf<float>(row, cols, xs, num_tokens, out);
    case ElementType::kF16:
      return RowDotOf<Half>(row, cols, xs, num_tokens, out);
    case ElementType::kBF16:
      return RowDotOf<Brain>(row, cols, xs, num_tokens, out);
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(MatVec);
HWY_EXPORT(GatherDot);
HWY_EXPORT(RowDot);

void MatVec(const Matrix& w, const float* bias, const float* x, size_t num_tokens,
            size_t x_stride, float* out, size_t out_stride, size_t row_begin, size_t row_end) {
  HWY_DYNAMIC_DISPATCH(MatVec)
  (w, bias, x, num_tokens, x_stride, out, out_stride, row_begin, row_end);
}

void GatherDot(ElementType type, const void* const* rows, size_t num_rows, size_t cols,
               const float* x, float* out) {
  HWY_DYNAMIC_DISPATCH(GatherDot)(type, rows, num_rows, cols, x, out);
}

void RowDot(ElementType type, const void* row, size_t cols, const float* const* xs,
            size_t num_tokens, float* out) {
  HWY_DYNAMIC_DISPATCH(RowDot)(type, row, cols, xs, num_tokens, out);
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
