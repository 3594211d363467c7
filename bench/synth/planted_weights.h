// The weights of a synthetic model, made anew whenever they are asked for: nothing of the model is
// held but one layer's predictor. All values are those of the file, rounded to f16.
#ifndef SLUICE_BENCH_SYNTH_PLANTED_WEIGHTS_H_
#define SLUICE_BENCH_SYNTH_PLANTED_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "bench/synth/shape.h"
#include "lib/base/thread_pool.h"

namespace sluice::synth {

// Of |w|^2 of an up row, what lies in the space that the predictor sees, and the chance of being
// active from which a neuron is predicted. The two with the rates below give the published
// figures: tokens whose FFN inputs are independent, b / |w| normal with this deviation.
inline constexpr double kPlantedShare = 0.64;
inline constexpr double kPredictFrom = 0.047;
inline constexpr double kBiasDeviation = 1.136;

// Neurons that fire together: so many share most of their planted direction, and their rates.
// Chosen so that reads in placed order are about as long as they are for OPT 6.7B (3.1 bundles);
// each neuron's own rate, and with it every other figure, is what it would be alone.
inline constexpr uint32_t kClusterSize = 8;
inline constexpr double kSharedDirection = 0.987;  // of |planted direction|^2
inline constexpr double kOwnRate = 0.002;         // of the variance of b / |w|


// One layer. Rows come as f16, one after another, at `out`; `scratch` has room for as many floats
// and, for each row, `rank()` more. A row is the same whichever others are asked for with it.
// Threads: const methods may overlap.
class PlantedLayer {
 public:
  PlantedLayer(const Shape& shape, uint64_t seed, uint32_t layer, ThreadPool* pool);

  uint32_t rank() const { return rank_; }

  // The up rows of `neurons`: independent inputs of unit variance give pre-activations of unit
  // variance.
  void UpRows(absl::Span<const uint32_t> neurons, float* scratch, std::byte* out) const;
  // Their down columns; so scaled, each has the length `scale`.
  void DownRows(absl::Span<const uint32_t> neurons, float scale, float* scratch,
                std::byte* out) const;

  // The predictor's factors as f32, rounded to f16: [rank, d_model] and [d_ffn, rank].
  const std::vector<float>& predictor_in() const { return in_; }
  const std::vector<float>& predictor_out() const { return out_; }
  // The z of each neuron: b / |w| is to be mean + kBiasDeviation z.
  const std::vector<float>& rates() const { return rates_; }

 private:
  void MakeFactors(ThreadPool* pool);

  const uint32_t d_model_, d_ffn_, rank_;
  const uint64_t seed_;
  std::vector<uint32_t> place_;  // of each neuron among the clusters
  std::vector<float> in_, out_, rates_;
};

enum class Matrix { kQuery, kKey, kValue, kOut };

// Queries and keys are so long that a head attends to a few tokens: were it to average over all of
// them, neighbouring tokens would get the same, and tokens would not be independent.
inline constexpr float kQueryScale = 2;

// Rows [first, first + count) of an attention matrix: so scaled, each has the length `scale`.
void AttentionRows(const Shape& shape, uint64_t seed, uint32_t layer, Matrix matrix, float scale,
                   uint32_t first, uint32_t count, float* scratch, std::byte* out);

// A row of the token embeddings, or of the position table.
void EmbeddingRow(const Shape& shape, uint64_t seed, uint64_t row, float* scratch,
                  std::byte* out);
void PositionRow(const Shape& shape, uint64_t seed, uint64_t row, float* scratch, std::byte* out);

// To f16 and back.
void RoundThroughF16(absl::Span<float> values);

}  // namespace sluice::synth

#endif  // SLUICE_BENCH_SYNTH_PLANTED_WEIGHTS_H_
