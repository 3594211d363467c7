// A safetensors file: 8 bytes of header length, a JSON header, then the tensors without a gap.
#ifndef SLUICE_LIB_CONVERT_SAFETENSORS_H_
#define SLUICE_LIB_CONVERT_SAFETENSORS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/convert/checkpoint_shard.h"

namespace sluice {

// The limit of the format's own reader.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

// Reads and checks the whole header; no tensor data is touched. Accepts nothing that the format's
// own reader refuses. kInvalidArgument and kDataLoss (the file is shorter or longer than its
// header says) name file, tensor, expected and found.
absl::StatusOr<std::unique_ptr<CheckpointShard>> OpenSafetensors(const std::string& path);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_SAFETENSORS_H_
