// One weight file of a checkpoint, opened and checked. checkpoint.cc joins them.
#ifndef SLUICE_LIB_CONVERT_CHECKPOINT_SHARD_H_
#define SLUICE_LIB_CONVERT_CHECKPOINT_SHARD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/base/checked.h"
#include "lib/convert/checkpoint.h"
#include "lib/io/file.h"

namespace sluice {

// More than any model has; keeps work per tensor and messages short.
inline constexpr size_t kMaxTensorRank = 8;

// Threads: one at a time.
class CheckpointShard {
 public:
  virtual ~CheckpointShard() = default;
  // In no particular order. No name is twice in the two lists together.
  const std::vector<CheckpointTensor>& tensors() const { return tensors_; }
  const std::vector<SkippedTensor>& skipped() const { return skipped_; }
  // As Checkpoint::Read, of tensors()[tensor_idx]; the caller has checked range and size.
  virtual absl::Status Read(size_t tensor_idx, uint64_t first, uint64_t count,
                            absl::Span<std::byte> out) = 0;

 protected:
  std::vector<CheckpointTensor> tensors_;
  std::vector<SkippedTensor> skipped_;
};

// The product of the dimensions; 1 for a scalar.
Checked NumElements(absl::Span<const uint64_t> shape);

// Text out of a file, fit for a message: in quotes, escaped, cut short.
std::string QuotedName(absl::string_view text);

// kInvalidArgument when the file is the small text that a clone without Git LFS leaves in the
// place of a weight file: the commonest of broken downloads.
absl::Status RefuseLfsPointer(const InputFile& file);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_CHECKPOINT_SHARD_H_
