// Products with several tokens and the training products, whose speed is that of the processor.
// Those that memory bounds are in kernel_bandwidth_bench.cc.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "lib/base/aligned_buffer.h"
#include "lib/base/element_type.h"
#include "lib/kernels/kernels.h"

namespace sluice {
namespace {

constexpr size_t kModelWidth = 4096;

void ReportBytes(benchmark::State& state, size_t bytes_per_pass) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) *
                          static_cast<int64_t>(bytes_per_pass));
}

// Weights within +-1 of the given type; an empty buffer where memory is short.
AlignedBuffer RandomWeights(ElementType type, size_t count) {
  auto buffer = AlignedBuffer::Allocate(count * ElementBytes(type));
  if (!buffer.ok()) return {};
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> chunk(kModelWidth);
  for (float& v : chunk) v = uniform(random);
  for (size_t i = 0; i < count; i += kModelWidth) {
    const size_t num = std::min(kModelWidth, count - i);
    kernels::FromF32(type, chunk.data(), num, buffer->data() + i * ElementBytes(type));
  }
  return *std::move(buffer);
}

void BM_MatVec(benchmark::State& state) {
  const auto type = static_cast<ElementType>(state.range(0));
  const auto rows = static_cast<size_t>(state.range(1));
  const auto tokens = static_cast<size_t>(state.range(2));
  const AlignedBuffer weights = RandomWeights(type, rows * kModelWidth);
  if (weights.size() == 0) return state.SkipWithError("no memory");
  const kernels::Matrix w{weights.data(), type, rows, kModelWidth,
                          kModelWidth * ElementBytes(type)};
  const std::vector<float> x(kModelWidth * tokens, 0.5f);
  std::vector<float> out(rows * tokens);
  for (auto _ : state) {
    kernels::MatVec(w, nullptr, x.data(), tokens, kModelWidth, out.data(), rows, 0, rows);
    benchmark::ClobberMemory();
  }
  ReportBytes(state, weights.size());
  state.counters["flops"] =
      benchmark::Counter(2.0 * static_cast<double>(rows * kModelWidth * tokens),
                         benchmark::Counter::kIsIterationInvariantRate);
  state.SetLabel(std::string(ElementTypeName(type)));
}
BENCHMARK(BM_MatVec)->ArgsProduct({{0, 1, 2}, {4096}, {1, 4, 32}});

using Gemm = void (*)(const float*, size_t, const float*, size_t, size_t, size_t, size_t, float*,
                      size_t);

void BM_Gemm(benchmark::State& state, Gemm gemm, bool a_transposed, bool b_transposed) {
  const auto m = static_cast<size_t>(state.range(0));
  const auto n = static_cast<size_t>(state.range(1));
  const auto k = static_cast<size_t>(state.range(2));
  const std::vector<float> a(m * k, 0.5f), b(n * k, 0.25f);
  std::vector<float> c(m * n);
  for (auto _ : state) {
    gemm(a.data(), a_transposed ? m : k, b.data(), b_transposed ? k : n, m, n, k, c.data(), n);
    benchmark::ClobberMemory();
  }
  state.counters["flops"] = benchmark::Counter(2.0 * static_cast<double>(m * n * k),
                                               benchmark::Counter::kIsIterationInvariantRate);
}
#define SLUICE_BENCH_GEMM(name, ...)             \
  BENCHMARK_CAPTURE(BM_Gemm, name, __VA_ARGS__)  \
      ->Args({1024, 1024, 64})                   \
      ->Args({512, 64, 1024})                    \
      ->Args({64, 1024, 1024})
SLUICE_BENCH_GEMM(NT, kernels::GemmNT, false, true);
SLUICE_BENCH_GEMM(NN, kernels::GemmNN, false, false);
SLUICE_BENCH_GEMM(TN, kernels::GemmTN, true, false);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
