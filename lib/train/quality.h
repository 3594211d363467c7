// What the trained predictors are worth, measured with the finished file.
#ifndef SLUICE_LIB_TRAIN_QUALITY_H_
#define SLUICE_LIB_TRAIN_QUALITY_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "lib/model/perplexity.h"
#include "lib/model/sparsity_meter.h"
#include "lib/train/capture.h"

namespace sluice::train {

struct Quality {
  Perplexity sparse;
  std::vector<LayerSparsity> layers;
  std::vector<RecordLayout> layouts;
};

// Runs the bundle file `path` sparsely over the held-out windows.
absl::StatusOr<Quality> MeasureQuality(const std::string& path, const Windows& windows,
                                       uint32_t threads,
                                       absl::FunctionRef<bool(double)> on_progress);

// How the model is opened for calibration (dense) and for measuring (sparse).
ModelOptions OptionsFor(Mode mode, uint32_t context_tokens, uint32_t threads);

// {"recall", "precision", "active_fraction", "predicted_fraction"} of one layer, or of all.
nlohmann::json SparsityJson(const std::vector<LayerSparsity>& layers,
                            const std::vector<RecordLayout>& layouts);
// {"record_union_5", "neuron_union_5"}: mean share of the layer's records and neurons that a window
// of 5 tokens uses.
nlohmann::json UnionJson(const LayerSparsity& layer, const RecordLayout& layout);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_QUALITY_H_
