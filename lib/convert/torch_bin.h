// A file that torch.save wrote (pytorch_model.bin).
#ifndef SLUICE_LIB_CONVERT_TORCH_BIN_H_
#define SLUICE_LIB_CONVERT_TORCH_BIN_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/convert/checkpoint_shard.h"

namespace sluice {

// Reads the zip form and the legacy form; the pickle in it is read as data and never run.
// kUnimplemented names what is not read: the tar form of PyTorch 0.1, a byte order, a compression,
// a pickle opcode or global. kInvalidArgument, kDataLoss: file, tensor or storage, expected and
// found.
absl::StatusOr<std::unique_ptr<CheckpointShard>> OpenTorchBin(const std::string& path);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_TORCH_BIN_H_
