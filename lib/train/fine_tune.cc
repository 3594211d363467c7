#include "lib/train/fine_tune.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <numeric>
#include <random>

#include <Eigen/Core>

#include "lib/kernels/kernels.h"

namespace sluice::train {
namespace {

constexpr size_t kBatch = 512;
constexpr double kLearningRate = 1e-2;
constexpr double kWarmup = 0.05;  // share of the steps
constexpr double kBeta1 = 0.9, kBeta2 = 0.99, kEpsilon = 1e-8;
// With fewer steps the learning rate has no time to fall; up to so many passes are made then.
constexpr size_t kMinSteps = 64;
constexpr size_t kMaxPasses = 4;
// Parts of a batch that one thread takes: tokens, neurons, input columns.
constexpr size_t kTokenPiece = 64, kNeuronPiece = 128, kColumnPiece = 64;
constexpr float kInactive = -1;
// Every so many tokens is enough for a mean.
constexpr size_t kMeanStride = 8;
constexpr size_t kMeanTokens = 1024;

struct AdamRates {
  float step, root_scale;  // q -= step m / (sqrt(v) root_scale + epsilon)
};

AdamRates RatesAt(size_t step, size_t steps) {
  const double share = static_cast<double>(step) / static_cast<double>(steps);
  const double rate = kLearningRate * std::min(1.0, share / kWarmup) * 0.5 *
                      (1 + std::cos(std::numbers::pi * share));
  const double t = static_cast<double>(step);
  return {static_cast<float>(rate / (1 - std::pow(kBeta1, t))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(kBeta2, t)))};
}

// Parameters with their gradient and its running moments.
struct Parameters {
  explicit Parameters(FloatMatrix* initial)
      : values(initial), gradient(initial->rows, initial->cols),
        mean(initial->rows, initial->cols), square(initial->rows, initial->cols) {}

  void Update(size_t row, size_t begin, size_t end, const AdamRates& rates) {
    constexpr float b1 = kBeta1, b2 = kBeta2, epsilon = kEpsilon;
    float* q = values->row(row);
    const float* g = gradient.row(row);
    float* m = mean.row(row);
    float* v = square.row(row);
    for (size_t i = begin; i < end; ++i) {
      m[i] = b1 * m[i] + (1 - b1) * g[i];
      v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
      q[i] -= rates.step * m[i] / (std::sqrt(v[i]) * rates.root_scale + epsilon);
    }
  }

  FloatMatrix* values;
  FloatMatrix gradient, mean, square;
};

// One predictor in training, with its share of a batch's scratch.
struct Candidate {
  explicit Candidate(Factors* factors)
      : bias_row(1, factors->bias.size()), in_t(&factors->in_t), out_t(&factors->out_t),
        bias(&bias_row), out(Transposed(factors->out_t)), hidden(kBatch, factors->rank()),
        hidden_gradient(kBatch, factors->rank()), score(kBatch, factors->bias.size()) {
    bias_row.values = factors->bias;
  }
  Candidate(const Candidate&) = delete;

  FloatMatrix bias_row;
  Parameters in_t, out_t, bias;
  FloatMatrix out;  // out_t transposed, kept up to date for the backward product
  FloatMatrix hidden, hidden_gradient;
  FloatMatrix score;  // then the gradient of the loss with respect to it
};

// The gradient of the mean loss with respect to the scores of one token, in place.
void ScoreGradient(const float* cost, float per_token, size_t n, float* score) {
  Eigen::Map<Eigen::ArrayXf> p(score, static_cast<Eigen::Index>(n));
  p = p.logistic();
  for (size_t i = 0; i < n; ++i) {
    const float miss = cost[i] * (score[i] - 1);
    score[i] = (cost[i] < 0 ? score[i] : miss) * per_token;
  }
}

class Tuner {
 public:
  Tuner(const TuneData& data, ThreadPool* pool, std::vector<Factors>* factors)
      : data_(data), pool_(pool), batch_(kBatch, data.layer->up.cols),
        cost_(kBatch, data.layer->up.rows) {
    candidates_.reserve(factors->size());
    for (Factors& f : *factors) candidates_.push_back(std::make_unique<Candidate>(&f));
  }

