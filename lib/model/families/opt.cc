#include "lib/model/families/opt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace sluice {
namespace {

// Two rows of OPT's position table stand before position 0 (OPTLearnedPositionalEmbedding).
constexpr uint32_t kPositionOffset = 2;
constexpr int64_t kMaxSize = int64_t{1} << 24;

absl::Status CheckKind(const nlohmann::json& config, absl::string_view what) {
  if (!config.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": not a JSON object"));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string type, JsonStringOr(config, "model_type", "", what));
  if (type != "opt") {
    return absl::UnimplementedError(
        absl::StrCat(what, ": model_type \"", type, "\", expected \"opt\""));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string activation,
                          JsonStringOr(config, "activation_function", "relu", what));
  if (activation != "relu") {
    return absl::UnimplementedError(absl::StrCat(what, ": activation_function \"", activation,
                                                 "\"; only \"relu\" leaves neurons out"));
  }
  return absl::OkStatus();
}

// Sizes with OPTConfig's defaults (those of OPT-125m).
absl::Status ReadSizes(const nlohmann::json& config, absl::string_view what, ModelConfig* out) {
  const struct {
    const char* name;
    uint32_t* to;
    int64_t fallback;
  } sizes[] = {{"hidden_size", &out->d_model, 768},
               {"num_hidden_layers", &out->num_layers, 12},
               {"num_attention_heads", &out->num_heads, 12},
               {"ffn_dim", &out->d_ffn, 3072},
               {"vocab_size", &out->vocab_size, 50272},
               {"max_position_embeddings", &out->max_positions, 2048}};
  for (const auto& size : sizes) {
    SLUICE_ASSIGN_OR_RETURN(const int64_t value, JsonIntegerOr(config, size.name, 1, kMaxSize,
                                                               size.fallback, what));
    *size.to = static_cast<uint32_t>(value);
  }
  SLUICE_ASSIGN_OR_RETURN(const int64_t embed, JsonIntegerOr(config, "word_embed_proj_dim", 1,
                                                             kMaxSize, out->d_model, what));
  out->embed_dim = static_cast<uint32_t>(embed);
  return absl::OkStatus();
}

void AddIds(const std::vector<int32_t>& ids, std::vector<int32_t>* to) {
  for (int32_t id : ids) {
    if (std::find(to->begin(), to->end(), id) == to->end()) to->push_back(id);
  }
}

}  // namespace

absl::StatusOr<ModelConfig> OptConfigFromHuggingFace(const nlohmann::json& config,
                                                     const nlohmann::json& generation_config,
                                                     absl::string_view what) {
  SLUICE_RETURN_IF_ERROR(CheckKind(config, what));
  ModelConfig out;
  out.position_offset = kPositionOffset;
  SLUICE_RETURN_IF_ERROR(ReadSizes(config, what, &out));
  SLUICE_ASSIGN_OR_RETURN(out.norm_before,
                          JsonBoolOr(config, "do_layer_norm_before", true, what));
  SLUICE_ASSIGN_OR_RETURN(const bool no_final,
                          JsonBoolOr(config, "_remove_final_layer_norm", false, what));
  out.final_norm = out.norm_before && !no_final;
  SLUICE_ASSIGN_OR_RETURN(out.bias, JsonBoolOr(config, "enable_bias", true, what));
  SLUICE_ASSIGN_OR_RETURN(out.norm_affine,
                          JsonBoolOr(config, "layer_norm_elementwise_affine", true, what));
  SLUICE_ASSIGN_OR_RETURN(out.tied_embeddings,
                          JsonBoolOr(config, "tie_word_embeddings", true, what));
  SLUICE_ASSIGN_OR_RETURN(const int64_t bos,
                          JsonIntegerOr(config, "bos_token_id", -1, kMaxSize, 2, what));
  out.bos_id = bos < out.vocab_size ? static_cast<int32_t>(bos) : -1;
  nlohmann::json eos = config;
  if (!eos.contains("eos_token_id")) eos["eos_token_id"] = 2;
  SLUICE_ASSIGN_OR_RETURN(out.eos_ids, JsonTokenIds(eos, "eos_token_id", what));
  if (generation_config.is_object()) {
    SLUICE_ASSIGN_OR_RETURN(
        const std::vector<int32_t> more,
        JsonTokenIds(generation_config, "eos_token_id", "generation_config.json"));
    AddIds(more, &out.eos_ids);
  }
  // A tiny vocabulary may not have the default id.
  out.eos_ids.erase(std::remove_if(out.eos_ids.begin(), out.eos_ids.end(),
                                   [&](int32_t id) {
                                     return id >= static_cast<int64_t>(out.vocab_size);
                                   }),
                    out.eos_ids.end());
  if (absl::Status status = out.Validate(); !status.ok()) return Annotate(status, what);
  return out;
}

std::vector<TensorMapping> OptResidentTensors(const ModelConfig& c) {
  const uint64_t d = c.d_model, e = c.embed_dim, f = c.d_ffn;
  std::vector<TensorMapping> list;
  list.push_back({"embed_positions", "embed_positions.weight",
                  {uint64_t{c.max_positions} + c.position_offset, d}});
  if (c.has_projections()) {
    list.push_back({"project_in", "project_in.weight", {d, e}});
    list.push_back({"project_out", "project_out.weight", {e, d}});
  }
  const auto norm = [&](const std::string& ours, const std::string& theirs) {
    if (!c.norm_affine) return;
    list.push_back({ours + ".weight", theirs + ".weight", {d}, true});
    list.push_back({ours + ".bias", theirs + ".bias", {d}, true});
  };
  const auto bias = [&](const std::string& ours, const std::string& theirs, uint64_t size) {
    if (c.bias) list.push_back({ours, theirs, {size}, true});
  };
  if (c.final_norm) norm("final_norm", "final_layer_norm");
  for (uint32_t i = 0; i < c.num_layers; ++i) {
    const std::string ours = absl::StrCat("layers.", i, ".");
    norm(ours + "attn_norm", ours + "self_attn_layer_norm");
    for (const auto& [mine, their] : {std::pair{"q", "q_proj"}, {"k", "k_proj"}, {"v", "v_proj"},
                                      {"out", "out_proj"}}) {
      const std::string from = absl::StrCat(ours, "self_attn.", their);
      list.push_back({absl::StrCat(ours, "attn.", mine, ".weight"), from + ".weight", {d, d}});
      bias(absl::StrCat(ours, "attn.", mine, ".bias"), from + ".bias", d);
    }
    norm(ours + "ffn_norm", ours + "final_layer_norm");
    bias(ours + "ffn.up.bias", ours + "fc1.bias", f);
    bias(ours + "ffn.down.bias", ours + "fc2.bias", d);
  }
  return list;
}

std::string OptUpName(uint32_t layer) { return absl::StrCat("layers.", layer, ".fc1.weight"); }
std::string OptDownName(uint32_t layer) { return absl::StrCat("layers.", layer, ".fc2.weight"); }

}  // namespace sluice
