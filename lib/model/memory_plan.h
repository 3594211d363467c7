// Works out what opening a model takes and how a budget is shared out.
#ifndef SLUICE_LIB_MODEL_MEMORY_PLAN_H_
#define SLUICE_LIB_MODEL_MEMORY_PLAN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/element_type.h"
#include "lib/format/bundle_file.h"
#include "lib/io/device_curve.h"
#include "lib/model/ffn_step.h"
#include "lib/model/model_config.h"
#include "sluice/options.h"
#include "sluice/plan.h"

namespace sluice {

// Options with every default filled in and checked against the file.
struct ResolvedOptions {
  ModelOptions options;  // no zero left but window_tokens (auto)
  bool sparse = false;
  FfnStep::Shape ffn;    // of each session
  std::shared_ptr<const DeviceCurve> curve;
};

// kInvalidArgument: an option that makes no sense for this model (with both numbers), or a device
// curve that is none; the errors of reading that file;
// kFailedPrecondition: sparse mode without predictors.
absl::StatusOr<ResolvedOptions> ResolveOptions(const BundleFile& file, const ModelConfig& config,
                                               const ModelOptions& options);

// Prefill chunks of more than kDefaultPrefillChunk tokens are a wish: they are cut to that in
// `resolved` where the budget has no room for their scratch. (No result depends on the chunk.)
absl::StatusOr<MemoryPlan> MakePlan(const BundleFile& file, const ModelConfig& config,
                                    ResolvedOptions* resolved);

inline constexpr uint32_t kDefaultPrefillChunk = 32;

ElementType ElementTypeOf(KvType type);

// Shares `bytes` out between layers: `floor[i]` slots each first, the rest in proportion to
// `need[i]`, no layer more than it has records. What cannot buy a slot is left over.
std::vector<uint32_t> ShareSlots(uint64_t bytes, absl::Span<const RecordLayout> layouts,
                                 absl::Span<const uint32_t> floor, absl::Span<const double> need);

// The config of the manifest, checked against the file's layers.
absl::StatusOr<ModelConfig> ConfigOf(const BundleFile& file);

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_MEMORY_PLAN_H_
