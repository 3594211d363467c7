// Seeded normal numbers in rows that can be made in any order, on any thread.
#ifndef SLUICE_BENCH_SYNTH_RANDOM_ROWS_H_
#define SLUICE_BENCH_SYNTH_RANDOM_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace sluice::synth {

// The standard normal distribution, its inverse at 0 < p < 1, and a hash of two numbers.
double NormalCdf(double x);
double NormalQuantile(double p);
uint64_t Mix(uint64_t a, uint64_t b);

// Threads: const methods may overlap.
class RandomRows {
 public:
  // Different streams of one seed are independent.
  RandomRows(uint64_t seed, uint64_t stream) : key_(Mix(seed, stream)) {}

  // Fills `out` with independent N(0, scale^2); the same for the same seed, stream and row.
  void Fill(uint64_t row, float scale, absl::Span<float> out) const;

 private:
  uint64_t key_;
};

// A seeded permutation of [0, size).
std::vector<uint32_t> Permutation(uint64_t seed, uint32_t size);

}  // namespace sluice::synth

#endif  // SLUICE_BENCH_SYNTH_RANDOM_ROWS_H_
