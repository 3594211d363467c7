#include "lib/predictor/predictor.h"

#include "lib/kernels/kernels.h"

namespace sluice {
namespace {

// Rows of a factor that one thread takes at a time: enough work to be worth a hand-over.
constexpr size_t kRowGrain = 256;

}  // namespace

LowRankPredictor::LowRankPredictor(const void* in, const void* out, ElementType type,
                                   const float* bias, uint32_t d_model, uint32_t d_ffn,
                                   uint32_t rank)
    : in_(in), out_(out), type_(type), bias_(bias), d_model_(d_model), d_ffn_(d_ffn),
      rank_(rank) {}

void LowRankPredictor::Predict(const float* x, size_t num_tokens, ThreadPool* pool,
                               float* scratch, std::vector<uint32_t>* active) const {
  float* hidden = scratch;
  float* score = scratch + num_tokens * rank_;
  const kernels::Matrix in{in_, type_, rank_, d_model_, d_model_ * ElementBytes(type_)};
  const kernels::Matrix out{out_, type_, d_ffn_, rank_, rank_ * ElementBytes(type_)};
  pool->ParallelFor(rank_, kRowGrain, [&](size_t begin, size_t end) {
    kernels::MatVec(in, nullptr, x, num_tokens, d_model_, hidden, rank_, begin, end);
  });
  pool->ParallelFor(d_ffn_, kRowGrain, [&](size_t begin, size_t end) {
    kernels::MatVec(out, bias_, hidden, num_tokens, rank_, score, d_ffn_, begin, end);
  });
  for (size_t t = 0; t < num_tokens; ++t) {
    active[t].clear();
    const float* row = score + t * d_ffn_;
    for (uint32_t n = 0; n < d_ffn_; ++n) {
      if (row[n] > 0) active[t].push_back(n);
    }
  }
}

}  // namespace sluice
