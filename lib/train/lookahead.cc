#include "lib/train/lookahead.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/kernels/kernels.h"
#include "lib/train/active_sets.h"
#include "lib/train/thresholds.h"

namespace sluice::train {
namespace {

constexpr float kLargestF16 = 65504;

// in x of each token, without its mean over the tokens.
FloatMatrix HiddenValues(const FloatMatrix& inputs, const FloatMatrix& in_t,
                         std::vector<double>* mean, ThreadPool* pool) {
  FloatMatrix hidden = Product(inputs, in_t, pool);
  mean->assign(hidden.cols, 0.0);
  for (size_t t = 0; t < hidden.rows; ++t) {
    for (size_t r = 0; r < hidden.cols; ++r) {
      (*mean)[r] += static_cast<double>(hidden.row(t)[r]) / static_cast<double>(hidden.rows);
    }
  }
  for (size_t t = 0; t < hidden.rows; ++t) {
    for (size_t r = 0; r < hidden.cols; ++r) {
      hidden.row(t)[r] -= static_cast<float>((*mean)[r]);
    }
  }
  return hidden;
}

absl::StatusOr<Factors> Regress(FloatMatrix before, const FloatMatrix& inputs,
                                const Factors& predictor, ThreadPool* pool) {
  std::vector<double> mean;
  const FloatMatrix hidden = HiddenValues(inputs, predictor.in_t, &mean, pool);
  SLUICE_ASSIGN_OR_RETURN(const Whitening whitening, Whiten(&before, pool));
  Factors out = predictor;
  // The inputs being white, the regression is their covariance with the hidden values.
  out.in_t = ProductTransposedLeft(before, hidden, pool);
  for (float& v : out.in_t.values) v /= static_cast<float>(before.rows);
  for (size_t n = 0; n < out.bias.size(); ++n) {
    double bias = static_cast<double>(out.bias[n]);
    for (size_t r = 0; r < mean.size(); ++r) {
      bias += static_cast<double>(out.out_t.row(r)[n]) * mean[r];
    }
    out.bias[n] = static_cast<float>(bias);
  }
  return Unwhiten(out, whitening, pool);
}

void RoundTo(ElementType type, FloatMatrix* m) {
  if (type != ElementType::kF16) return;
  // A wrong guess costs a read; a value that does not fit is no reason to fail.
  for (float& v : m->values) v = std::clamp(v, -kLargestF16, kLargestF16);
  std::vector<std::byte> half(m->values.size() * ElementBytes(type));
  kernels::FromF32(type, m->values.data(), m->values.size(), half.data());
  kernels::ToF32(type, half.data(), m->values.size(), m->values.data());
}

// Scores of the guesses; `active` counts the members of the predicted sets.
ScoreHistogram ScoreGuesses(const FloatMatrix& before, const Factors& guess,
                            const std::vector<std::vector<uint32_t>>& predicted,
                            ThreadPool* pool) {
  ScoreHistogram histogram;
  histogram.tokens = before.rows;
  ForScores(before, guess, pool, [&](size_t first, const FloatMatrix& scores) {
    for (size_t t = 0; t < scores.rows; ++t) {
      for (size_t n = 0; n < scores.cols; ++n) {
        ++histogram.all[ScoreHistogram::BinOf(scores.row(t)[n])];
      }
      for (const uint32_t n : predicted[first + t]) {
        ++histogram.active[ScoreHistogram::BinOf(scores.row(t)[n])];
      }
    }
  });
  return histogram;
}

// Cuts where as many are guessed as are predicted; sets what that is worth, and returns the cut.
float Cut(const ScoreHistogram& histogram, size_t d_ffn, TrainedLookahead* out) {
  uint64_t predicted = 0;
  for (const uint64_t count : histogram.active) predicted += count;
  uint64_t guessed = 0, both = 0;
  size_t bin = ScoreHistogram::kBins;
  while (bin > 0 && guessed + histogram.all[bin - 1] / 2 <= predicted && guessed < predicted) {
    --bin;
    guessed += histogram.all[bin];
    both += histogram.active[bin];
  }
  const auto share = [](uint64_t part, uint64_t whole) {
    return whole == 0 ? 1.0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  out->recall = share(both, predicted);
  out->precision = share(both, guessed);
  out->guessed_fraction = share(guessed, std::max<uint64_t>(histogram.tokens, 1) * d_ffn);
  return static_cast<float>(ScoreHistogram::LowerEdge(bin));
}

}  // namespace

absl::StatusOr<TrainedLookahead> TrainLookahead(LookaheadData data,
                                                const StoredPredictor& predictor,
                                                float threshold, ThreadPool* pool) {
  SLUICE_ASSIGN_OR_RETURN(
      Factors guess, Regress(std::move(data.before), data.inputs, predictor.rounded, pool));
  RoundTo(predictor.type, &guess.in_t);
  // From here on a score above 0 means a guess, as it does for a predictor once its threshold is
  // part of the bias; thresholds beyond every score keep that meaning.
  for (float& b : guess.bias) b -= threshold;
  const ScoreHistogram histogram = ScoreGuesses(
      data.held_out_before, guess,
      PredictedSets(data.held_out_inputs, predictor.rounded, threshold, pool), pool);
  TrainedLookahead out;
  const float cut = Cut(histogram, guess.bias.size(), &out);
  out.in_t = std::move(guess.in_t);
  out.bias = std::move(guess.bias);
  for (float& b : out.bias) b -= cut;
  return out;
}

void AppendLookahead(uint32_t layer, const StoredPredictor& predictor,
                     const TrainedLookahead& lookahead, std::vector<NamedTensor>* tensors) {
  const std::string name = absl::StrCat("layers.", layer, ".lookahead.");
  const uint64_t rank = lookahead.in_t.cols, d_model = lookahead.in_t.rows;
  tensors->push_back(MakeNamedTensor(name + "in", predictor.type, {rank, d_model},
                                     Transposed(lookahead.in_t).values));
  tensors->push_back(MakeNamedTensor(name + "bias", ElementType::kF32, {lookahead.bias.size()},
                                     lookahead.bias));
}

}  // namespace sluice::train
