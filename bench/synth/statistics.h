// What the activations of a model in a bundle file are like, from the recorded sets of each token:
// nothing here depends on what a cache held.
#ifndef SLUICE_BENCH_SYNTH_STATISTICS_H_
#define SLUICE_BENCH_SYNTH_STATISTICS_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "bench/synth/layer_sets.h"
#include "bench/synth/shape.h"

namespace sluice::synth {

struct StatisticsOptions {
  uint32_t tokens = 64;   // counted
  uint32_t warm_up = 32;  // fed before them; together at most 512
  uint64_t seed = 1;      // of the token ids
};

struct Statistics {
  std::vector<LayerFigures> layers;
  LayerFigures all;  // the layers' sum
  // [layer - 1]: MeanCosine() of the FFN inputs of layer - 1 and layer.
  std::vector<double> similarity;
  bool has_lookahead = false;
};

// The mean of all but the first of `similarity`: that of the first two layers is apart in a trained
// model. 0 where there is no other.
double MeanBehindFirst(const std::vector<double>& similarity);

// Feeds seeded random ids (odd ones: calibration has the even ones) in one chunk and records every
// layer. Takes the resident tensors and a sixteenth of the file in memory; reads all of the file.
// kFailedPrecondition: the file has no predictors.
absl::StatusOr<Statistics> MeasureStatistics(const std::string& path,
                                             const StatisticsOptions& options);

struct StatisticCheck {
  std::string name;
  double target = 0, measured = 0;
  bool ok = false;
};
// One line for each target; they hold if all are ok.
std::vector<StatisticCheck> CheckStatistics(const Statistics& statistics, const Targets& targets);
bool AllOk(const std::vector<StatisticCheck>& checks);

// {"statistics_ok", "checks", "similarity", "lookahead", "mean_run", "layers"}
nlohmann::json StatisticsJson(const Statistics& statistics,
                              const std::vector<StatisticCheck>& checks);
std::string StatisticsText(const Statistics& statistics,
                           const std::vector<StatisticCheck>& checks);

// [layer - 1] as in Statistics, of a model with a tokenizer over the beginning of `text`, densely.
absl::StatusOr<std::vector<double>> MeasureSimilarity(const std::string& path,
                                                      const std::string& text);

// Seeded ids below `vocab_size`, all even or all odd.
std::vector<int32_t> RandomTokenIds(uint64_t seed, size_t count, uint32_t vocab_size, bool odd);

}  // namespace sluice::synth

#endif  // SLUICE_BENCH_SYNTH_STATISTICS_H_
