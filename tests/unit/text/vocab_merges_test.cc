#include "absl/strings/str_cat.h"
#include "lib/text/tokenizer.h"
#include "tests/unit/text/tiny_tokenizer.h"

namespace sluice {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

const std::string kMerges = "#version: 0.2\r\nh e\nl l\n\nhe ll\nhell o\n";

std::string Vocab() { return testing::TinyTokenizer()["model"]["vocab"].dump(); }

std::unique_ptr<Tokenizer> Make(const std::string& vocab, const std::string& config,
                                const std::string& map) {
  const absl::StatusOr<std::string> text =
      Tokenizer::JsonFromVocabAndMerges(vocab, kMerges, config, map);
  REQUIRE_OK(text);
  return testing::MakeTokenizer(json::parse(*text));
}

TEST_CASE("a bare OPT folder", "[text]") {
  const auto tokenizer = Make(Vocab(), "", "");
  CHECK(tokenizer->Encode("hello", true) == Ids{2, 263});
  CHECK(tokenizer->IsSpecial(1));
  CHECK(tokenizer->IsSpecial(2));
  CHECK_FALSE(tokenizer->IsSpecial(0));
  CHECK(tokenizer->eos_ids() == Ids{2});
}

TEST_CASE("what tokenizer_config.json says", "[text]") {
  const auto encode = [](const std::string& config) {
    return Make(Vocab(), config, "")->Encode("hello", true);
  };
  CHECK(encode(R"({"add_bos_token":true,"bos_token":"</s>"})") == Ids{2, 263});
  CHECK(encode(R"({"add_bos_token":true,"bos_token":{"content":"<s>"}})") == Ids{0, 263});
  CHECK(encode(R"({"add_bos_token":false})") == Ids{263});
  CHECK(encode(R"({"bos_token":"<s>"})") == Ids{263});
  CHECK(encode(R"({"bos_token":null})") == Ids{263});
  CHECK(encode(R"({"add_eos_token":true})") == Ids{2, 263, 2});
  CHECK(encode(R"({"add_prefix_space":true})").size() == 3);
}

TEST_CASE("what special_tokens_map.json says", "[text]") {
  const auto tokenizer = Make(
      Vocab(), R"({"add_bos_token":true})",
      R"({"bos_token":"<s>","pad_token":null,"additional_special_tokens":["<unk>","<gone>"]})");
  CHECK(tokenizer->Encode("", true) == Ids{0});
  CHECK_FALSE(tokenizer->IsSpecial(1));
  CHECK(tokenizer->IsSpecial(3));
  CHECK(tokenizer->IdOf("<gone>") == -1);
}

TEST_CASE("added tokens beyond the vocabulary", "[text]") {
  const auto tokenizer =
      Make(Vocab(), R"({"added_tokens_decoder":{"265":{"content":"<mask>","special":true},
                        "2":{"content":"</s>","special":true}}})", "");
  CHECK(tokenizer->vocab_size() == 266);
  CHECK(tokenizer->IdOf("<mask>") == 265);
  CHECK(tokenizer->IsSpecial(265));
}

TEST_CASE("GPT-2's folder puts nothing in front", "[text]") {
  json vocab = json::parse(Vocab());
  vocab.erase("</s>");
  vocab["<|endoftext|>"] = 265;
  const auto tokenizer = Make(vocab.dump(), "", "");
  CHECK(tokenizer->Encode("hello", true) == Ids{263});
  CHECK(tokenizer->eos_ids() == Ids{265});
}

TEST_CASE("broken folders", "[text]") {
  const auto refuse = [](const std::string& vocab, const std::string& merges,
                         const std::string& config, absl::string_view part) {
    absl::StatusOr<std::string> text =
        Tokenizer::JsonFromVocabAndMerges(vocab, merges, config, "");
    absl::Status status = text.status();
    if (text.ok()) status = Tokenizer::FromJson(*text, "x").status();
    INFO(status.ToString());
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(status.message().find(part) != absl::string_view::npos);
  };
  refuse("", kMerges, "", "empty");
  refuse("[1]", kMerges, "", "vocab.json");
  refuse("{\"a\":-1}", "", "", "\"a\"");
  refuse("{\"</s>\":\"2\"}", "", "", "</s>");
  refuse(Vocab(), "h e\nhe\n", "", "line 2");
  refuse(Vocab(), "h e l\n", "", "line 1");
  refuse(Vocab(), " h\n", "", "line 1");
  refuse(Vocab(), "h \xFF\n", "", "line 1");
  refuse(Vocab(), "h zzz\n", "", "merges[0]");
  refuse(Vocab(), kMerges, "[", "tokenizer_config.json");
  refuse(Vocab(), kMerges, "[]", "tokenizer_config.json");
  refuse(Vocab(), kMerges, R"({"bos_token":7})", "bos_token");
  refuse(Vocab(), kMerges, R"({"add_bos_token":"yes"})", "add_bos_token");
  refuse(Vocab(), kMerges, R"({"add_bos_token":true,"bos_token":"<x>"})", "<x>");
  refuse(Vocab(), kMerges, R"({"added_tokens_decoder":{"x":{"content":"y"}}})", "\"x\"");
  refuse(Vocab(), kMerges, R"({"added_tokens_decoder":{"99999999":{"content":"y"}}})", "99999999");
  refuse(Vocab(), kMerges, R"({"added_tokens_decoder":{"5":{"content":"<y>"}}})", "share id 5");
  refuse(Vocab(), kMerges, R"({"additional_special_tokens":[{}]})", "additional_special_tokens");
}

}  // namespace
}  // namespace sluice
