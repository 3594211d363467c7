// Matrix products for training: a panel of b is packed once and stays in the nearest cache while
// the rows of a pass over it.
#include <algorithm>
#include <cstddef>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/vector-inl.h"

#ifndef SLUICE_LIB_KERNELS_GEMM_CC_ONCE_
#define SLUICE_LIB_KERNELS_GEMM_CC_ONCE_
namespace sluice::kernels {

// Element (i, j) lies at data[i * row_stride + j * col_stride], so one code serves a matrix and
// its transpose.
struct Strided {
  const float* data;
  size_t row_stride;
  size_t col_stride;
};

}  // namespace sluice::kernels
#endif  // SLUICE_LIB_KERNELS_GEMM_CC_ONCE_

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// A tile of c: kTileRows x 2 vectors of sums in registers (32 of them with AVX-512, else 16).
inline constexpr size_t kTileRows = HWY_TARGET == HWY_AVX3 ? 8 : 6;
inline constexpr size_t kTileCols = 2 * hn::MaxLanes(F32());
// Depth of a panel: kPanelDepth x kTileCols floats are 16 KiB with AVX-512, half of an L1 cache.
inline constexpr size_t kPanelDepth = 128;

// panel[p][j] = b(p, j) for p < depth, j < cols; zeros up to kTileCols.
void PackPanel(const Strided& b, size_t depth, size_t cols, float* panel) {
  if (cols < kTileCols) std::fill(panel, panel + depth * kTileCols, 0.0f);
  if (b.col_stride == 1) {
    for (size_t p = 0; p < depth; ++p) {
      const float* from = b.data + p * b.row_stride;
      std::copy(from, from + cols, panel + p * kTileCols);
    }
    return;
  }
  // Transposing: a cache line of each of b's columns at a time.
  constexpr size_t kRun = 16;
  for (size_t begin = 0; begin < depth; begin += kRun) {
    const size_t end = std::min(begin + kRun, depth);
    for (size_t j = 0; j < cols; ++j) {
      const float* from = b.data + j * b.col_stride;
      for (size_t p = begin; p < end; ++p) panel[p * kTileCols + j] = from[p * b.row_stride];
    }
  }
}

// c[kTileRows, kTileCols] += a * panel over `depth`; the first `rows` x `cols` of it exist.
HWY_INLINE void Tile(const float* const* a_rows, size_t a_step, const float* panel, size_t depth,
                     float* c, size_t ldc, size_t rows, size_t cols) {
  const F32 d;
  constexpr size_t kLanes = hn::MaxLanes(F32());
  VecF32 sum[kTileRows][2];
  SLUICE_UNROLL
  for (size_t i = 0; i < kTileRows; ++i) sum[i][0] = sum[i][1] = hn::Zero(d);
  for (size_t p = 0; p < depth; ++p) {
    const VecF32 b0 = hn::LoadU(d, panel + p * kTileCols);
    const VecF32 b1 = hn::LoadU(d, panel + p * kTileCols + kLanes);
    SLUICE_UNROLL
    for (size_t i = 0; i < kTileRows; ++i) {
      const VecF32 a = hn::Set(d, a_rows[i][p * a_step]);
      sum[i][0] = hn::MulAdd(a, b0, sum[i][0]);
      sum[i][1] = hn::MulAdd(a, b1, sum[i][1]);
    }
  }
  if (rows == kTileRows && cols == kTileCols) {
    SLUICE_UNROLL
    for (size_t i = 0; i < kTileRows; ++i) {
      float* to = c + i * ldc;
      hn::StoreU(hn::Add(hn::LoadU(d, to), sum[i][0]), d, to);
      hn::StoreU(hn::Add(hn::LoadU(d, to + kLanes), sum[i][1]), d, to + kLanes);
    }
    return;
  }
  HWY_ALIGN float sums[kTileRows * kTileCols];
  SLUICE_UNROLL
  for (size_t i = 0; i < kTileRows; ++i) {
    hn::Store(sum[i][0], d, sums + i * kTileCols);
    hn::Store(sum[i][1], d, sums + i * kTileCols + kLanes);
  }
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < cols; ++j) c[i * ldc + j] += sums[i * kTileCols + j];
  }
}

// c[m, n] += a[m, k] * b[k, n].
void Gemm(const Strided& a, const Strided& b, size_t m, size_t n, size_t k, float* c,
          size_t ldc) {
  HWY_ALIGN float panel[kPanelDepth * kTileCols];
  for (size_t p = 0; p < k; p += kPanelDepth) {
    const size_t depth = std::min(kPanelDepth, k - p);
    for (size_t j = 0; j < n; j += kTileCols) {
      const size_t cols = std::min(kTileCols, n - j);
      const float* b_corner = b.data + p * b.row_stride + j * b.col_stride;
      PackPanel({b_corner, b.row_stride, b.col_stride}, depth, cols, panel);
      for (size_t i = 0; i < m; i += kTileRows) {
        const float* a_rows[kTileRows];  // behind the last row, that row again; not stored
        for (size_t r = 0; r < kTileRows; ++r) {
          a_rows[r] = a.data + std::min(i + r, m - 1) * a.row_stride + p * a.col_stride;
        }
        Tile(a_rows, a.col_stride, panel, depth, c + i * ldc + j, ldc,
             std::min(kTileRows, m - i), cols);
      }
    }
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(Gemm);

void GemmNT(const float* a, size_t lda, const float* b, size_t ldb, size_t m, size_t n, size_t k,
            float* c, size_t ldc) {
  const Strided left{a, lda, 1};
  const Strided right{b, 1, ldb};
  HWY_DYNAMIC_DISPATCH(Gemm)(left, right, m, n, k, c, ldc);
}

void GemmNN(const float* a, size_t lda, const float* b, size_t ldb, size_t m, size_t n, size_t k,
            float* c, size_t ldc) {
  const Strided left{a, lda, 1};
  const Strided right{b, ldb, 1};
  HWY_DYNAMIC_DISPATCH(Gemm)(left, right, m, n, k, c, ldc);
}

void GemmTN(const float* a, size_t lda, const float* b, size_t ldb, size_t m, size_t n, size_t k,
            float* c, size_t ldc) {
  const Strided left{a, 1, lda};
  const Strided right{b, ldb, 1};
  HWY_DYNAMIC_DISPATCH(Gemm)(left, right, m, n, k, c, ldc);
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
