// Trains the predictors of a bundle file that is being written.
#ifndef SLUICE_LIB_TRAIN_TRAIN_PREDICTORS_H_
#define SLUICE_LIB_TRAIN_TRAIN_PREDICTORS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/format/bundle_writer.h"
#include "sluice/train.h"

namespace sluice {

// Runs the model at writer->temporary_path() densely over `text`, trains, and writes predictors
// and quality report into the file (state after BundleWriter::Finish() before and after).
//   text_name  goes into the reports
absl::StatusOr<std::vector<LayerQuality>> TrainInto(BundleWriter* writer, const std::string& text,
                                                    const std::string& text_name,
                                                    const TrainOptions& options);

// The text at `path`; kInvalidArgument when it is larger than 1 GiB.
absl::StatusOr<std::string> ReadCalibrationText(const std::string& path);

}  // namespace sluice

#endif  // SLUICE_LIB_TRAIN_TRAIN_PREDICTORS_H_
