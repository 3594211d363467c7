// The active sets of a text's tokens, as a model's predictors give them.
#ifndef SLUICE_BENCH_PLACEMENT_PREDICTED_SETS_H_
#define SLUICE_BENCH_PLACEMENT_PREDICTED_SETS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/format/record_layout.h"

namespace sluice::bench {

using Sets = std::vector<std::vector<uint32_t>>;  // by token, ascending

struct ModelSets {
  std::vector<RecordLayout> layouts;
  std::vector<double> need;  // by layer: records that a window of 5 tokens uses
  std::vector<Sets> layers;  // neurons, numbered as they lie in the file
};

// Runs the file sparsely over the first `max_tokens` tokens of the text at `text_path`, in windows
// of 256 as perplexity is measured.
absl::StatusOr<ModelSets> PredictSets(const std::string& model_path, const std::string& text_path,
                                      size_t max_tokens);

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_PLACEMENT_PREDICTED_SETS_H_
