// Every run-time dot product of Sluice. SIMD with run-time dispatch (Highway stays inside the
// .cc files).
//
// The same bits: for one dispatch target, the result for an output element depends on its
// operands alone. Each (row, token) pair has its own accumulators, filled in one order, whatever
// number of rows or tokens a call handles, wherever the memory lies, and however a range is cut.
// All sums are f32. No function allocates or blocks; all are safe from any thread.
#ifndef SLUICE_LIB_KERNELS_KERNELS_H_
#define SLUICE_LIB_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "lib/base/element_type.h"

namespace sluice::kernels {

// q8: groups of 32 columns, each column an i8 times its group's f16 scale, the last group padded
// with zeros. A row is its columns and then its scales; it begins at an even address.
inline constexpr size_t kQ8Group = 32;
constexpr size_t Q8PaddedCols(size_t cols) { return (cols + kQ8Group - 1) / kQ8Group * kQ8Group; }
constexpr size_t Q8RowBytes(size_t cols) {
  return Q8PaddedCols(cols) + Q8PaddedCols(cols) / kQ8Group * sizeof(uint16_t);
}

// A row-major matrix of weights. Rows lie `row_stride_bytes` apart; any alignment of >= the
// element's own.
struct Matrix {
  const void* data = nullptr;
  ElementType type = ElementType::kF32;
  size_t rows = 0;
  size_t cols = 0;
  size_t row_stride_bytes = 0;
  bool quantized = false;  // rows are q8; `type` says nothing
};

// out[t * out_stride + r] = dot(w[r], x + t * x_stride) + bias[r], for r in [row_begin, row_end)
// and t in [0, num_tokens).
//   bias  shape [w.rows] f32, or nullptr
//   x     shape [num_tokens, w.cols], x_stride floats apart
// q8 rows are widened in registers: the bits are those of the same matrix widened to f32.
void MatVec(const Matrix& w, const float* bias, const float* x, size_t num_tokens,
            size_t x_stride, float* out, size_t out_stride, size_t row_begin, size_t row_end);

// out[i] = dot(rows[i], x): `num_rows` rows of `cols` elements, anywhere in memory.
void GatherDot(ElementType type, const void* const* rows, size_t num_rows, size_t cols,
               const float* x, float* out);

// out[t] = dot(row, xs[t]): one row against several tokens; the bits of GatherDot().
void RowDot(ElementType type, const void* row, size_t cols, const float* const* xs,
            size_t num_tokens, float* out);

// y[c] = fma(values[i], rows[i][c], y[c]) for i = 0, 1, ..., num_rows - 1 in that order, for c in
// [col_begin, col_end). A column's bits do not depend on the range, nor on how a list of rows is
// cut into successive calls.
void AccumulateRows(ElementType type, const void* const* rows, const float* values,
                    size_t num_rows, float* y, size_t col_begin, size_t col_end);

// y[c] = (x[c] - mean) / sqrt(variance + eps) * gamma[c] + beta[c] (biased variance, as in
// torch.nn.LayerNorm). gamma and beta: shape [n], or both nullptr. y may be x.
void LayerNorm(const float* x, const float* gamma, const float* beta, size_t n, float eps,
               float* y);

// One query head over the KV cache.
//   kv_type      of keys and values
//   q            shape [head_dim], already scaled
//   keys, values first position's row of this head; rows lie `kv_stride` elements apart
//   num_keys     positions attended to, >= 1
//   scores       scratch, shape [num_keys]
//   out          shape [head_dim]: softmax(q . keys) . values
void AttentionHead(ElementType kv_type, const float* q, const void* keys, const void* values,
                   size_t kv_stride, size_t num_keys, size_t head_dim, float* scores, float* out);

// Writes Q8RowBytes(cols) bytes, the same ones on every target. The largest weight of a group
// becomes +-127, so a weight is off by at most 1/254 of it (and the scale's rounding). A group with
// a weight that is not finite, or beyond 127 * 65504, becomes NaN.
void QuantizeRow(const float* src, size_t cols, void* row);
// Exact widening of one row; dst: shape [w.cols].
void RowToF32(const Matrix& w, size_t row, float* dst);

// y[i] += x[i]
void Add(const float* x, size_t n, float* y);
// y[i] = x[i] * factor
void Scale(const float* x, float factor, size_t n, float* y);
// Index of the largest element, the first of equals; n >= 1. NaN is never chosen unless all are.
size_t ArgMax(const float* x, size_t n);
// Maximum, and log(sum(exp(x - max))) in double: logsumexp = max + that. For perplexity.
double LogSumExp(const float* x, size_t n);

// Whether any element is NaN or infinite.
bool HasNonFinite(const float* x, size_t n);

// Exact widening of `n` elements to f32.
void ToF32(ElementType type, const void* src, size_t n, float* dst);
// Rounds to nearest even. Returns the index of the first finite value that overflows to infinity
// in `type`, or n where all fit (NaN and infinities pass as they are).
size_t FromF32(ElementType type, const float* src, size_t n, void* dst);

// c[m, n] += a[m, k] * b[n, k]^T (rows `lda`, `ldb`, `ldc` floats apart). For training: blocked
// for throughput, deterministic for a given shape, not under the promise above.
void GemmNT(const float* a, size_t lda, const float* b, size_t ldb, size_t m, size_t n, size_t k,
            float* c, size_t ldc);
// c[m, n] += a[m, k] * b[k, n].
void GemmNN(const float* a, size_t lda, const float* b, size_t ldb, size_t m, size_t n, size_t k,
            float* c, size_t ldc);
// c[m, n] += a[k, m]^T * b[k, n].
void GemmTN(const float* a, size_t lda, const float* b, size_t ldb, size_t m, size_t n, size_t k,
            float* c, size_t ldc);

// Name of the dispatch target in use, e.g. "AVX3".
std::string TargetName();
// Targets of this machine, best first.
std::vector<std::string> AvailableTargets();
// Restricts dispatch to one of AvailableTargets() ("" = back to the best), for tests. Not while
// other threads are in a kernel. Returns false, changing nothing, for an unknown name.
bool ForceTarget(const std::string& name);

}  // namespace sluice::kernels

#endif  // SLUICE_LIB_KERNELS_KERNELS_H_
