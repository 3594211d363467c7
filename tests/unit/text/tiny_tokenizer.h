// A hand-made tokenizer.json that tests bend to their needs.
#ifndef SLUICE_TESTS_UNIT_TEXT_TINY_TOKENIZER_H_
#define SLUICE_TESTS_UNIT_TEXT_TINY_TOKENIZER_H_

#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "lib/text/byte_alphabet.h"
#include "lib/text/tokenizer.h"
#include "tests/support/catch.h"

namespace sluice::testing {

// </s> is 2 and stands in front; byte b is 4 + b; then "he" 260, "ll" 261, "hell" 262, "hello"
// 263, " w" 264.
inline nlohmann::json TinyTokenizer() {
  using nlohmann::json;
  json vocab = {{"<s>", 0}, {"<pad>", 1}, {"</s>", 2}, {"<unk>", 3}};
  for (int byte = 0; byte < 256; ++byte) {
    vocab[SpellBytes(std::string(1, static_cast<char>(byte)))] = 4 + byte;
  }
  int next = 260;
  for (const char* word : {"he", "ll", "hell", "hello", " w"}) vocab[SpellBytes(word)] = next++;
  const std::string space = SpellBytes(" ");
  json merges = {"h e", json::array({"l", "l"}), "he ll", json::array({"hell", "o"}), space + " w"};
  const json item = {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}};
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json special_tokens = {
      {"</s>",
       {{"id", "</s>"}, {"ids", json::array({2})}, {"tokens", json::array({"</s>"})}}}};
  json root;
  root["added_tokens"] = json::array({{{"id", 2}, {"content", "</s>"}, {"special", true}}});
  root["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  root["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", json::array({item, text})},
                            {"special_tokens", special_tokens}};
  root["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}};
  return root;
}

inline std::unique_ptr<Tokenizer> MakeTokenizer(const nlohmann::json& root) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> made = Tokenizer::FromJson(root.dump(), "tiny");
  REQUIRE_OK(made);
  return *std::move(made);
}

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_TEXT_TINY_TOKENIZER_H_
