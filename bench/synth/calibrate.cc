#include "bench/synth/calibrate.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/synth/planted_weights.h"
#include "bench/synth/random_rows.h"
#include "bench/synth/statistics.h"
#include "bench/synth/token_batch.h"
#include "lib/base/status_macros.h"
#include "lib/convert/placement.h"
#include "lib/kernels/kernels.h"

namespace sluice::synth {
namespace {

// Of what a layer adds to the residual stream's variance, the attention's.
constexpr double kAttentionShare = 0.15;
// Guesses of a look-ahead for each prediction.
constexpr double kGuessedPerPredicted = 1.1;

std::vector<uint32_t> AllNeurons(uint32_t count) {
  std::vector<uint32_t> ids(count);
  for (uint32_t n = 0; n < count; ++n) ids[n] = n;
  return ids;
}

// The shift of all scores at which this share of them is positive.
double ShiftFor(const TokenBatch& scores, double share) {
  const size_t count = scores.values.size();
  const auto wanted = static_cast<double>(count) * share;
  double low = -16, high = 16;
  for (int i = 0; i < 40; ++i) {
    const double shift = (low + high) / 2;
    const auto edge = static_cast<float>(-shift);
    size_t positive = 0;
    for (const float v : scores.values) positive += v > edge ? 1 : 0;
    (static_cast<double>(positive) < wanted ? low : high) = shift;
  }
  return (low + high) / 2;
}

std::vector<std::vector<uint32_t>> PositiveSets(const TokenBatch& scores) {
  std::vector<std::vector<uint32_t>> sets(scores.tokens);
  for (size_t t = 0; t < scores.tokens; ++t) {
    for (uint32_t n = 0; n < scores.width; ++n) {
      if (scores.row(t)[n] > 0) sets[t].push_back(n);
    }
  }
  return sets;
}

// Puts places[n] for each member n.
void Rename(const std::vector<uint32_t>& places, std::vector<std::vector<uint32_t>>* sets) {
  for (std::vector<uint32_t>& set : *sets) {
    for (uint32_t& n : set) n = places[n];
    std::sort(set.begin(), set.end());
  }
}

size_t CountOf(const std::vector<std::vector<uint32_t>>& sets) {
  size_t count = 0;
  for (const auto& set : sets) count += set.size();
  return count;
}

// Slope of b over a, both about their means.
double Slope(const TokenBatch& a, const TokenBatch& b) {
  const std::vector<float> mean_a = a.Mean(), mean_b = b.Mean();
  double ab = 0, aa = 0;
  for (size_t t = 0; t < a.tokens; ++t) {
    for (size_t c = 0; c < a.width; ++c) {
      const auto va = static_cast<double>(a.row(t)[c] - mean_a[c]);
      ab += va * static_cast<double>(b.row(t)[c] - mean_b[c]);
      aa += va * va;
    }
  }
  return aa > 0 ? ab / aa : 0;
}

std::vector<float> Negative(std::vector<float> values) {
  for (float& v : values) v = -v;
  return values;
}

class Calibration {
 public:
  Calibration(const Shape& shape, const CalibrationOptions& options, ThreadPool* pool)
      : shape_(shape), options_(options), pool_(pool),
        active_(ActiveByLayer(shape.config.num_layers, Targets())) {}

  void Embed();
  absl::StatusOr<LayerPlan> Layer(uint32_t layer);

 private:
  uint32_t d_model() const { return shape_.config.d_model; }
  // By how much the stream's variance grows from the FFN input of `layer` to the next one's: what
  // is added is independent of what is there, so the cosine is the ratio of their lengths.
  double Growth(uint32_t layer) const {
    const double similarity = SimilarityToNext(options_, layer);
    return 1 / (similarity * similarity) - 1;
  }
  void Attention(uint32_t layer, LayerPlan* plan);
  TokenBatch UpBiases(uint32_t layer, const PlantedLayer& weights, const TokenBatch& planted,
                      LayerPlan* plan);
  void Lookahead(const PlantedLayer& weights, const TokenBatch& hidden, const TokenBatch& planted,
                 size_t predicted, LayerSets* sets, LayerPlan* plan);
  absl::Status FeedForward(uint32_t layer, const PlantedLayer& weights, LayerPlan* plan);
  void Down(uint32_t layer, const PlantedLayer& weights, const TokenBatch& outputs,
            LayerPlan* plan);

