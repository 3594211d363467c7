#include "lib/model/model_config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace sluice {
namespace {

// Far above every published model, far below where a product of two could wrap.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxIds = 1 << 24;
constexpr size_t kMaxEosIds = 64;

std::string Brief(const nlohmann::json& value) {
  // Containers are not dumped: a deep or long one is nothing to put into a message.
  if (value.is_structured()) return value.type_name();
  std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > 40) text = text.substr(0, 40) + "...";
  return text;
}

absl::Status OutOfRange(const char* member, int64_t found, int64_t low, int64_t high) {
  return absl::InvalidArgumentError(
      absl::StrCat(member, " is ", found, ", expected ", low, " to ", high));
}

}  // namespace

absl::StatusOr<int64_t> JsonInteger(const nlohmann::json& object, const char* member, int64_t low,
                                    int64_t high, absl::string_view what) {
  const auto it = object.find(member);
  if (it == object.end()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": no member \"", member, "\""));
  }
  const bool too_large = it->is_number_unsigned() &&
                         it->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (!it->is_number_integer() || too_large || it->get<int64_t>() < low ||
      it->get<int64_t>() > high) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": ", member, " is ", Brief(*it),
                                                   ", expected an integer from ", low, " to ",
                                                   high));
  }
  return it->get<int64_t>();
}

absl::StatusOr<int64_t> JsonIntegerOr(const nlohmann::json& object, const char* member,
                                      int64_t low, int64_t high, int64_t fallback,
                                      absl::string_view what) {
  const auto it = object.find(member);
  if (it == object.end() || it->is_null()) return fallback;
  return JsonInteger(object, member, low, high, what);
}

absl::StatusOr<bool> JsonBoolOr(const nlohmann::json& object, const char* member, bool fallback,
                                absl::string_view what) {
  const auto it = object.find(member);
  if (it == object.end() || it->is_null()) return fallback;
  if (!it->is_boolean()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": ", member, " is ", Brief(*it), ", expected true or false"));
  }
  return it->get<bool>();
}

absl::StatusOr<std::string> JsonStringOr(const nlohmann::json& object, const char* member,
                                         const std::string& fallback, absl::string_view what) {
  const auto it = object.find(member);
  if (it == object.end() || it->is_null()) return fallback;
  if (!it->is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": ", member, " is ", Brief(*it), ", expected a string"));
  }
  return it->get<std::string>();
}

absl::StatusOr<std::vector<int32_t>> JsonTokenIds(const nlohmann::json& object,
                                                  const char* member, absl::string_view what) {
  std::vector<int32_t> ids;
  const auto it = object.find(member);
  if (it == object.end() || it->is_null()) return ids;
  const nlohmann::json list = it->is_array() ? *it : nlohmann::json::array({*it});
  for (const nlohmann::json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMaxIds ||
        ids.size() == kMaxEosIds) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": ", member, " holds ", Brief(id),
                                                     ", expected up to ", kMaxEosIds,
                                                     " token ids"));
    }
    ids.push_back(static_cast<int32_t>(id.get<int64_t>()));
  }
  return ids;
}

absl::Status ModelConfig::Validate() const {
  const struct {
    const char* name;
    int64_t value, high;
  } sizes[] = {{"num_layers", num_layers, kMaxLayers}, {"d_model", d_model, kMaxWidth},
               {"d_ffn", d_ffn, kMaxWidth},            {"num_heads", num_heads, kMaxWidth},
               {"vocab_size", vocab_size, kMaxIds},    {"embed_dim", embed_dim, kMaxWidth},
               {"max_positions", max_positions, kMaxIds}};
  for (const auto& size : sizes) {
    if (size.value < 1 || size.value > size.high) {
      return OutOfRange(size.name, size.value, 1, size.high);
    }
  }
  if (position_offset > 1024) return OutOfRange("position_offset", position_offset, 0, 1024);
  if (d_model % num_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "d_model ", d_model, " is not a multiple of the number of attention heads, ", num_heads));
  }
  if (!(norm_epsilon > 0 && norm_epsilon < 1)) {
    return absl::InvalidArgumentError("norm_epsilon is not between 0 and 1");
  }
  for (int32_t id : eos_ids) {
    if (id < 0 || id >= static_cast<int64_t>(vocab_size)) {
      return OutOfRange("an end-of-sequence id", id, 0, int64_t{vocab_size} - 1);
    }
  }
  if (bos_id < -1 || bos_id >= static_cast<int64_t>(vocab_size)) {
    return OutOfRange("bos_id", bos_id, -1, int64_t{vocab_size} - 1);
  }
  return absl::OkStatus();
}

