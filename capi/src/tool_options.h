// The structs of sluice_tools.h, and what they mean in C++.
#ifndef SLUICE_CAPI_TOOL_OPTIONS_H_
#define SLUICE_CAPI_TOOL_OPTIONS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sluice/convert.h"
#include "sluice/evaluate.h"
#include "sluice/train.h"
#include "sluice_tools.h"

namespace sluice::capi {

// The caller's struct in the shape that this library knows, without callbacks. NULL stands for all
// defaults. kInvalidArgument: a size that cannot be, an enumerator or number out of range.
// kUnimplemented: a member that this library does not know is not zero.
absl::StatusOr<TrainOptions> ReadTrainOptions(const sluice_train_options* theirs);
absl::StatusOr<ConvertOptions> ReadConvertOptions(const sluice_convert_options* theirs);

// Fills the caller's struct to the size that it states, and no further. kInvalidArgument: NULL, or
// a size that cannot be; then nothing is written.
absl::Status WriteConvertReport(const ConvertReport& report, sluice_convert_report* theirs);
absl::Status WriteEvaluation(const EvaluateReport& report, sluice_evaluation* theirs);
sluice_layer_quality ToC(const LayerQuality& layer);

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_TOOL_OPTIONS_H_
