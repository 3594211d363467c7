// What keeping the neurons of a layer costs a token, reads and products apart: replacing in place,
// as NeuronWindow does it, against the deletion of "LLM in a flash" (section 3.3), which copies the
// last rows over the deleted ones. Layers as large as OPT-6.7B's: 16384 bundles of 16 KiB, a tenth
// of them active, 390 of those new at each token, a window of 6 tokens in 3900 slots.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "lib/base/aligned_buffer.h"
#include "lib/cache/neuron_window.h"

namespace sluice {
namespace {

constexpr uint32_t kRecords = 16384;
constexpr uint32_t kActive = kRecords / 10;
constexpr uint32_t kNew = 390;
constexpr uint32_t kSlots = 3900;
constexpr uint32_t kWindow = 6;
constexpr size_t kRowBytes = 16 << 10;
constexpr size_t kModelLayers = 32;
// That the benchmark goes through in turn: 512 MB of rows, which no cache holds.
constexpr size_t kLayers = 8;
constexpr size_t kTokens = 128;  // then they come again

using Records = std::vector<uint32_t>;

// Active sets, ascending. The records that have been idle for longest come in: after as many
// tokens as that takes, all of them have left the window.
std::vector<Records> ActiveSets() {
  std::mt19937_64 rng(1);
  Records active(kRecords);
  std::iota(active.begin(), active.end(), 0u);
  std::shuffle(active.begin(), active.end(), rng);
  std::deque<uint32_t> idle(active.begin() + kActive, active.end());
  active.resize(kActive);
  std::vector<Records> tokens;
  for (size_t token = 0; token < kTokens; ++token) {
    std::shuffle(active.begin(), active.end(), rng);
    for (uint32_t i = 0; i < kNew; ++i) {
      idle.push_back(active[i]);
      active[i] = idle.front();
      idle.pop_front();
    }
    tokens.push_back(active);
    std::sort(tokens.back().begin(), tokens.back().end());
  }
  return tokens;
}

// The paper's data structure: rows [0, num_used()) of a matrix, and which record is in each.
class PackedRows {
 public:
  explicit PackedRows(AlignedBuffer matrix)
      : matrix_(std::move(matrix)), pointer_(kSlots), row_of_(kRecords, kNone),
        last_token_(kRecords, 0) {}

  // Deletes what has left the window and appends what is missing; returns how many rows the
  // caller would read, behind the others.
  uint32_t Advance(const Records& active) {
    ++token_;
    for (uint32_t record : active) last_token_[record] = token_;
    for (uint32_t row = 0; row < num_used_;) {
      if (last_token_[pointer_[row]] + kWindow > token_) {
        ++row;
      } else {
        Delete(row);
      }
    }
    const uint32_t first_new = num_used_;
    for (uint32_t record : active) {
      if (row_of_[record] != kNone || num_used_ == kSlots) continue;
      row_of_[record] = num_used_;
      pointer_[num_used_++] = record;
    }
    return num_used_ - first_new;
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // The last row that stays is copied over it.
  void Delete(uint32_t row) {
    row_of_[pointer_[row]] = kNone;
    --num_used_;
    while (num_used_ > row && last_token_[pointer_[num_used_]] + kWindow <= token_) {
      row_of_[pointer_[num_used_--]] = kNone;
    }
    if (num_used_ <= row) {
      num_used_ = row;
      return;
    }
    std::memcpy(matrix_.data() + row * kRowBytes, matrix_.data() + num_used_ * kRowBytes,
                kRowBytes);
    pointer_[row] = pointer_[num_used_];
    row_of_[pointer_[row]] = row;
  }

  AlignedBuffer matrix_;
  Records pointer_;  // row -> record
  Records row_of_;   // record -> row
  std::vector<uint64_t> last_token_;
  uint64_t token_ = 0;
  uint32_t num_used_ = 0;
};

// `advance(layer, active)` returns how many records are missing.
template <typename Advance>
void RunTokens(benchmark::State& state, Advance advance) {
  const std::vector<Records> tokens = ActiveSets();
  size_t token = 0;
  for (; token < 2 * kWindow; ++token) {  // until the window is full
    for (size_t layer = 0; layer < kLayers; ++layer) advance(layer, tokens[token]);
  }
  uint64_t num_missing = 0;
  for (auto _ : state) {
    for (size_t layer = 0; layer < kLayers; ++layer) {
      num_missing += advance(layer, tokens[token % kTokens]);
    }
    ++token;
  }
  const auto layer_tokens = static_cast<double>(state.iterations() * kLayers);
  state.counters["new_per_layer"] = static_cast<double>(num_missing) / layer_tokens;
  state.counters["s_per_token"] = benchmark::Counter(
      layer_tokens / kModelLayers, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void BM_ReplaceInPlace(benchmark::State& state) {
  std::vector<NeuronWindow> windows(kLayers, NeuronWindow(kRecords, kSlots, kWindow));
  std::vector<SlotFill> missing;
  missing.reserve(kSlots);
  RunTokens(state, [&](size_t layer, const Records& active) {
    if (!windows[layer].Advance(active, &missing).ok()) state.SkipWithError("Advance failed");
    return missing.size();
  });
}
BENCHMARK(BM_ReplaceInPlace)->Unit(benchmark::kMillisecond);

void BM_CopyOverDeleted(benchmark::State& state) {
  std::vector<PackedRows> layers;
  for (size_t layer = 0; layer < kLayers; ++layer) {
    auto matrix = AlignedBuffer::Allocate(kSlots * kRowBytes);
    if (!matrix.ok()) return state.SkipWithError("no memory");
    layers.emplace_back(*std::move(matrix));
  }
  RunTokens(state,
            [&](size_t layer, const Records& active) { return layers[layer].Advance(active); });
}
BENCHMARK(BM_CopyOverDeleted)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
