#include "bench/synth/random_rows.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

namespace sluice::synth {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;

// The finaliser of MurmurHash3, on whose input every bit of the output depends.
inline uint64_t Scramble(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
  return x ^ (x >> 33);
}

// Equally likely values, the middles of so many slices of the normal distribution: sums of them
// are normal, and a table lookup is as fast as the disk is.
constexpr size_t kTableBits = 12;
constexpr size_t kTableSize = size_t{1} << kTableBits;
constexpr size_t kPerWord = 64 / kTableBits;

std::array<float, kTableSize> MakeTable() {
  std::array<float, kTableSize> table;
  double squares = 0;
  for (size_t i = 0; i < kTableSize; ++i) {
    const double value = NormalQuantile((static_cast<double>(i) + 0.5) / kTableSize);
    squares += value * value;
    table[i] = static_cast<float>(value);
  }
  const auto unit = static_cast<float>(std::sqrt(kTableSize / squares));
  for (float& value : table) value *= unit;
  return table;
}

}  // namespace

double NormalCdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

double NormalQuantile(double p) {
  double low = -40, high = 40;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (NormalCdf(middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

uint64_t Mix(uint64_t a, uint64_t b) { return Scramble(Scramble(a + kGolden) + b * kGolden); }

void RandomRows::Fill(uint64_t row, float scale, absl::Span<float> out) const {
  static const std::array<float, kTableSize> table = MakeTable();
  uint64_t counter = Mix(key_, row);
  const size_t whole = out.size() / kPerWord * kPerWord;
  size_t i = 0;
  for (; i < whole; i += kPerWord) {
    uint64_t word = Scramble(counter += kGolden);
    for (size_t k = 0; k < kPerWord; ++k, word >>= kTableBits) {
      out[i + k] = scale * table[word % kTableSize];
    }
  }
  uint64_t word = Scramble(counter + kGolden);
  for (; i < out.size(); ++i, word >>= kTableBits) out[i] = scale * table[word % kTableSize];
}

std::vector<uint32_t> Permutation(uint64_t seed, uint32_t size) {
  std::vector<uint32_t> order(size);
  std::iota(order.begin(), order.end(), 0u);
  for (uint32_t i = size; i > 1; --i) {
    std::swap(order[i - 1], order[Mix(seed, i) % i]);
  }
  return order;
}

}  // namespace sluice::synth
