// A model whose feed-forward weights stay on flash.
//
//   auto model = sluice::FlashModel::Open("tales-7m.flash", {.dram_budget_bytes = 64 << 20});
//   auto session = (*model)->CreateSession();
//   auto result = (*session)->Generate("The old woman opened the door and", {});
#ifndef SLUICE_FLASH_MODEL_H_
#define SLUICE_FLASH_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "sluice/options.h"
#include "sluice/plan.h"
#include "sluice/session.h"
#include "sluice/source.h"
#include "sluice/version.h"
#include "sluice/weight_backend.h"

namespace sluice {

// "0.1.0": the version of the library that is running.
const char* Version();

// Gets the library's few remarks (level 0 information, 1 warning); an empty function drops them.
// Process-wide. The sink may run on any thread, one call at a time, and must not call back.
void SetLogCallback(std::function<void(int level, const std::string& text)> sink);

struct ModelInfo {
  std::string family;  // "opt"
  uint32_t num_layers = 0;
  uint32_t d_model = 0;
  uint32_t d_ffn = 0;
  uint32_t num_heads = 0;
  uint32_t vocab_size = 0;
  uint32_t max_positions = 0;  // what the model was trained for
  bool has_tokenizer = false;
  bool has_predictors = false;
  std::vector<int32_t> eos_ids;  // config.json, generation_config.json and the tokenizer, united
  uint64_t file_bytes = 0;
};

// Told while a model is opened: the stage ("read": the weights that stay in DRAM) and the share of
// it that is done, every few MiB; false stops with kCancelled. On the thread that opens.
using OpenProgress = std::function<bool(const std::string& stage, double done)>;

// Threads: all const methods may overlap. Sessions keep the model alive.
class FlashModel {
 public:
  // Allocates and reads everything that `options` plan for. kResourceExhausted: the budget is
  // below the floor (the message names both), or no memory. kInvalidArgument, kDataLoss,
  // kUnimplemented, kNotFound: the file.
  static absl::StatusOr<std::shared_ptr<FlashModel>> Open(const std::string& path,
                                                          const ModelOptions& options);
  // The same from wherever the bytes are. `on_progress` may be empty.
  static absl::StatusOr<std::shared_ptr<FlashModel>> Open(
      const ModelSource& source, const ModelOptions& options,
      const OpenProgress& on_progress = nullptr);
  virtual ~FlashModel() = default;

  virtual const ModelInfo& info() const = 0;
  virtual const MemoryPlan& plan() const = 0;

  // kFailedPrecondition when all max_sessions are taken, or the model was opened with ffn_only.
  virtual absl::StatusOr<std::unique_ptr<Session>> CreateSession() = 0;

  // The feed-forward layers alone; takes one of the max_sessions. kFailedPrecondition: all taken.
  virtual absl::StatusOr<std::unique_ptr<WeightBackend>> CreateWeightBackend() = 0;

  // kFailedPrecondition when the file has no tokenizer. Special tokens that are spelled out in
  // `text` are ordinary text; with `add_special` the tokenizer's template is applied.
  virtual absl::StatusOr<std::vector<int32_t>> Tokenize(const std::string& text,
                                                        bool add_special) const = 0;
  virtual absl::StatusOr<std::string> Detokenize(absl::Span<const int32_t> tokens) const = 0;
};

}  // namespace sluice

#endif  // SLUICE_FLASH_MODEL_H_
