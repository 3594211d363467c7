// How large each layer's predictor is.
#ifndef SLUICE_LIB_TRAIN_RANK_CHOICE_H_
#define SLUICE_LIB_TRAIN_RANK_CHOICE_H_

#include <cstdint>
#include <map>
#include <vector>

#include "absl/types/span.h"

namespace sluice::train {

struct PredictorShape {
  uint32_t d_model = 0;
  uint32_t d_ffn = 0;

  // More cannot describe the layer better.
  uint32_t max_rank() const { return d_model < d_ffn ? d_model : d_ffn; }
  uint64_t Parameters(uint32_t rank) const {
    return uint64_t{rank} * (uint64_t{d_model} + d_ffn) + d_ffn;
  }
};

// Ranks at which small predictors are trained to learn how fast the error falls.
std::vector<uint32_t> PilotRanks(const PredictorShape& shape);

// A layer's pilots: by rank, the missed energy per token relative to that of the residual stream.
using PilotErrors = std::map<uint32_t, double>;

// Raises ranks one ladder step at a time, always where that saves the most per parameter, while
// the predictors together have at most `max_parameters`. The logarithm of the error is taken to be
// linear between pilots, and beyond them. When even the lowest ranks have more parameters, those
// are the result.
std::vector<uint32_t> AllocateRanks(absl::Span<const PilotErrors> layers,
                                    const PredictorShape& shape, double max_parameters);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_RANK_CHOICE_H_
