// A published checkpoint as a set of named tensors, in whichever form its files have. Nothing of
// a file is believed before it is checked, and nothing of it is ever executed.
#ifndef SLUICE_LIB_CONVERT_CHECKPOINT_H_
#define SLUICE_LIB_CONVERT_CHECKPOINT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/base/element_type.h"

namespace sluice {

struct CheckpointTensor {
  std::string name;  // as in the file
  ElementType type = ElementType::kF32;
  std::vector<uint64_t> shape;  // [] is a scalar; every product has been checked
  uint64_t elements = 0;
  std::string file;  // path of the shard that holds it
};

// A tensor whose element type we do not read (integer buffers and the like): named, so that a
// caller can say what it passes over.
struct SkippedTensor {
  std::string name;
  std::string type;
};

// Threads: one at a time.
class Checkpoint {
 public:
  // Opens a folder: model.safetensors, or model.safetensors.index.json with its shards, or
  // pytorch_model.bin, or pytorch_model.bin.index.json with its shards; looked for in that order.
  // Every shard's header is read and its length checked before this returns. kNotFound: none of
  // them there (the message lists what was looked for). kInvalidArgument or kDataLoss: names
  // file, tensor, expected and found. kUnimplemented: a form or an element type or a pickle
  // opcode or global that is not read, by name.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& folder);
  virtual ~Checkpoint() = default;

  // Sorted by name.
  virtual const std::vector<CheckpointTensor>& tensors() const = 0;
  virtual const std::vector<SkippedTensor>& skipped() const = 0;
  // Paths of the weight files.
  virtual const std::vector<std::string>& files() const = 0;
  // nullptr when there is none.
  const CheckpointTensor* Find(absl::string_view name) const;

  // Reads elements [first, first + count) in row-major order, in the tensor's own type (strided
  // tensors come out contiguous). out.size() == count * ElementBytes(type). Memory beyond `out`
  // is bounded (1 MiB for contiguous tensors).
  virtual absl::Status Read(const CheckpointTensor& tensor, uint64_t first, uint64_t count,
                            absl::Span<std::byte> out) = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_CHECKPOINT_H_
