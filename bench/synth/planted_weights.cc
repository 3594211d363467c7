#include "bench/synth/planted_weights.h"

#include <algorithm>
#include <cmath>

#include "bench/synth/random_rows.h"
#include "lib/base/checked.h"
#include "lib/kernels/kernels.h"

namespace sluice::synth {
namespace {

// Streams of the generator. A layer's own seed is mixed from the model's and its number.
enum Stream : uint64_t {
  kEmbedding = 1,
  kPosition,
  kQueryStream,  // key, value and out follow
  kUpNoise = 16,
  kDown,
  kSpace,
  kClusterDirection,
  kOwnDirection,
  kOwnRates,
  kShuffle,
};

// Position rows beside embeddings of unit variance: enough to tell positions apart, too little to
// bind neighbouring tokens together.
constexpr float kPositionDeviation = 0.2f;

void ToF16(const float* values, size_t count, std::byte* out) {
  kernels::FromF32(ElementType::kF16, values, count, out);
}

uint64_t LayerSeed(uint64_t seed, uint32_t layer) { return Mix(seed, uint64_t{layer} + 1); }

float Unit(uint32_t elements) { return 1 / std::sqrt(static_cast<float>(elements)); }

}  // namespace

void RoundThroughF16(absl::Span<float> values) {
  constexpr size_t kPiece = 1024;
  std::byte half[kPiece * 2];
  for (size_t at = 0; at < values.size(); at += kPiece) {
    const size_t count = std::min(kPiece, values.size() - at);
    kernels::FromF32(ElementType::kF16, values.data() + at, count, half);
    kernels::ToF32(ElementType::kF16, half, count, values.data() + at);
  }
}

PlantedLayer::PlantedLayer(const Shape& shape, uint64_t seed, uint32_t layer, ThreadPool* pool)
    : d_model_(shape.config.d_model), d_ffn_(shape.config.d_ffn), rank_(shape.ranks[layer]),
      seed_(LayerSeed(seed, layer)),
      place_(Permutation(Mix(seed_, kShuffle), shape.config.d_ffn)) {
  MakeFactors(pool);
  const double clusters = static_cast<double>(DivideRoundUp(d_ffn_, kClusterSize));
  rates_.resize(d_ffn_);
  const RandomRows own(seed_, kOwnRates);
  own.Fill(0, static_cast<float>(std::sqrt(kOwnRate)), absl::MakeSpan(rates_));
  for (uint32_t n = 0; n < d_ffn_; ++n) {
    // One cluster for each slice of the distribution: a small layer has its mean too.
    const uint32_t cluster = place_[n] / kClusterSize;
    rates_[n] += static_cast<float>(std::sqrt(1 - kOwnRate) *
                                    NormalQuantile((cluster + 0.5) / clusters));
  }
}

void PlantedLayer::MakeFactors(ThreadPool* pool) {
  in_.resize(size_t{rank_} * d_model_);
  out_.resize(size_t{d_ffn_} * rank_);
  const RandomRows space(seed_, kSpace), shared(seed_, kClusterDirection),
      own(seed_, kOwnDirection);
  pool->ParallelFor(rank_, 8, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const auto row = absl::MakeSpan(in_).subspan(r * d_model_, d_model_);
      space.Fill(r, Unit(d_model_), row);
      RoundThroughF16(row);
    }
  });
  std::vector<float> directions(out_.size());
  pool->ParallelFor(d_ffn_, 64, [&](size_t begin, size_t end) {
    for (size_t n = begin; n < end; ++n) {
      const auto row = absl::MakeSpan(out_).subspan(n * rank_, rank_);
      const auto mine = absl::MakeSpan(directions).subspan(n * rank_, rank_);
      shared.Fill(place_[n] / kClusterSize, std::sqrt(static_cast<float>(kSharedDirection)), row);
      own.Fill(n, std::sqrt(static_cast<float>(1 - kSharedDirection)), mine);
      kernels::Add(mine.data(), rank_, row.data());
      double squares = 0;
      for (float v : row) squares += static_cast<double>(v) * static_cast<double>(v);
      const auto unit = static_cast<float>(std::sqrt(kPlantedShare / squares));
      kernels::Scale(row.data(), unit, rank_, row.data());
      RoundThroughF16(row);
    }
  });
}

void PlantedLayer::UpRows(absl::Span<const uint32_t> neurons, float* scratch,
                          std::byte* out) const {
  const RandomRows random(seed_, kUpNoise);
  const float noise = Unit(d_model_) * static_cast<float>(std::sqrt(1 - kPlantedShare));
  float* const directions = scratch + neurons.size() * d_model_;
  for (size_t i = 0; i < neurons.size(); ++i) {
    random.Fill(neurons[i], noise, absl::MakeSpan(scratch + i * d_model_, d_model_));
    std::copy_n(out_.data() + size_t{neurons[i]} * rank_, rank_, directions + i * rank_);
  }
  kernels::GemmNN(directions, rank_, in_.data(), d_model_, neurons.size(), d_model_, rank_,
                  scratch, d_model_);
  ToF16(scratch, neurons.size() * d_model_, out);
}

void PlantedLayer::DownRows(absl::Span<const uint32_t> neurons, float scale, float* scratch,
                            std::byte* out) const {
  const RandomRows random(seed_, kDown);
  for (size_t i = 0; i < neurons.size(); ++i) {
    random.Fill(neurons[i], scale * Unit(d_model_), absl::MakeSpan(scratch, d_model_));
    ToF16(scratch, d_model_, out + i * d_model_ * 2);
  }
}

void AttentionRows(const Shape& shape, uint64_t seed, uint32_t layer, Matrix matrix, float scale,
                   uint32_t first, uint32_t count, float* scratch, std::byte* out) {
  const uint32_t d = shape.config.d_model;
  const RandomRows random(LayerSeed(seed, layer), kQueryStream + static_cast<uint64_t>(matrix));
  for (uint32_t i = 0; i < count; ++i) {
    random.Fill(first + i, scale * Unit(d), absl::MakeSpan(scratch, d));
    ToF16(scratch, d, out + size_t{i} * d * 2);
  }
}

void EmbeddingRow(const Shape& shape, uint64_t seed, uint64_t row, float* scratch,
                  std::byte* out) {
  const uint32_t d = shape.config.d_model;
  RandomRows(seed, kEmbedding).Fill(row, 1, absl::MakeSpan(scratch, d));
  ToF16(scratch, d, out);
}

void PositionRow(const Shape& shape, uint64_t seed, uint64_t row, float* scratch,
                 std::byte* out) {
  const uint32_t d = shape.config.d_model;
  RandomRows(seed, kPosition).Fill(row, kPositionDeviation, absl::MakeSpan(scratch, d));
  ToF16(scratch, d, out);
}

}  // namespace sluice::synth
