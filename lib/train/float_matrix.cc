#include "lib/train/float_matrix.h"

#include <algorithm>

#include "lib/kernels/kernels.h"

namespace sluice::train {
namespace {

// Rows of a product that are computed together: enough for a packed panel of b to pay off.
constexpr size_t kRows = 128;
// Side of the blocks in which a matrix is transposed: two of them fit into the nearest cache.
constexpr size_t kBlock = 32;

}  // namespace

void ForFixedPieces(ThreadPool* pool, size_t count, size_t step,
                    absl::FunctionRef<void(size_t begin, size_t end)> body) {
  const size_t pieces = (count + step - 1) / step;
  pool->ParallelFor(pieces, 1, [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) body(i * step, std::min((i + 1) * step, count));
  });
}

FloatMatrix Product(const FloatMatrix& a, const FloatMatrix& b, ThreadPool* pool) {
  FloatMatrix c(a.rows, b.cols);
  ForFixedPieces(pool, a.rows, kRows, [&](size_t begin, size_t end) {
    kernels::GemmNN(a.row(begin), a.cols, b.row(0), b.cols, end - begin, b.cols, a.cols,
                    c.row(begin), c.cols);
  });
  return c;
}

FloatMatrix ProductTransposedLeft(const FloatMatrix& a, const FloatMatrix& b, ThreadPool* pool) {
  FloatMatrix c(a.cols, b.cols);
  ForFixedPieces(pool, a.cols, kRows, [&](size_t begin, size_t end) {
    kernels::GemmTN(a.row(0) + begin, a.cols, b.row(0), b.cols, end - begin, b.cols, a.rows,
                    c.row(begin), c.cols);
  });
  return c;
}

FloatMatrix Transposed(const FloatMatrix& a) {
  FloatMatrix t(a.cols, a.rows);
  for (size_t i = 0; i < a.rows; i += kBlock) {
    for (size_t j = 0; j < a.cols; j += kBlock) {
      for (size_t r = i; r < std::min(i + kBlock, a.rows); ++r) {
        for (size_t c = j; c < std::min(j + kBlock, a.cols); ++c) t.row(c)[r] = a.row(r)[c];
      }
    }
  }
  return t;
}

}  // namespace sluice::train
