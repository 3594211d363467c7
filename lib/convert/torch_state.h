// What a pickle written by torch.save says: which tensors there are and where they lie in which
// storages. The storages themselves are elsewhere in the file.
#ifndef SLUICE_LIB_CONVERT_TORCH_STATE_H_
#define SLUICE_LIB_CONVERT_TORCH_STATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/convert/checkpoint.h"
#include "lib/convert/pickle.h"
#include "lib/convert/strided_view.h"

namespace sluice {

struct TorchStorage {
  std::string key;
  uint64_t elements = 0;
  uint64_t bytes = 0;
};

struct TorchTensor {
  std::string name;
  ElementType type = ElementType::kF32;
  uint64_t elements = 0;
  size_t storage_idx = 0;
  StridedView view;  // lies within the storage
};

struct TorchState {
  std::vector<TorchStorage> storages;  // each key once
  std::vector<TorchTensor> tensors;    // names are unique over tensors and skipped
  std::vector<SkippedTensor> skipped;
};

// The names that the pickle of a state_dict may refer to, for Pickle::Parse.
absl::Span<const absl::string_view> TorchGlobals();

// Reads a state_dict: a dictionary of tensors by name, or a dictionary that holds one under
// "state_dict". Entries that are no tensors are skipped. Copies what it needs. kUnimplemented
// names what is not read; kInvalidArgument a tensor whose shape, strides or storage make no sense.
absl::StatusOr<TorchState> ReadTorchState(const Pickle& pickle);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_TORCH_STATE_H_
