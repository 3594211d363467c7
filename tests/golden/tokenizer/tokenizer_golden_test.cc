// The same ids and texts as Hugging Face's tokenizers (make_tokenizer_golden.py).
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "lib/base/json_guard.h"
#include "lib/text/tokenizer.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

using nlohmann::json;

const std::string kRoot = SLUICE_TEST_SOURCE_DIR;
const std::string kGolden = kRoot + "/tests/golden/tokenizer/";

json ReadJson(const std::string& path) {
  absl::StatusOr<json> value = ParseJson(testing::ReadFileOrDie(path), path);
  REQUIRE_OK(value);
  return *std::move(value);
}

std::string FromBase64(const std::string& encoded) {
  std::string raw;
  REQUIRE(absl::Base64Unescape(encoded, &raw));
  return raw;
}

// The tokenizer that the golden files call `name`.
std::unique_ptr<Tokenizer> Load(const std::string& name) {
  std::string text;
  const std::string folder = kGolden + "mixed/";
  if (name == "tales") {
    text = testing::ReadFileOrDie(kRoot + "/examples/models/tales-7m/tokenizer.json");
  } else if (name == "opt") {
    absl::StatusOr<std::string> made = Tokenizer::JsonFromVocabAndMerges(
        testing::ReadFileOrDie(folder + "vocab.json"),
        testing::ReadFileOrDie(folder + "merges.txt"),
        testing::ReadFileOrDie(folder + "tokenizer_config.json"), "");
    REQUIRE_OK(made);
    text = *made;
  } else {
    text = testing::ReadFileOrDie(folder + (name == "mixed" ? "tokenizer" : name) + ".json");
  }
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(text, name);
  REQUIRE_OK(tokenizer);
  CHECK((*tokenizer)->resident_bytes() <= EstimateTokenizerBytes(text.size()));
  return *std::move(tokenizer);
}

TEST_CASE("encodes as Hugging Face does", "[text][golden]") {
  const json golden = ReadJson(kGolden + "encode.json");
  std::vector<std::string> texts;
  for (const json& text : golden["texts"]) texts.push_back(FromBase64(text));
  REQUIRE(texts.size() >= 2000);
  for (const auto& [name, lists] : golden["ids"].items()) {
    const std::unique_ptr<Tokenizer> tokenizer = Load(name);
    REQUIRE(lists.size() >= 1000);
    for (size_t i = 0; i < lists.size(); ++i) {
      INFO(name << " text " << i << ": " << absl::CHexEscape(texts[i]));
      CHECK(tokenizer->Encode(texts[i], true) == lists[i].get<std::vector<int32_t>>());
    }
  }
}

TEST_CASE("without special tokens the template's are missing", "[text][golden]") {
  const json golden = ReadJson(kGolden + "encode.json");
  const std::unique_ptr<Tokenizer> tokenizer = Load("mixed");
  const json& lists = golden["ids"]["mixed"];
  for (size_t i = 0; i < lists.size(); ++i) {
    const std::vector<int32_t> whole = lists[i];
    const std::vector<int32_t> inside(whole.begin() + 1, whole.end() - 1);
    CHECK(tokenizer->Encode(FromBase64(golden["texts"][i]), false) == inside);
  }
}

TEST_CASE("decodes as Hugging Face does", "[text][golden]") {
  const json golden = ReadJson(kGolden + "decode.json");
  for (const auto& [name, cases] : golden.items()) {
    const std::unique_ptr<Tokenizer> tokenizer = Load(name);
    REQUIRE(cases.size() >= 300);
    for (const json& each : cases) {
      const std::vector<int32_t> ids = each["ids"];
      INFO(name << " " << each["ids"].dump());
      const absl::StatusOr<std::string> text = tokenizer->Decode(ids);
      REQUIRE_OK(text);
      CHECK(absl::CHexEscape(*text) == absl::CHexEscape(FromBase64(each["text"])));
    }
  }
}

TEST_CASE("the special tokens of the golden tokenizers", "[text][golden]") {
  const std::unique_ptr<Tokenizer> mixed = Load("mixed");
  CHECK(mixed->vocab_size() == 1002);
  CHECK(mixed->eos_ids() == std::vector<int32_t>{2, 1000});
  CHECK(mixed->IsSpecial(1000));
  CHECK_FALSE(mixed->IsSpecial(1001));
  CHECK(mixed->TokenBytes(1001) == "<a b>");
  CHECK(mixed->IdOf("<a b>") == 1001);

  const std::unique_ptr<Tokenizer> opt = Load("opt");
  CHECK(opt->vocab_size() == 1000);
  CHECK(opt->Encode("", true) == std::vector<int32_t>{2});
  CHECK(opt->eos_ids() == std::vector<int32_t>{2});
  CHECK(opt->IsSpecial(1));
  CHECK_FALSE(opt->IsSpecial(0));
}

}  // namespace
}  // namespace sluice