  const Shape& shape_;
  const CalibrationOptions& options_;
  ThreadPool* const pool_;
  const std::vector<double> active_;
  TokenBatch hidden_;         // the residual stream
  TokenBatch input_, before_;  // the FFN's input, and that of the layer before
};

void Calibration::Embed() {
  const std::vector<int32_t> ids = RandomTokenIds(Mix(options_.seed, 0xca1), options_.tokens,
                                                  shape_.config.vocab_size, /*odd=*/false);
  hidden_ = TokenBatch(ids.size(), d_model());
  std::vector<float> scratch(d_model());
  std::vector<std::byte> half(size_t{d_model()} * 2);
  for (size_t t = 0; t < ids.size(); ++t) {
    EmbeddingRow(shape_, options_.seed, static_cast<uint64_t>(ids[t]), scratch.data(),
                 half.data());
    kernels::ToF32(ElementType::kF16, half.data(), d_model(), hidden_.row(t));
    PositionRow(shape_, options_.seed, t + shape_.config.position_offset, scratch.data(),
                half.data());
    kernels::ToF32(ElementType::kF16, half.data(), d_model(), scratch.data());
    kernels::Add(scratch.data(), d_model(), hidden_.row(t));
  }
}

void Calibration::Attention(uint32_t layer, LayerPlan* plan) {
  const TokenBatch x = Normalise(hidden_, shape_.config.norm_epsilon, pool_);
  const auto project = [&](Matrix matrix, float scale, const TokenBatch& from) {
    return Project(from, d_model(), d_model(),
                   [&](uint32_t first, uint32_t count, float* scratch, std::byte* out) {
                     AttentionRows(shape_, options_.seed, layer, matrix, scale, first,
                                   count, scratch, out);
                   }, pool_);
  };
  const TokenBatch mixed =
      Attend(project(Matrix::kQuery, kQueryScale, x), project(Matrix::kKey, kQueryScale, x),
             project(Matrix::kValue, 1, x), shape_.config.num_heads, pool_);
  // Of what comes between two FFN inputs, the second part; before the first of them, as between
  // later ones.
  const double growth = Growth(layer == 0 ? 1 : layer - 1);
  const double share = growth * kAttentionShare / (1 + growth * (1 - kAttentionShare));
  plan->out_scale = static_cast<float>(
      std::sqrt(share * hidden_.MeanVariance() / std::max(mixed.MeanVariance(), 1e-12)));
  TokenBatch out = project(Matrix::kOut, plan->out_scale, mixed);
  plan->out_bias = Negative(out.Mean());
  out.AddToAll(plan->out_bias);
  kernels::Add(out.values.data(), out.values.size(), hidden_.values.data());
}

// Sets up_bias and predictor_bias; returns the neurons' outputs.
TokenBatch Calibration::UpBiases(uint32_t layer, const PlantedLayer& weights,
                                 const TokenBatch& planted, LayerPlan* plan) {
  const uint32_t d_ffn = shape_.config.d_ffn;
  const std::vector<uint32_t> ids = AllNeurons(d_ffn);
  TokenBatch up = Project(input_, d_ffn, d_model() + weights.rank(),
                          [&](uint32_t first, uint32_t count, float* scratch, std::byte* out) {
                            weights.UpRows(absl::MakeConstSpan(ids).subspan(first, count),
                                           scratch, out);
                          }, pool_);
  const std::vector<float> mean = up.Mean();
  // Rows are equally long and inputs alike in all directions: one deviation for all neurons says
  // more about other tokens than each one's own, which is of these tokens.
  const double deviation = std::sqrt(up.MeanVariance());
  const double depth = std::sqrt(1 + kBiasDeviation * kBiasDeviation);
  const double middle = depth * NormalQuantile(active_[layer]);
  plan->up_bias.resize(d_ffn);
  for (uint32_t n = 0; n < d_ffn; ++n) {
    const double rate = middle + kBiasDeviation * static_cast<double>(weights.rates()[n]);
    plan->up_bias[n] = static_cast<float>(rate * deviation) - mean[n];
  }
  TokenBatch rest = up;  // what the predictor does not see
  for (size_t i = 0; i < rest.values.size(); ++i) rest.values[i] -= planted.values[i];
  const std::vector<float> rest_mean = rest.Mean();
  const auto margin =
      static_cast<float>(-NormalQuantile(kPredictFrom) * std::sqrt(rest.MeanVariance()));

  up.AddToAll(plan->up_bias);
  const auto shift = static_cast<float>(ShiftFor(up, active_[layer]));
  plan->predictor_bias.resize(d_ffn);
  for (uint32_t n = 0; n < d_ffn; ++n) {
    plan->up_bias[n] += shift;
    plan->predictor_bias[n] = plan->up_bias[n] + rest_mean[n] + margin;
  }
  for (float& v : up.values) v = std::max(v + shift, 0.0f);
  return up;
}

// hidden: predictor.in . x of this layer; planted: out . hidden.
void Calibration::Lookahead(const PlantedLayer& weights, const TokenBatch& hidden,
                            const TokenBatch& planted, size_t predicted, LayerSets* sets,
                            LayerPlan* plan) {
  std::vector<float> in = weights.predictor_in();
  const double slope = Slope(Project(before_, in, pool_), hidden);
  plan->lookahead_scale = static_cast<float>(slope);
  kernels::Scale(in.data(), plan->lookahead_scale, in.size(), in.data());
  RoundThroughF16(absl::MakeSpan(in));
  TokenBatch score =
      Project(Project(before_, in, pool_), weights.predictor_out(), pool_);
  const std::vector<float> mean = planted.Mean(), guess_mean = score.Mean();
  plan->lookahead_bias.resize(score.width);
  for (size_t n = 0; n < score.width; ++n) {
    plan->lookahead_bias[n] = plan->predictor_bias[n] + mean[n] - guess_mean[n];
  }
  score.AddToAll(plan->lookahead_bias);
  const double share = kGuessedPerPredicted * static_cast<double>(predicted) /
                       static_cast<double>(score.values.size());
  const auto shift = static_cast<float>(ShiftFor(score, share));
  for (float& v : plan->lookahead_bias) v += shift;
  for (float& v : score.values) v += shift;
  sets->guessed = PositiveSets(score);
}

void Calibration::Down(uint32_t layer, const PlantedLayer& weights, const TokenBatch& outputs,
                       LayerPlan* plan) {
  // Columns are independent and have unit length, so the variance of a sum is known beforehand.
  double variance = 0;
  for (float v : outputs.Variance()) variance += static_cast<double>(v);
  const double growth = Growth(layer);
  const double wanted = growth * (1 - kAttentionShare) * hidden_.MeanVariance();
  plan->down_scale =
      static_cast<float>(std::sqrt(wanted * d_model() / std::max(variance, 1e-12)));
  const std::vector<uint32_t> ids = AllNeurons(shape_.config.d_ffn);
  TokenBatch y(outputs.tokens, d_model());
  AccumulateRows(outputs, d_model(),
                 [&](uint32_t first, uint32_t count, float* scratch, std::byte* out) {
                   weights.DownRows(absl::MakeConstSpan(ids).subspan(first, count),
                                    plan->down_scale, scratch, out);
                 }, pool_, &y);
  plan->down_bias = Negative(y.Mean());
  y.AddToAll(plan->down_bias);
  kernels::Add(y.values.data(), y.values.size(), hidden_.values.data());
}

absl::Status Calibration::FeedForward(uint32_t layer, const PlantedLayer& weights,
                                      LayerPlan* plan) {
  before_ = std::move(input_);
  input_ = Normalise(hidden_, shape_.config.norm_epsilon, pool_);
  const TokenBatch hidden = Project(input_, weights.predictor_in(), pool_);
  TokenBatch planted = Project(hidden, weights.predictor_out(), pool_);
  const TokenBatch outputs = UpBiases(layer, weights, planted, plan);
  LayerSets sets;
  sets.active = PositiveSets(outputs);
  TokenBatch score = planted;
  score.AddToAll(plan->predictor_bias);
  sets.predicted = PositiveSets(score);
  if (layer > 0) {
    Lookahead(weights, hidden, planted, CountOf(sets.predicted), &sets, plan);
    plan->similarity = MeanCosine(before_.values.data(), input_.values.data(), input_.tokens,
                                  d_model());
  }
  SLUICE_ASSIGN_OR_RETURN(const RecordLayout layout,
                          MakeRecordLayout(shape_.config.d_ffn, d_model(), 2, ElementType::kF16));
  plan->figures = Summarise(sets, layout, kWindowTokens);
  if (options_.place) {
    plan->order = PlaceByCoactivation(sets.predicted, shape_.config.d_ffn, pool_);
    const std::vector<uint32_t> places = InverseOrder(plan->order);
    for (auto* of_tokens : {&sets.active, &sets.predicted, &sets.guessed}) {
      Rename(places, of_tokens);
    }
    plan->placed_figures = Summarise(sets, layout, kWindowTokens);
  }
  Down(layer, weights, outputs, plan);
  if (kernels::HasNonFinite(hidden_.values.data(), hidden_.values.size())) {
    return absl::InternalError(absl::StrCat("layer ", layer, ": values that are not finite"));
  }
  return absl::OkStatus();
}

absl::StatusOr<LayerPlan> Calibration::Layer(uint32_t layer) {
  LayerPlan plan;
  const PlantedLayer weights(shape_, options_.seed, layer, pool_);
  Attention(layer, &plan);
  SLUICE_RETURN_IF_ERROR(FeedForward(layer, weights, &plan));
  return plan;
}

}  // namespace

absl::StatusOr<std::vector<LayerPlan>> Calibrate(const Shape& shape,
                                                 const CalibrationOptions& options,
                                                 ThreadPool* pool) {
  if (options.tokens <= kWindowTokens || options.tokens > shape.config.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.tokens, " calibration tokens are not more than ", kWindowTokens,
                     " and at most the ", shape.config.max_positions, " positions"));
  }
  Calibration calibration(shape, options, pool);
  calibration.Embed();
  std::vector<LayerPlan> plans;
  for (uint32_t i = 0; i < shape.config.num_layers; ++i) {
    SLUICE_ASSIGN_OR_RETURN(LayerPlan plan, calibration.Layer(i));
    plans.push_back(std::move(plan));
    if (options.on_layer) options.on_layer(i + 1);
  }
  return plans;
}

}  // namespace sluice::synth
