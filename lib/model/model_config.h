// The shape and wiring of a model, in Sluice's own words. Importers of a family fill it in; the
// manifest of a bundle file stores it.
#ifndef SLUICE_LIB_MODEL_MODEL_CONFIG_H_
#define SLUICE_LIB_MODEL_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

struct ModelConfig {
  std::string family = "opt";
  uint32_t num_layers = 0;
  uint32_t d_model = 0;
  uint32_t d_ffn = 0;
  uint32_t num_heads = 0;
  uint32_t vocab_size = 0;
  uint32_t embed_dim = 0;  // of the token embedding; != d_model: project_in and project_out
  uint32_t max_positions = 0;
  uint32_t position_offset = 0;  // row of the position table that position 0 uses
  bool norm_before = true;       // each norm stands before its sublayer, else after the residual
  bool final_norm = true;
  bool norm_affine = true;  // norms have weight and bias
  bool bias = true;         // projections have biases
  bool tied_embeddings = true;
  float norm_epsilon = 1e-5f;
  int32_t bos_id = -1;  // -1: none
  std::vector<int32_t> eos_ids;

  uint32_t head_dim() const { return d_model / num_heads; }
  bool has_projections() const { return embed_dim != d_model; }

  // Every size is at least 1 and within a cap that keeps products of two of them in 64 bits with
  // room to spare; heads divide d_model; ids are inside the vocabulary. kInvalidArgument names the
  // member, what was found and what is allowed.
  absl::Status Validate() const;

  nlohmann::json ToJson() const;
  // Checked like Validate(); `what` begins the message.
  static absl::StatusOr<ModelConfig> FromJson(const nlohmann::json& json, absl::string_view what);
};

// Members of JSON objects from files, each with a message that names member, expected and found.
// Integers must be JSON integers in [low, high].
absl::StatusOr<int64_t> JsonInteger(const nlohmann::json& object, const char* member, int64_t low,
                                    int64_t high, absl::string_view what);
// The default when the member is absent or null.
absl::StatusOr<int64_t> JsonIntegerOr(const nlohmann::json& object, const char* member,
                                      int64_t low, int64_t high, int64_t fallback,
                                      absl::string_view what);
absl::StatusOr<bool> JsonBoolOr(const nlohmann::json& object, const char* member, bool fallback,
                                absl::string_view what);
absl::StatusOr<std::string> JsonStringOr(const nlohmann::json& object, const char* member,
                                         const std::string& fallback, absl::string_view what);
// A number or a list of numbers; empty when absent or null.
absl::StatusOr<std::vector<int32_t>> JsonTokenIds(const nlohmann::json& object,
                                                  const char* member, absl::string_view what);

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_MODEL_CONFIG_H_
