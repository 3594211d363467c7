// Arithmetic on a batch of tokens: matrices [tokens, width] against rows that are made as they are
// needed.
#ifndef SLUICE_BENCH_SYNTH_TOKEN_BATCH_H_
#define SLUICE_BENCH_SYNTH_TOKEN_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "lib/base/thread_pool.h"

namespace sluice::synth {

struct TokenBatch {
  TokenBatch() = default;
  TokenBatch(size_t num_tokens, size_t num_columns)
      : tokens(num_tokens), width(num_columns), values(num_tokens * num_columns) {}
  float* row(size_t t) { return values.data() + t * width; }
  const float* row(size_t t) const { return values.data() + t * width; }

  // Of column c over the tokens.
  std::vector<float> Mean() const;
  // [width], about the mean.
  std::vector<float> Variance() const;
  // Of all columns.
  double MeanVariance() const;
  void AddToAll(const std::vector<float>& row);

  size_t tokens = 0, width = 0;
  std::vector<float> values;
};

// Makes rows [first, first + count) of a matrix of f16 at `out`; `scratch` has scratch_per_row
// floats for each. Called from several threads at once.
using MakeRows =
    absl::FunctionRef<void(uint32_t first, uint32_t count, float* scratch, std::byte* out)>;

// Rows that are made at a time by one thread, and held at a time by all.
inline constexpr uint32_t kRowsAtOnce = 64;
inline constexpr uint32_t kRowsHeld = 1024;

// f16 rows, kRowsHeld at a time, made in parallel.
class RowBlock {
 public:
  RowBlock(size_t columns, size_t scratch_per_row, ThreadPool* pool);
  // Rows [first, first + count), count <= kRowsHeld; row i then lies at data(i).
  void Make(uint32_t first, uint32_t count, MakeRows make);
  const std::byte* data(uint32_t i) const { return rows_.data() + size_t{i} * columns_ * 2; }

 private:
  const size_t columns_, scratch_per_row_;
  ThreadPool* const pool_;
  std::vector<float> scratch_;
  std::vector<std::byte> rows_;
};

// x * rows^T, `num_rows` of them: [x.tokens, num_rows].
TokenBatch Project(const TokenBatch& x, uint32_t num_rows, size_t scratch_per_row, MakeRows make,
                   ThreadPool* pool);
// x * matrix^T for one that is there: [num_rows, x.width].
TokenBatch Project(const TokenBatch& x, const std::vector<float>& matrix, ThreadPool* pool);

// Each row normalised, without weight and bias.
TokenBatch Normalise(const TokenBatch& x, float epsilon, ThreadPool* pool);

// Causal attention of all heads; q is not scaled yet.
TokenBatch Attend(const TokenBatch& q, const TokenBatch& k, const TokenBatch& v, uint32_t heads,
                  ThreadPool* pool);

// y += sum over rows n of weights[., n] * row n; zero weights cost nothing.
void AccumulateRows(const TokenBatch& weights, size_t scratch_per_row, MakeRows make,
                    ThreadPool* pool, TokenBatch* y);

}  // namespace sluice::synth

#endif  // SLUICE_BENCH_SYNTH_TOKEN_BATCH_H_
