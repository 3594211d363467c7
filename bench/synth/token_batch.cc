#include "bench/synth/token_batch.h"

#include <algorithm>
#include <cmath>

#include "lib/base/checked.h"
#include "lib/kernels/kernels.h"

namespace sluice::synth {

std::vector<float> TokenBatch::Mean() const {
  std::vector<double> sum(width);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < width; ++c) sum[c] += static_cast<double>(row(t)[c]);
  }
  std::vector<float> mean(width);
  for (size_t c = 0; c < width; ++c) {
    mean[c] = static_cast<float>(sum[c] / static_cast<double>(tokens));
  }
  return mean;
}

std::vector<float> TokenBatch::Variance() const {
  const std::vector<float> mean = Mean();
  std::vector<double> sum(width);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < width; ++c) {
      const auto v = static_cast<double>(row(t)[c] - mean[c]);
      sum[c] += v * v;
    }
  }
  std::vector<float> variance(width);
  for (size_t c = 0; c < width; ++c) {
    variance[c] = static_cast<float>(sum[c] / static_cast<double>(tokens));
  }
  return variance;
}

double TokenBatch::MeanVariance() const {
  double sum = 0;
  for (float v : Variance()) sum += static_cast<double>(v);
  return sum / static_cast<double>(width);
}

void TokenBatch::AddToAll(const std::vector<float>& added) {
  for (size_t t = 0; t < tokens; ++t) kernels::Add(added.data(), width, row(t));
}

RowBlock::RowBlock(size_t columns, size_t scratch_per_row, ThreadPool* pool)
    : columns_(columns), scratch_per_row_(scratch_per_row), pool_(pool),
      scratch_(kRowsHeld * scratch_per_row), rows_(kRowsHeld * columns * 2) {}

void RowBlock::Make(uint32_t first, uint32_t count, MakeRows make) {
  pool_->ParallelFor(count, kRowsAtOnce, [&](size_t begin, size_t end) {
    make(first + static_cast<uint32_t>(begin), static_cast<uint32_t>(end - begin),
         scratch_.data() + begin * scratch_per_row_, rows_.data() + begin * columns_ * 2);
  });
}

TokenBatch Project(const TokenBatch& x, uint32_t num_rows, size_t scratch_per_row, MakeRows make,
                   ThreadPool* pool) {
  TokenBatch out(x.tokens, num_rows);
  RowBlock block(x.width, scratch_per_row, pool);
  std::vector<float> wide(size_t{std::min(num_rows, kRowsHeld)} * x.width);
  for (uint32_t first = 0; first < num_rows; first += kRowsHeld) {
    const uint32_t count = std::min(kRowsHeld, num_rows - first);
    block.Make(first, count, make);
    pool->ParallelFor(count, kRowsAtOnce, [&](size_t begin, size_t end) {
      float* const rows = wide.data() + begin * x.width;
      kernels::ToF32(ElementType::kF16, block.data(static_cast<uint32_t>(begin)),
                     (end - begin) * x.width, rows);
      kernels::GemmNT(x.values.data(), x.width, rows, x.width, x.tokens, end - begin, x.width,
                      out.values.data() + first + begin, out.width);
    });
  }
  return out;
}

TokenBatch Project(const TokenBatch& x, const std::vector<float>& matrix, ThreadPool* pool) {
  const size_t num_rows = matrix.size() / x.width;
  TokenBatch out(x.tokens, num_rows);
  pool->ParallelFor(num_rows, kRowsAtOnce, [&](size_t begin, size_t end) {
    kernels::GemmNT(x.values.data(), x.width, matrix.data() + begin * x.width, x.width, x.tokens,
                    end - begin, x.width, out.values.data() + begin, out.width);
  });
  return out;
}

TokenBatch Normalise(const TokenBatch& x, float epsilon, ThreadPool* pool) {
  TokenBatch out(x.tokens, x.width);
  pool->ParallelFor(x.tokens, 16, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      kernels::LayerNorm(x.row(t), nullptr, nullptr, x.width, epsilon, out.row(t));
    }
  });
  return out;
}

TokenBatch Attend(const TokenBatch& q, const TokenBatch& k, const TokenBatch& v, uint32_t heads,
                  ThreadPool* pool) {
  const size_t d_model = q.width, dim = d_model / heads;
  TokenBatch scaled = q, out(q.tokens, d_model);
  kernels::Scale(q.values.data(), 1 / std::sqrt(static_cast<float>(dim)), q.values.size(),
                 scaled.values.data());
  std::vector<float> scores(q.tokens * q.tokens);
  pool->ParallelFor(q.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      for (size_t at = 0; at < d_model; at += dim) {
        kernels::AttentionHead(ElementType::kF32, scaled.row(t) + at, k.values.data() + at,
                               v.values.data() + at, d_model, t + 1, dim,
                               scores.data() + t * q.tokens, out.row(t) + at);
      }
    }
  });
  return out;
}

void AccumulateRows(const TokenBatch& weights, size_t scratch_per_row, MakeRows make,
                    ThreadPool* pool, TokenBatch* y) {
  RowBlock block(y->width, scratch_per_row, pool);
  const auto num_rows = static_cast<uint32_t>(weights.width);
  for (uint32_t first = 0; first < num_rows; first += kRowsHeld) {
    const uint32_t count = std::min(kRowsHeld, num_rows - first);
    block.Make(first, count, make);
    pool->ParallelFor(weights.tokens, 1, [&](size_t begin, size_t end) {
      const void* rows[kRowsHeld];
      float values[kRowsHeld];
      for (size_t t = begin; t < end; ++t) {
        size_t used = 0;
        for (uint32_t i = 0; i < count; ++i) {
          const float value = weights.row(t)[first + i];
          if (value == 0) continue;
          rows[used] = block.data(i);
          values[used++] = value;
        }
        kernels::AccumulateRows(ElementType::kF16, rows, values, used, y->row(t), 0, y->width);
      }
    });
  }
}

}  // namespace sluice::synth
