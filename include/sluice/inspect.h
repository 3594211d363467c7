// What is inside a bundle file, and whether it is whole.
#ifndef SLUICE_INSPECT_H_
#define SLUICE_INSPECT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice {

// One JSON object: "path", "version", "bytes", "uuid", "config", "sections", "layers", "tensors",
// "sources", "placement" (null: the neurons are in the checkpoint's order), "predictors",
// "quality", "skipped_tensors". Reads no weights.
absl::StatusOr<std::string> InspectJson(const std::string& path);

struct VerifyResult {
  uint64_t records = 0;          // checked
  std::vector<std::string> bad;  // one line for each damaged place
};

// Checks every checksum of the file. Damage is in the result, not an error; an error is what stops
// the check. `on_progress` gets bytes done and in all; false stops with kCancelled.
absl::StatusOr<VerifyResult> VerifyFile(
    const std::string& path, const std::function<bool(uint64_t, uint64_t)>& on_progress);

}  // namespace sluice

#endif  // SLUICE_INSPECT_H_