  void Step(absl::Span<const uint32_t> tokens, const AdamRates& rates) {
    ForFixedPieces(pool_, tokens.size(), kTokenPiece, [&](size_t begin, size_t end) {
      Truth(tokens, begin, end);
      for (auto& candidate : candidates_) {
        Scores(tokens.size(), begin, end, candidate.get());
      }
    });
    const size_t neuron_pieces = (cost_.cols + kNeuronPiece - 1) / kNeuronPiece;
    const size_t column_pieces = (batch_.cols + kColumnPiece - 1) / kColumnPiece;
    const size_t pieces = neuron_pieces + column_pieces;
    ForFixedPieces(pool_, pieces * candidates_.size(), 1, [&](size_t task, size_t) {
      Candidate* candidate = candidates_[task / pieces].get();
      const size_t piece = task % pieces;
      if (piece < neuron_pieces) {
        UpdateOut(tokens.size(), piece * kNeuronPiece, rates, candidate);
      } else {
        UpdateIn(tokens.size(), (piece - neuron_pieces) * kColumnPiece, rates, candidate);
      }
    });
  }

  void TakeBiases(std::vector<Factors>* factors) const {
    for (size_t i = 0; i < candidates_.size(); ++i) {
      (*factors)[i].bias = candidates_[i]->bias_row.values;
    }
  }

 private:
  // Gathers the tokens' inputs; what missing each neuron would cost, or kInactive.
  void Truth(absl::Span<const uint32_t> tokens, size_t begin, size_t end) {
    const size_t d = batch_.cols, n = cost_.cols;
    for (size_t t = begin; t < end; ++t) {
      std::copy_n(data_.inputs->row(tokens[t]), d, batch_.row(t));
      std::copy_n(data_.layer->bias.data(), n, cost_.row(t));
    }
    kernels::GemmNN(batch_.row(begin), d, data_.layer->up_t.row(0), n, end - begin, n, d,
                    cost_.row(begin), n);
    const float per_mean = static_cast<float>(1 / data_.mean_contribution);
    const float* down_norm = data_.down_norm->data();
    for (size_t t = begin; t < end; ++t) {
      float* cost = cost_.row(t);
      for (size_t i = 0; i < n; ++i) {
        const float share = std::min(cost[i] * down_norm[i] * per_mean, kContributionCap);
        cost[i] = cost[i] > 0 ? kMissWeight * share : kInactive;
      }
    }
  }

  void Scores(size_t num_tokens, size_t begin, size_t end, Candidate* c) {
    const size_t d = batch_.cols, n = cost_.cols, rank = c->hidden.cols, rows = end - begin;
    std::fill_n(c->hidden.row(begin), rows * rank, 0.0f);
    kernels::GemmNN(batch_.row(begin), d, c->in_t.values->row(0), rank, rows, rank, d,
                    c->hidden.row(begin), rank);
    for (size_t t = begin; t < end; ++t) std::copy_n(c->bias_row.row(0), n, c->score.row(t));
    kernels::GemmNN(c->hidden.row(begin), rank, c->out_t.values->row(0), n, rows, n, rank,
                    c->score.row(begin), n);
    for (size_t t = begin; t < end; ++t) {
      ScoreGradient(cost_.row(t), 1.0f / static_cast<float>(num_tokens), n, c->score.row(t));
    }
    std::fill_n(c->hidden_gradient.row(begin), rows * rank, 0.0f);
    kernels::GemmNN(c->score.row(begin), n, c->out.row(0), rank, rows, rank, n,
                    c->hidden_gradient.row(begin), rank);
  }

  void UpdateOut(size_t num_tokens, size_t begin, const AdamRates& rates, Candidate* c) {
    const size_t n = cost_.cols, rank = c->hidden.cols;
    const size_t end = std::min(begin + kNeuronPiece, n);
    for (size_t r = 0; r < rank; ++r) {
      std::fill(c->out_t.gradient.row(r) + begin, c->out_t.gradient.row(r) + end, 0.0f);
    }
    kernels::GemmTN(c->hidden.row(0), rank, c->score.row(0) + begin, n, rank, end - begin,
                    num_tokens, c->out_t.gradient.row(0) + begin, n);
    float* bias_gradient = c->bias.gradient.row(0);
    std::fill(bias_gradient + begin, bias_gradient + end, 0.0f);
    for (size_t t = 0; t < num_tokens; ++t) {
      for (size_t i = begin; i < end; ++i) bias_gradient[i] += c->score.row(t)[i];
    }
    c->bias.Update(0, begin, end, rates);
    for (size_t r = 0; r < rank; ++r) {
      c->out_t.Update(r, begin, end, rates);
      for (size_t i = begin; i < end; ++i) c->out.row(i)[r] = c->out_t.values->row(r)[i];
    }
  }

