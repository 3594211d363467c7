// The structs of sluice.h: how they grow, and what they mean in C++.
#ifndef SLUICE_CAPI_OPTIONS_H_
#define SLUICE_CAPI_OPTIONS_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sluice.h"
#include "sluice/flash_model.h"

namespace sluice::capi {

// The caller's struct in the shape that this library knows. NULL stands for all defaults.
// kInvalidArgument: a size that cannot be, an enumerator or number out of range. kUnimplemented: a
// member that this library does not know is not zero.
absl::StatusOr<ModelOptions> ReadModelOptions(const sluice_model_options* theirs);
// With the callbacks that they name, without on_token. `stop` is copied.
absl::StatusOr<GenerateOptions> ReadGenerateOptions(const sluice_generate_options* theirs);

// Fills the caller's struct to the size that it states, and no further. kInvalidArgument: NULL, or
// a size that cannot be; then nothing is written.
absl::Status WritePlan(const MemoryPlan& plan, sluice_memory_plan* theirs);
absl::Status WriteInfo(const ModelInfo& info, sluice_model_info* theirs);
absl::Status WriteStats(const Stats& stats, sluice_stats* theirs);

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_OPTIONS_H_
