// What the neuron window costs a token: Advance() on a layer as large as OPT-6.7B's (16384
// records), 10 % of it active, three quarters of that active at the token before too.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "lib/cache/neuron_window.h"

namespace sluice {
namespace {

constexpr uint32_t kRecords = 16384;
constexpr uint32_t kActive = kRecords / 10;
constexpr uint32_t kKept = kActive * 3 / 4;
constexpr size_t kTokens = 256;  // then they come again

using Records = std::vector<uint32_t>;

// The first kActive members of `order` are the active set.
Records ActiveSet(const Records& order) {
  Records active(order.begin(), order.begin() + kActive);
  std::sort(active.begin(), active.end());
  return active;
}

std::vector<Records> DriftingActiveSets() {
  std::mt19937_64 rng(1);
  Records order(kRecords);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), rng);
  std::vector<Records> tokens;
  for (size_t token = 0; token < kTokens; ++token) {
    tokens.push_back(ActiveSet(order));
    std::shuffle(order.begin(), order.begin() + kActive, rng);
    for (uint32_t i = kKept; i < kActive; ++i) {
      std::swap(order[i], order[kActive + rng() % (kRecords - kActive)]);
    }
  }
  return tokens;
}

// Arguments: slots in percent of the records, tokens of the window (0: as many as fit).
void BM_NeuronWindowAdvance(benchmark::State& state) {
  const std::vector<Records> tokens = DriftingActiveSets();
  const auto num_slots = static_cast<uint32_t>(kRecords * state.range(0) / 100);
  NeuronWindow window(kRecords, num_slots, static_cast<uint32_t>(state.range(1)));
  std::vector<SlotFill> missing;
  missing.reserve(num_slots);
  uint64_t num_missing = 0;
  size_t token = 0;
  for (auto _ : state) {
    if (!window.Advance(tokens[token++ % kTokens], &missing).ok()) {
      state.SkipWithError("Advance failed");
      break;
    }
    num_missing += missing.size();
  }
  const auto num_tokens = static_cast<double>(state.iterations());
  state.counters["hit_rate"] = 1.0 - static_cast<double>(num_missing) / (num_tokens * kActive);
  state.counters["per_active"] = benchmark::Counter(
      num_tokens * kActive, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_NeuronWindowAdvance)
    ->ArgNames({"slots_percent", "window"})
    ->Args({25, NeuronWindow::kWindowAuto})
    ->Args({25, 5})
    ->Args({50, NeuronWindow::kWindowAuto})
    ->Args({100, 5})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
