// The OPT family as Hugging Face publishes it (transformers, models/opt): config.json and tensor
// names, put into Sluice's own.
#ifndef SLUICE_LIB_MODEL_FAMILIES_OPT_H_
#define SLUICE_LIB_MODEL_FAMILIES_OPT_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/model/model_config.h"

namespace sluice {

// config.json as transformers 4 and 5 write it; absent members have OPTConfig's defaults. A null
// or absent generation_config (pass a null JSON) is fine; its end-of-sequence ids are added.
// kInvalidArgument names member, expected and found; kUnimplemented another model type or an
// activation other than ReLU.
absl::StatusOr<ModelConfig> OptConfigFromHuggingFace(const nlohmann::json& config,
                                                     const nlohmann::json& generation_config,
                                                     absl::string_view what);

// A tensor that the bundle file's resident section needs.
struct TensorMapping {
  std::string ours;    // as docs/FORMAT.md names it
  std::string theirs;  // without the prefix ("model.decoder.", "decoder." or none)
  std::vector<uint64_t> shape;
  bool as_f32 = false;  // norms and biases
};

// Resident tensors, in the order in which they are written; not the tied/untied output
// embeddings' choice of name, which the converter makes (kOptLmHead).
std::vector<TensorMapping> OptResidentTensors(const ModelConfig& config);

// The streamed pair of one layer: up [d_ffn, d_model] and down [d_model, d_ffn].
std::string OptUpName(uint32_t layer);
std::string OptDownName(uint32_t layer);

inline constexpr char kOptEmbedTokens[] = "embed_tokens.weight";
inline constexpr char kOptLmHead[] = "lm_head.weight";

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_FAMILIES_OPT_H_