nlohmann::json ModelConfig::ToJson() const {
  return {{"family", family},
          {"num_layers", num_layers},
          {"d_model", d_model},
          {"d_ffn", d_ffn},
          {"num_heads", num_heads},
          {"vocab_size", vocab_size},
          {"embed_dim", embed_dim},
          {"max_positions", max_positions},
          {"position_offset", position_offset},
          {"norm_before", norm_before},
          {"final_norm", final_norm},
          {"norm_affine", norm_affine},
          {"bias", bias},
          {"tied_embeddings", tied_embeddings},
          {"norm_epsilon", norm_epsilon},
          {"activation", "relu"},
          {"bos_id", bos_id},
          {"eos_ids", eos_ids}};
}

absl::StatusOr<ModelConfig> ModelConfig::FromJson(const nlohmann::json& json,
                                                  absl::string_view what) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": not a JSON object"));
  }
  ModelConfig config;
  SLUICE_ASSIGN_OR_RETURN(config.family, JsonStringOr(json, "family", "", what));
  SLUICE_ASSIGN_OR_RETURN(const std::string activation, JsonStringOr(json, "activation", "", what));
  if (config.family != "opt" || activation != "relu") {
    return absl::UnimplementedError(absl::StrCat(what, ": family \"", config.family,
                                                 "\" with activation \"", activation,
                                                 "\" is not one that this version runs"));
  }
  const struct {
    const char* name;
    uint32_t* to;
    int64_t low, high;
  } sizes[] = {{"num_layers", &config.num_layers, 1, kMaxLayers},
               {"d_model", &config.d_model, 1, kMaxWidth},
               {"d_ffn", &config.d_ffn, 1, kMaxWidth},
               {"num_heads", &config.num_heads, 1, kMaxWidth},
               {"vocab_size", &config.vocab_size, 1, kMaxIds},
               {"embed_dim", &config.embed_dim, 1, kMaxWidth},
               {"max_positions", &config.max_positions, 1, kMaxIds},
               {"position_offset", &config.position_offset, 0, 1024}};
  for (const auto& size : sizes) {
    SLUICE_ASSIGN_OR_RETURN(const int64_t value,
                            JsonInteger(json, size.name, size.low, size.high, what));
    *size.to = static_cast<uint32_t>(value);
  }
  const struct {
    const char* name;
    bool* to;
  } flags[] = {{"norm_before", &config.norm_before},
               {"final_norm", &config.final_norm},
               {"norm_affine", &config.norm_affine},
               {"bias", &config.bias},
               {"tied_embeddings", &config.tied_embeddings}};
  for (const auto& flag : flags) {
    SLUICE_ASSIGN_OR_RETURN(*flag.to, JsonBoolOr(json, flag.name, *flag.to, what));
  }
  if (const auto it = json.find("norm_epsilon"); it != json.end() && it->is_number()) {
    config.norm_epsilon = it->get<float>();
  }
  SLUICE_ASSIGN_OR_RETURN(const int64_t bos, JsonIntegerOr(json, "bos_id", -1, kMaxIds, -1, what));
  config.bos_id = static_cast<int32_t>(bos);
  SLUICE_ASSIGN_OR_RETURN(config.eos_ids, JsonTokenIds(json, "eos_ids", what));
  if (absl::Status status = config.Validate(); !status.ok()) return Annotate(status, what);
  return config;
}

}  // namespace sluice
