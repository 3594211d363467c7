// An OPT checkpoint folder: its config, its weights under whichever names it uses, its tokenizer.
#ifndef SLUICE_LIB_CONVERT_OPT_CHECKPOINT_H_
#define SLUICE_LIB_CONVERT_OPT_CHECKPOINT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/convert/checkpoint.h"
#include "lib/model/families/opt.h"
#include "lib/model/model_config.h"

namespace sluice {

// A resident tensor and where it comes from.
struct ResidentSource {
  std::string name;  // in the bundle file
  const CheckpointTensor* tensor = nullptr;
  bool as_f32 = false;
};

struct OptCheckpoint {
  ModelConfig config;
  std::unique_ptr<Checkpoint> weights;
  std::vector<ResidentSource> resident;
  std::vector<const CheckpointTensor*> up, down;  // by layer
  std::vector<std::string> unused;  // tensors of no use here, with their types
  std::string tokenizer_json;       // empty: the folder has none
};

// Reads and checks everything but the weights' values. kInvalidArgument or kDataLoss names file,
// tensor, expected and found shape.
absl::StatusOr<OptCheckpoint> OpenOptCheckpoint(const std::string& folder);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_OPT_CHECKPOINT_H_