  void UpdateIn(size_t num_tokens, size_t begin, const AdamRates& rates, Candidate* c) {
    const size_t d = batch_.cols, rank = c->hidden.cols;
    const size_t end = std::min(begin + kColumnPiece, d);
    std::fill_n(c->in_t.gradient.row(begin), (end - begin) * rank, 0.0f);
    kernels::GemmTN(batch_.row(0) + begin, d, c->hidden_gradient.row(0), rank, end - begin, rank,
                    num_tokens, c->in_t.gradient.row(begin), rank);
    for (size_t row = begin; row < end; ++row) c->in_t.Update(row, 0, rank, rates);
  }

  const TuneData data_;
  ThreadPool* const pool_;
  FloatMatrix batch_;  // [kBatch, d_model]
  FloatMatrix cost_;   // [kBatch, d_ffn]
  std::vector<std::unique_ptr<Candidate>> candidates_;
};

// std::shuffle is another one with each standard library.
void Shuffle(std::mt19937_64* random, std::vector<uint32_t>* order) {
  for (size_t i = order->size(); i > 1; --i) {
    std::swap((*order)[i - 1], (*order)[(*random)() % i]);
  }
}

}  // namespace

double MeanContribution(const FloatMatrix& inputs, const WhiteLayer& layer,
                        const std::vector<float>& down_norm, ThreadPool* pool) {
  const size_t n = layer.up.rows, d = layer.up.cols;
  const size_t stride = inputs.rows >= kMeanStride * kMeanTokens ? kMeanStride : 1;
  const size_t tokens = inputs.rows / stride;
  FloatMatrix outputs(std::min(tokens, kBatch), n);
  double sum = 0;
  uint64_t active = 0;
  for (size_t first = 0; first < tokens; first += kBatch) {
    const size_t rows = std::min(kBatch, tokens - first);
    ForFixedPieces(pool, rows, kTokenPiece, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) std::copy_n(layer.bias.data(), n, outputs.row(t));
      kernels::GemmNN(inputs.row((first + begin) * stride), d * stride, layer.up_t.row(0), n,
                      end - begin, n, d, outputs.row(begin), n);
    });
    for (size_t t = 0; t < rows; ++t) {
      for (size_t i = 0; i < n; ++i) {
        if (outputs.row(t)[i] <= 0) continue;
        sum += static_cast<double>(outputs.row(t)[i]) * static_cast<double>(down_norm[i]);
        ++active;
      }
    }
  }
  return sum > 0 ? sum / static_cast<double>(active) : 1;
}

absl::Status FineTune(const TuneData& data, uint64_t seed, ThreadPool* pool,
                      absl::FunctionRef<bool(double)> on_progress,
                      std::vector<Factors>* candidates) {
  const size_t tokens = data.inputs->rows;
  const size_t per_pass = std::max<size_t>(tokens / kBatch, 1);
  const size_t passes =
      std::clamp<size_t>((kMinSteps + per_pass - 1) / per_pass, 1, kMaxPasses);
  const size_t steps = per_pass * passes;
  std::mt19937_64 random(seed);
  std::vector<uint32_t> order(tokens);
  std::iota(order.begin(), order.end(), 0);
  Tuner tuner(data, pool, candidates);
  for (size_t step = 0; step < steps; ++step) {
    if (step % per_pass == 0) Shuffle(&random, &order);
    const auto batch = absl::MakeConstSpan(order).subspan(step % per_pass * kBatch, kBatch);
    tuner.Step(batch, RatesAt(step + 1, steps));
    if (!on_progress(static_cast<double>(step + 1) / static_cast<double>(steps))) {
      return absl::CancelledError("cancelled");
    }
  }
  tuner.TakeBiases(candidates);
  return absl::OkStatus();
}

}  // namespace sluice::train
