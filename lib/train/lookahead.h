// Guesses a layer's predicted set one layer early, so that its records can be read ahead.
#ifndef SLUICE_LIB_TRAIN_LOOKAHEAD_H_
#define SLUICE_LIB_TRAIN_LOOKAHEAD_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/thread_pool.h"
#include "lib/format/bundle_writer.h"
#include "lib/train/float_matrix.h"
#include "lib/train/predictor_tensors.h"

namespace sluice::train {

struct LookaheadData {
  // FFN inputs of the same tokens, [tokens, d_model]: of the layer before, and of the layer.
  FloatMatrix before, inputs;
  FloatMatrix held_out_before, held_out_inputs;
};

// Of the held-out tokens. Recall and precision are those of the predicted set, not of the truth.
struct TrainedLookahead {
  FloatMatrix in_t;         // [d_model, rank], values that the predictor's type holds exactly
  std::vector<float> bias;  // [d_ffn], with the threshold
  double recall = 0;
  double precision = 0;
  double guessed_fraction = 0;  // of d_ffn

  // Parameters beside the predictor's own.
  uint64_t parameters() const { return in_t.values.size() + bias.size(); }
};

// The regression of the predictor's hidden values in the inputs of the layer before; the
// predictor's output factor serves both. The threshold is the one at which as many neurons are
// guessed as are predicted. Fitting the guesses themselves by gradient descent from there was
// tried: no better, since the hidden values come out to nine tenths (tales-7m).
//   threshold  of the predictor
absl::StatusOr<TrainedLookahead> TrainLookahead(LookaheadData data,
                                                const StoredPredictor& predictor,
                                                float threshold, ThreadPool* pool);

// "layers.<i>.lookahead.in" and ".bias".
void AppendLookahead(uint32_t layer, const StoredPredictor& predictor,
                     const TrainedLookahead& lookahead, std::vector<NamedTensor>* tensors);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_LOOKAHEAD_H_
