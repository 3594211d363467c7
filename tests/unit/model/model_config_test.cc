#include "lib/model/model_config.h"

#include <string>

#include "absl/strings/match.h"
#include "lib/model/families/opt.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

nlohmann::json Good() {
  return {{"model_type", "opt"}, {"hidden_size", 64}, {"num_attention_heads", 4},
          {"ffn_dim", 256},      {"vocab_size", 100}, {"num_hidden_layers", 2},
          {"max_position_embeddings", 128}};
}

absl::StatusOr<ModelConfig> Parse(const nlohmann::json& json,
                                  const nlohmann::json& generation = nullptr) {
  return OptConfigFromHuggingFace(json, generation, "config.json");
}

TEST_CASE("absent members of config.json have OPTConfig's defaults", "[model]") {
  auto config = Parse(Good());
  REQUIRE_OK(config);
  CHECK(config->embed_dim == 64);
  CHECK(config->norm_before);
  CHECK(config->final_norm);
  CHECK(config->bias);
  CHECK(config->norm_affine);
  CHECK(config->tied_embeddings);
  CHECK(config->position_offset == 2);
  CHECK(config->eos_ids == std::vector<int32_t>{2});
}

TEST_CASE("end-of-sequence ids are united", "[model]") {
  nlohmann::json config = Good();
  config["eos_token_id"] = {7, 2};
  auto parsed = Parse(config, {{"eos_token_id", 9}});
  REQUIRE_OK(parsed);
  CHECK(parsed->eos_ids == std::vector<int32_t>{7, 2, 9});
  parsed = Parse(config, {{"eos_token_id", {9, 7}}});
  REQUIRE_OK(parsed);
  CHECK(parsed->eos_ids == std::vector<int32_t>{7, 2, 9});
}

TEST_CASE("a config round-trips through the manifest", "[model]") {
  nlohmann::json json = Good();
  json["do_layer_norm_before"] = false;
  json["word_embed_proj_dim"] = 32;
  json["enable_bias"] = false;
  auto config = Parse(json);
  REQUIRE_OK(config);
  CHECK(!config->final_norm);
  CHECK(config->has_projections());
  auto again = ModelConfig::FromJson(config->ToJson(), "manifest");
  REQUIRE_OK(again);
  CHECK(again->ToJson() == config->ToJson());
}

TEST_CASE("members that make no sense are named", "[model]") {
  const struct {
    const char* member;
    nlohmann::json value;
  } cases[] = {{"num_hidden_layers", 1000000000}, {"num_hidden_layers", 0},
               {"num_hidden_layers", -1},         {"hidden_size", 255},
               {"num_attention_heads", 0},        {"num_attention_heads", 7},
               {"ffn_dim", "many"},               {"ffn_dim", 1.5},
               {"vocab_size", 2147483648u},       {"max_position_embeddings", 1000000000000u},
               {"enable_bias", 1},                {"eos_token_id", "two"},
               {"eos_token_id", {1, -2}},         {"vocab_size", 18446744073709551615u},
               {"ffn_dim", nlohmann::json::array()}};
  for (const auto& c : cases) {
    nlohmann::json json = Good();
    json[c.member] = c.value;
    const absl::Status status = Parse(json).status();
    INFO(c.member << " " << c.value.dump() << ": " << status.ToString());
    CHECK(absl::IsInvalidArgument(status));
    CHECK(absl::StrContains(status.message(), "config.json"));
  }
  for (const char* member : {"model_type", "activation_function"}) {
    nlohmann::json json = Good();
    json[member] = "no-such";
    const absl::Status status = Parse(json).status();
    CHECK(absl::IsUnimplemented(status));
    CHECK(absl::StrContains(status.message(), "no-such"));
  }
  CHECK(!Parse(nlohmann::json::array()).ok());
  CHECK(!ModelConfig::FromJson(nlohmann::json(), "x").ok());
  CHECK(!ModelConfig::FromJson(nlohmann::json::object(), "x").ok());
}

}  // namespace
}  // namespace sluice
