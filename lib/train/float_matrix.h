// A row-major matrix of floats and its products, divided among threads.
#ifndef SLUICE_LIB_TRAIN_FLOAT_MATRIX_H_
#define SLUICE_LIB_TRAIN_FLOAT_MATRIX_H_

#include <cstddef>
#include <vector>

#include "absl/functional/function_ref.h"
#include "lib/base/thread_pool.h"

namespace sluice::train {

struct FloatMatrix {
  FloatMatrix() = default;
  FloatMatrix(size_t num_rows, size_t num_cols)
      : rows(num_rows), cols(num_cols), values(num_rows * num_cols) {}

  float* row(size_t i) { return values.data() + i * cols; }
  const float* row(size_t i) const { return values.data() + i * cols; }

  size_t rows = 0;
  size_t cols = 0;
  std::vector<float> values;
};

// Calls body(begin, end) for [0, step), [step, 2 step), ... below `count`: the same pieces for any
// number of threads, so that what is computed for a piece has the same bits.
void ForFixedPieces(ThreadPool* pool, size_t count, size_t step,
                    absl::FunctionRef<void(size_t begin, size_t end)> body);

// a b, and a^T b. The same bits for any number of threads.
FloatMatrix Product(const FloatMatrix& a, const FloatMatrix& b, ThreadPool* pool);
FloatMatrix ProductTransposedLeft(const FloatMatrix& a, const FloatMatrix& b, ThreadPool* pool);

FloatMatrix Transposed(const FloatMatrix& a);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_FLOAT_MATRIX_H_
