#include "lib/train/active_sets.h"

#include <algorithm>

#include "lib/kernels/kernels.h"

namespace sluice::train {
namespace {

constexpr size_t kBatch = 512;
constexpr size_t kTokenPiece = 64;

}  // namespace

void ForScores(const FloatMatrix& inputs, const Factors& factors, ThreadPool* pool,
               absl::FunctionRef<void(size_t first, const FloatMatrix& scores)> on_scores) {
  const size_t d = inputs.cols, n = factors.bias.size(), rank = factors.rank();
  FloatMatrix hidden(std::min(kBatch, inputs.rows), rank);
  for (size_t first = 0; first < inputs.rows; first += kBatch) {
    FloatMatrix scores(std::min(kBatch, inputs.rows - first), n);
    ForFixedPieces(pool, scores.rows, kTokenPiece, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) {
        std::copy_n(factors.bias.data(), n, scores.row(t));
      }
      std::fill_n(hidden.row(begin), (end - begin) * rank, 0.0f);
      kernels::GemmNN(inputs.row(first + begin), d, factors.in_t.row(0), rank, end - begin, rank,
                      d, hidden.row(begin), rank);
      kernels::GemmNN(hidden.row(begin), rank, factors.out_t.row(0), n, end - begin, n, rank,
                      scores.row(begin), n);
    });
    on_scores(first, scores);
  }
}

std::vector<std::vector<uint32_t>> PredictedSets(const FloatMatrix& inputs,
                                                 const Factors& factors, float threshold,
                                                 ThreadPool* pool) {
  std::vector<std::vector<uint32_t>> sets(inputs.rows);
  ForScores(inputs, factors, pool, [&](size_t first, const FloatMatrix& scores) {
    for (size_t t = 0; t < scores.rows; ++t) {
      for (size_t n = 0; n < scores.cols; ++n) {
        if (scores.row(t)[n] > threshold) sets[first + t].push_back(static_cast<uint32_t>(n));
      }
    }
  });
  return sets;
}

Factors InOrder(const Factors& factors, absl::Span<const uint32_t> order) {
  Factors out = factors;
  for (size_t p = 0; p < order.size(); ++p) {
    out.bias[p] = factors.bias[order[p]];
    for (size_t r = 0; r < factors.rank(); ++r) {
      out.out_t.row(r)[p] = factors.out_t.row(r)[order[p]];
    }
  }
  return out;
}

}  // namespace sluice::train
