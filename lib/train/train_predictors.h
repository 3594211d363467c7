// Trains the predictors of a bundle file that is being written.
#ifndef SLUICE_LIB_TRAIN_TRAIN_PREDICTORS_H_
#define SLUICE_LIB_TRAIN_TRAIN_PREDICTORS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/thread_pool.h"
#include "lib/format/bundle_writer.h"
#include "sluice/train.h"

namespace sluice {

// Gives the order in which a layer's neurons shall lie in the file (order[place] = neuron), from
// the sets predicted for some tokens.
using OrderNeuronsFn = std::function<std::vector<uint32_t>(
    absl::Span<const std::vector<uint32_t>> sets, uint32_t num_neurons, ThreadPool* pool)>;

// Runs the model at writer->temporary_path() densely over `text`, trains, and writes predictors
// and quality report into the file (state after BundleWriter::Finish() before and after).
//   text_name      goes into the reports
//   order_neurons  when given, records, biases and predictors are put into the order it gives
absl::StatusOr<std::vector<LayerQuality>> TrainInto(BundleWriter* writer, const std::string& text,
                                                    const std::string& text_name,
                                                    const TrainOptions& options,
                                                    const OrderNeuronsFn& order_neurons = {});

// The text at `path`; kInvalidArgument when it is larger than 1 GiB.
absl::StatusOr<std::string> ReadCalibrationText(const std::string& path);

}  // namespace sluice

#endif  // SLUICE_LIB_TRAIN_TRAIN_PREDICTORS_H_
