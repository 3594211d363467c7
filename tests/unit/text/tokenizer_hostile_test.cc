// Files that nobody vouches for: every one is refused with a message, none does harm.
#include <functional>
#include <random>

#include "lib/text/tokenizer.h"
#include "tests/unit/text/tiny_tokenizer.h"

namespace sluice {
namespace {

using nlohmann::json;
using testing::TinyTokenizer;

struct Case {
  const char* name;
  std::function<void(json*)> spoil;
  const char* message_part;
};

void CheckRefused(const std::vector<Case>& cases, absl::StatusCode code) {
  for (const Case& each : cases) {
    json root = TinyTokenizer();
    each.spoil(&root);
    const absl::Status status = Tokenizer::FromJson(root.dump(), "some/file.json").status();
    INFO(each.name << ": " << status.ToString());
    CHECK(status.code() == code);
    CHECK(status.message().find("some/file.json") == 0);
    CHECK(status.message().find(each.message_part) != absl::string_view::npos);
  }
}

json* Vocab(json* root) { return &(*root)["model"]["vocab"]; }
json* Merges(json* root) { return &(*root)["model"]["merges"]; }

TEST_CASE("broken vocabularies", "[text]") {
  CheckRefused(
      {
          {"no model", [](json* r) { r->erase("model"); }, "model"},
          {"model is a list", [](json* r) { (*r)["model"] = json::array(); }, "model"},
          {"no vocab", [](json* r) { (*r)["model"].erase("vocab"); }, "vocab"},
          {"vocab is a list", [](json* r) { *Vocab(r) = json::array({1}); }, "vocab"},
          {"empty",
           [](json* r) {
             *Vocab(r) = json::object();
             r->erase("added_tokens");
           },
           "empty"},
          {"negative id", [](json* r) { (*Vocab(r))["a"] = -1; }, "\"a\""},
          {"huge id", [](json* r) { (*Vocab(r))["a"] = UINT64_MAX; }, "18446744073709551615"},
          {"id of 2^24", [](json* r) { (*Vocab(r))["a"] = 1 << 24; }, "16777216"},
          {"id far out", [](json* r) { (*Vocab(r))["a"] = (1 << 24) - 1; }, "only"},
          {"fraction", [](json* r) { (*Vocab(r))["a"] = 1.5; }, "whole"},
          {"string", [](json* r) { (*Vocab(r))["a"] = "7"; }, "whole"},
          {"id twice", [](json* r) { (*Vocab(r))["a"] = 9; }, "share id 9"},
          {"unknown unk", [](json* r) { (*r)["model"]["unk_token"] = "?!"; }, "?!"},
          {"unk is no string", [](json* r) { (*r)["model"]["unk_token"] = 5; }, "unk_token"},
      },
      absl::StatusCode::kInvalidArgument);
}

TEST_CASE("broken added tokens", "[text]") {
  const auto add = [](json item) {
    return [item](json* root) { (*root)["added_tokens"].push_back(item); };
  };
  CheckRefused(
      {
          {"no list", [](json* r) { (*r)["added_tokens"] = 1; }, "added_tokens"},
          {"no object", add(5), "added_tokens[1]"},
          {"no id", add({{"content", "x"}}), "added_tokens[1]"},
          {"no content", add({{"id", 300}}), "added_tokens[1]"},
          {"negative", add({{"content", "<x>"}, {"id", -2}}), "added_tokens[1]"},
          {"huge", add({{"content", "<x>"}, {"id", INT64_MAX}}), "9223372036854775807"},
          {"far out", add({{"content", "<x>"}, {"id", 1000000}}), "1000000"},
          {"inside, another's", add({{"content", "<x>"}, {"id", 50}}), "share id 50"},
          {"inside, at another id", add({{"content", "<pad>"}, {"id", 300}}), "has ids 1 and 300"},
          {"twice", add({{"content", "<y>"}, {"id", 2}}), "share id 2"},
          {"special is no bool", add({{"content", "<x>"}, {"id", 300}, {"special", 1}}),
           "added_tokens[1]"},
      },
      absl::StatusCode::kInvalidArgument);
}

TEST_CASE("broken merges", "[text]") {
  const auto add = [](json item) {
    return [item](json* root) { Merges(root)->push_back(item); };
  };
  CheckRefused(
      {
          {"no merges", [](json* r) { (*r)["model"].erase("merges"); }, "merges"},
          {"no list", [](json* r) { *Merges(r) = "h e"; }, "merges"},
          {"unknown left", add("zzz e"), "merges[5]"},
          {"unknown right", add(json::array({"h", "zzz"})), "\"zzz\""},
          {"unknown result", add("z z"), "\"zz\""},
          {"a number", add(7), "merges[5]"},
          {"one word", add("he"), "two words"},
          {"three words", add("h e l"), "two words"},
          {"a triple", add(json::array({"h", "e", "l"})), "merges[5]"},
          {"a pair of numbers", add(json::array({1, 2})), "merges[5]"},
          {"nothing", add(""), "two words"},
          {"only added",
           [](json* r) {
             (*r)["added_tokens"].push_back({{"content", "ez"}, {"id", 300}});
             Merges(r)->push_back("e z");
           },
           "\"ez\""},
      },
      absl::StatusCode::kInvalidArgument);
}

TEST_CASE("broken templates", "[text]") {
  const auto with = [](const char* key, json value) {
    return [key, value](json* root) { (*root)["post_processor"][key] = value; };
  };
  CheckRefused(
      {
          {"no single", with("single", nullptr), "single"},
          {"odd item", with("single", json::array({1})), "neither"},
          {"no special_tokens", with("special_tokens", nullptr), "</s>"},
          {"id beyond",
           with("special_tokens", {{"</s>", {{"ids", json::array({265})}}}}), "265"},
          {"id negative", with("special_tokens", {{"</s>", {{"ids", json::array({-1})}}}}), "-1"},
          {"RoBERTa without sep",
           [](json* r) {
             (*r)["post_processor"] = {{"type", "RobertaProcessing"},
                                       {"cls", json::array({"<s>", 0})}};
           },
           "sep"},
          {"RoBERTa beyond",
           [](json* r) {
             (*r)["post_processor"] = {{"type", "RobertaProcessing"},
                                       {"cls", json::array({"<s>", 7777})}};
           },
           "7777"},
      },
      absl::StatusCode::kInvalidArgument);
}

TEST_CASE("what we do not know is named", "[text]") {
  const auto with = [](const char* part, json value) {
    return [part, value](json* root) { (*root)[part] = value; };
  };
  const auto model = [](const char* key, json value) {
    return [key, value](json* root) { (*root)["model"][key] = value; };
  };
  const json evil = {{"type", "Split"}, {"pattern", {{"Regex", "(a+)+$"}}},
                     {"behavior", "Isolated"}};
  CheckRefused(
      {
          {"Unigram", model("type", "Unigram"), "Unigram"},
          {"dropout", model("dropout", 0.1), "dropout"},
          {"affix", model("end_of_word_suffix", "</w>"), "end_of_word_suffix"},
          {"byte_fallback", model("byte_fallback", true), "byte_fallback"},
          {"normalizer", with("normalizer", {{"type", "NFC"}}), "NFC"},
          {"decoder", with("decoder", {{"type", "Metaspace"}}), "Metaspace"},
          {"no pre-tokeniser", with("pre_tokenizer", nullptr), "ByteLevel"},
          {"Metaspace", with("pre_tokenizer", {{"type", "Metaspace"}}), "Metaspace"},
          {"no regex", with("pre_tokenizer", {{"type", "ByteLevel"}, {"use_regex", false}}),
           "use_regex"},
          {"evil regex",
           with("pre_tokenizer",
                {{"type", "Sequence"}, {"pretokenizers", json::array({evil})}}),
           "(a+)+$"},
          {"processor", with("post_processor", {{"type", "BertProcessing"}}), "BertProcessing"},
          {"template without text",
           [](json* r) { (*r)["post_processor"]["single"] = json::array(); }, "0 sequences"},
      },
      absl::StatusCode::kUnimplemented);
}

TEST_CASE("texts that are no JSON", "[text]") {
  for (const std::string text : {"", "{", "[]", "null", "7", "\xFF", "{\"a\":1,\"a\":2}"}) {
    CHECK_FALSE(Tokenizer::FromJson(text, "x").ok());
  }
  CHECK_FALSE(Tokenizer::FromJson(std::string(100000, '['), "x").ok());
}

TEST_CASE("values of the wrong kind at any place", "[text]") {
  INFO("seed " << testing::Seed());
  std::mt19937_64 random(testing::Seed());
  const json flat = TinyTokenizer().flatten();
  std::vector<std::string> places;
  for (const auto& [place, value] : flat.items()) {
    for (std::string at = place; !at.empty(); at.resize(at.rfind('/'))) places.push_back(at);
  }
  const json values = {nullptr, true, -1, 3, 1e300, "", "x", json::array(), json::object()};
  for (int round = 0; round < 1500; ++round) {
    json root = TinyTokenizer();
    root[json::json_pointer(places[random() % places.size()])] = values[random() % values.size()];
    const auto tokenizer = Tokenizer::FromJson(root.dump(), "x");
    if (!tokenizer.ok()) continue;
    for (const int32_t id : (*tokenizer)->Encode("hello w\xFF", true)) {
      REQUIRE(id >= 0);
      REQUIRE(id < (*tokenizer)->vocab_size());
    }
  }
}

}  // namespace
}  // namespace sluice
