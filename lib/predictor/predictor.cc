#include "lib/predictor/predictor.h"

#include <algorithm>

#include "lib/kernels/kernels.h"

namespace sluice {
namespace {

// Multiply-adds that one thread takes at a time: enough to be worth a hand-over, and little enough
// that a cancellation is seen soon.
constexpr size_t kGrainWork = 64 << 10;
constexpr size_t kMostWork = 16 << 20;

size_t RowsFor(size_t work, size_t cols, size_t num_tokens) {
  return std::max<size_t>(work / (cols * num_tokens), 1);
}

}  // namespace

LowRankPredictor::LowRankPredictor(const void* in, const void* out, ElementType type,
                                   const float* bias, uint32_t d_model, uint32_t d_ffn,
                                   uint32_t rank)
    : in_(in), out_(out), type_(type), bias_(bias), d_model_(d_model), d_ffn_(d_ffn),
      rank_(rank) {}

void LowRankPredictor::Predict(const float* x, size_t num_tokens, ThreadPool* pool,
                               const std::atomic<bool>* cancelled, float* scratch,
                               std::vector<uint32_t>* active) const {
  float* hidden = scratch;
  float* score = scratch + num_tokens * rank_;
  const auto multiply = [&](const void* data, size_t rows, size_t cols, const float* bias,
                            const float* input, float* output) {
    const kernels::Matrix matrix{data, type_, rows, cols, cols * ElementBytes(type_)};
    const size_t most = RowsFor(kMostWork, cols, num_tokens);
    pool->ParallelFor(rows, RowsFor(kGrainWork, cols, num_tokens), [&](size_t begin, size_t end) {
      for (; begin < end; begin += most) {
        if (cancelled->load(std::memory_order_relaxed)) return;
        kernels::MatVec(matrix, bias, input, num_tokens, cols, output, rows, begin,
                        std::min(end, begin + most));
      }
    });
  };
  multiply(in_, rank_, d_model_, nullptr, x, hidden);
  multiply(out_, d_ffn_, rank_, bias_, hidden, score);
  for (size_t t = 0; t < num_tokens; ++t) {
    active[t].clear();
    const float* row = score + t * d_ffn_;
    for (uint32_t n = 0; n < d_ffn_; ++n) {
      // Not `> 0`: a score that is not a number counts as active, so that the broken input or
      // weight behind it reaches the output and is noticed there.
      if (!(row[n] <= 0)) active[t].push_back(n);
    }
  }
}

}  // namespace sluice
