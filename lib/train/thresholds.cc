#include "lib/train/thresholds.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/kernels.h"
#include "lib/train/fine_tune.h"

namespace sluice::train {
namespace {

constexpr size_t kBatch = 512;
constexpr size_t kTokenPiece = 64;
constexpr double kMaxRecall = 0.999;
constexpr int kBisections = 40;
// Beyond every score, but not infinite: a bias must stay a number.
constexpr float kBeyond = 1e30f;

// Counts in the bins at and above each.
template <typename T>
std::vector<T> Above(std::vector<T> counts) {
  for (size_t k = counts.size() - 1; k > 0; --k) counts[k - 1] += counts[k];
  return counts;
}

struct LayerCuts {
  std::vector<uint64_t> all, active;  // at and above each bin

  // The highest bin that keeps `recall` of the active ones; kBins: predict nothing.
  size_t Cut(double recall) const {
    if (active[0] == 0) return ScoreHistogram::kBins;
    if (active[0] == all[0]) return 0;
    const double wanted = recall * static_cast<double>(active[0]);
    const auto below = std::partition_point(active.begin(), active.end(), [&](uint64_t n) {
      return static_cast<double>(n) >= wanted;
    });
    return static_cast<size_t>(below - active.begin()) - 1;
  }
  uint64_t Predicted(size_t cut) const { return cut == ScoreHistogram::kBins ? 0 : all[cut]; }
};

double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

}  // namespace

size_t ScoreHistogram::BinOf(float score) {
  const double at = (static_cast<double>(score) - kLow) * (kBins / (kHigh - kLow));
  // A score that is no number counts as lowest.
  if (!(at > 0)) return 0;
  return at < kBins - 1 ? static_cast<size_t>(at) : kBins - 1;
}

double ScoreHistogram::LowerEdge(size_t bin) {
  return kLow + static_cast<double>(bin) * (kHigh - kLow) / kBins;
}

ScoreHistogram Score(const FloatMatrix& inputs, const ScoredLayer& layer, const Factors& factors,
                     ThreadPool* pool) {
  ScoreHistogram histogram;
  histogram.tokens = inputs.rows;
  const size_t d = inputs.cols, n = layer.up_t->cols, rank = factors.rank();
  const size_t batch = std::min(kBatch, inputs.rows);
  FloatMatrix outputs(batch, n), hidden(batch, rank), scores(batch, n);
  for (size_t first = 0; first < inputs.rows; first += kBatch) {
    const size_t rows = std::min(kBatch, inputs.rows - first);
    ForFixedPieces(pool, rows, kTokenPiece, [&](size_t begin, size_t end) {
      const float* x = inputs.row(first + begin);
      for (size_t t = begin; t < end; ++t) {
        std::copy_n(layer.up_bias->data(), n, outputs.row(t));
        std::copy_n(factors.bias.data(), n, scores.row(t));
      }
      std::fill_n(hidden.row(begin), (end - begin) * rank, 0.0f);
      kernels::GemmNN(x, d, layer.up_t->row(0), n, end - begin, n, d, outputs.row(begin), n);
      kernels::GemmNN(x, d, factors.in_t.row(0), rank, end - begin, rank, d, hidden.row(begin),
                      rank);
      kernels::GemmNN(hidden.row(begin), rank, factors.out_t.row(0), n, end - begin, n, rank,
                      scores.row(begin), n);
    });
    for (size_t t = 0; t < rows; ++t) {
      for (size_t i = 0; i < n; ++i) {
        const size_t bin = ScoreHistogram::BinOf(scores.row(t)[i]);
        ++histogram.all[bin];
        if (outputs.row(t)[i] <= 0) continue;
        const double contribution = static_cast<double>(outputs.row(t)[i]) *
                                    static_cast<double>((*layer.down_norm)[i]);
        ++histogram.active[bin];
        histogram.energy[bin] += contribution * contribution;
        histogram.cost[bin] += static_cast<double>(kMissWeight) *
                               std::min(contribution / layer.mean_contribution,
                                        static_cast<double>(kContributionCap));
      }
    }
  }
  return histogram;
}

double MeanLoss(const ScoreHistogram& histogram) {
  double loss = 0;
  for (size_t k = 0; k < ScoreHistogram::kBins; ++k) {
    const double score = ScoreHistogram::LowerEdge(k) + ScoreHistogram::LowerEdge(1) / 2 -
                         ScoreHistogram::kLow / 2;
    loss += histogram.cost[k] * Softplus(-score);
    loss += static_cast<double>(histogram.all[k] - histogram.active[k]) * Softplus(score);
  }
  return loss / static_cast<double>(std::max<uint64_t>(histogram.tokens, 1));
}

double MissedEnergy(const ScoreHistogram& histogram, double ratio) {
  const std::vector<uint64_t> all = Above(histogram.all);
  const std::vector<uint64_t> active = Above(histogram.active);
  const double room = ratio * static_cast<double>(active[0]);
  double missed = 0;
  for (size_t k = 0; k < ScoreHistogram::kBins && static_cast<double>(all[k]) > room; ++k) {
    missed += histogram.energy[k];
  }
  return missed / static_cast<double>(std::max<uint64_t>(histogram.tokens, 1));
}

Thresholds ChooseThresholds(absl::Span<const ScoreHistogram> layers, double ratio) {
  std::vector<LayerCuts> cuts;
  double active = 0;
  for (const ScoreHistogram& layer : layers) {
    cuts.push_back({Above(layer.all), Above(layer.active)});
    active += static_cast<double>(cuts.back().active[0]);
  }
  Thresholds out;
  double high = kMaxRecall;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (out.recall + high) / 2;
    double predicted = 0;
    for (const LayerCuts& layer : cuts) {
      predicted += static_cast<double>(layer.Predicted(layer.Cut(middle)));
    }
    (predicted <= ratio * active ? out.recall : high) = middle;
  }
  for (const LayerCuts& layer : cuts) {
    const size_t cut = layer.Cut(out.recall);
    // The end bins hold what lies outside the range, too.
    out.values.push_back(cut == 0 ? -kBeyond
                         : cut == ScoreHistogram::kBins
                             ? kBeyond
                             : static_cast<float>(ScoreHistogram::LowerEdge(cut)));
  }
  return out;
}

}  // namespace sluice::train
