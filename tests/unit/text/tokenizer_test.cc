#include "lib/text/tokenizer.h"

#include <ctime>

#include "tests/unit/text/tiny_tokenizer.h"

namespace sluice {
namespace {

using nlohmann::json;
using testing::MakeTokenizer;
using testing::TinyTokenizer;
using Ids = std::vector<int32_t>;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlowdown = 15;
#else
constexpr double kSlowdown = 1;
#endif

Ids BytesOf(const std::string& text) {
  Ids ids;
  for (const char c : text) ids.push_back(4 + static_cast<uint8_t>(c));
  return ids;
}

TEST_CASE("merges by rank, within pieces", "[text]") {
  const auto tokenizer = MakeTokenizer(TinyTokenizer());
  CHECK(tokenizer->Encode("hello", true) == Ids{2, 263});
  CHECK(tokenizer->Encode("hello", false) == Ids{263});
  CHECK(tokenizer->Encode("hell w", false) == Ids{262, 264});
  CHECK(tokenizer->Encode("hel1lo", false) == Ids{260, 4 + 'l', 4 + '1', 4 + 'l', 4 + 'o'});
  CHECK(tokenizer->Encode("", true) == Ids{2});
  CHECK(tokenizer->Encode("", false).empty());
  CHECK(tokenizer->Encode("\xFF\xE2\x82", false) == BytesOf("\xEF\xBF\xBD\xEF\xBF\xBD"));
  CHECK(tokenizer->Encode(std::string(1, '\0'), false) == Ids{4});
}

TEST_CASE("special tokens spelled in the text are text", "[text]") {
  const auto tokenizer = MakeTokenizer(TinyTokenizer());
  CHECK(tokenizer->Encode("</s><pad>", false) == BytesOf("</s><pad>"));
  CHECK(tokenizer->Decode(Ids{2, 263, 2}).value() == "</s>hello</s>");
}

TEST_CASE("what a tokenizer knows of its ids", "[text]") {
  json root = TinyTokenizer();
  root["added_tokens"].push_back({{"id", 270}, {"content", "<h\xC3\xA9 >"}, {"special", false}});
  const auto tokenizer = MakeTokenizer(root);
  CHECK(tokenizer->vocab_size() == 271);
  CHECK(tokenizer->TokenBytes(264) == " w");
  CHECK(tokenizer->TokenBytes(4 + 0x80) == "\x80");
  CHECK(tokenizer->TokenBytes(270) == "<h\xC3\xA9 >");
  CHECK(tokenizer->TokenBytes(269).empty());  // unused
  CHECK(tokenizer->TokenBytes(-1).empty());
  CHECK(tokenizer->TokenBytes(271).empty());
  CHECK(tokenizer->IsSpecial(2));
  CHECK_FALSE(tokenizer->IsSpecial(0));
  CHECK_FALSE(tokenizer->IsSpecial(270));
  CHECK_FALSE(tokenizer->IsSpecial(-5));
  CHECK(tokenizer->IdOf("</s>") == 2);
  CHECK(tokenizer->IdOf("\xC4\xA0w") == 264);
  CHECK(tokenizer->IdOf("nothing") == -1);
  CHECK(tokenizer->eos_ids() == Ids{2});
}

TEST_CASE("decoding refuses ids that do not exist", "[text]") {
  const auto tokenizer = MakeTokenizer(TinyTokenizer());
  CHECK(tokenizer->Decode({}).value().empty());
  CHECK(tokenizer->Decode(Ids{4 + 0xE2, 4 + 0x82, 4 + 0xAC, 4 + 0xE2}).value() ==
        "\xE2\x82\xAC\xEF\xBF\xBD");
  for (const int32_t id : {-1, 265, 1 << 30}) {
    const absl::Status status = tokenizer->Decode(Ids{4, id}).status();
    CHECK(status.code() == absl::StatusCode::kOutOfRange);
    CHECK(status.message().find("265") != absl::string_view::npos);
  }
}

TEST_CASE("any bytes come back from their ids", "[text]") {
  const auto tokenizer = MakeTokenizer(TinyTokenizer());
  const std::string text = " hello\r\n\t w  \xE4\xBA\xBA hello's\xC2\xA0  ";
  CHECK(tokenizer->Decode(tokenizer->Encode(text, false)).value() == text);
}

TEST_CASE("the options of the pre-tokeniser and the model", "[text]") {
  json root = TinyTokenizer();
  SECTION("prefix space") {
    root["pre_tokenizer"]["add_prefix_space"] = true;
    const auto tokenizer = MakeTokenizer(root);
    CHECK(tokenizer->Encode("w", false) == Ids{264});
    CHECK(tokenizer->Encode(" w", false) == Ids{264});
    CHECK(tokenizer->Encode("", false).empty());
  }
  SECTION("a whole word without its merges") {
    root["model"]["merges"] = json::array();
    CHECK(MakeTokenizer(root)->Encode("hello", false).size() == 5);
    root["model"]["ignore_merges"] = true;
    CHECK(MakeTokenizer(root)->Encode("hello", false) == Ids{263});
  }
  SECTION("bytes that the vocabulary lacks") {
    root["model"]["vocab"].erase("z");
    root["model"]["vocab"].erase("y");
    CHECK(MakeTokenizer(root)->Encode("hzyello", false) == Ids{263});
    root["model"]["unk_token"] = "<unk>";
    CHECK(MakeTokenizer(root)->Encode("zyzo", false) == Ids{3, 3, 3, 4 + 'o'});
    root["model"]["fuse_unk"] = true;
    CHECK(MakeTokenizer(root)->Encode("zyzo", false) == Ids{3, 4 + 'o'});
  }
  SECTION("RoBERTa's template") {
    root["post_processor"] = {{"type", "RobertaProcessing"},
                              {"sep", json::array({"</s>", 2})},
                              {"cls", json::array({"<s>", 0})}};
    CHECK(MakeTokenizer(root)->Encode("hello", true) == Ids{0, 263, 2});
  }
  SECTION("no template") {
    root.erase("post_processor");
    CHECK(MakeTokenizer(root)->Encode("hello", true) == Ids{263});
    root["post_processor"] = {{"type", "ByteLevel"}};
    CHECK(MakeTokenizer(root)->Encode("hello", true) == Ids{263});
  }
}

TEST_CASE("long texts take their time, not their square", "[text]") {
  // Merges that go on: "A" "AA" "AAAA" ..., so that a long run is merged many times over.
  json root = TinyTokenizer();
  json& vocab = root["model"]["vocab"];
  for (const char* letter : {"A", " ", "\n"}) {
    std::string word = SpellBytes(letter);
    for (int doubling = 0; doubling < 8; ++doubling) {
      root["model"]["merges"].push_back(json::array({word, word}));
      word += word;
      const size_t id = vocab.size();
      vocab[word] = id;
    }
  }
  const auto tokenizer = MakeTokenizer(root);
  std::string han;
  while (han.size() < 1000000) han += "\xE4\xBA\xBA";
  for (const std::string& text : {std::string(1000000, 'A'), std::string(1000000, ' '),
                                  std::string(1000000, '\n'), std::string(1000000, '\xFF'), han}) {
    // Processor time: other programs' work must not fail this test.
    const std::clock_t start = std::clock();
    const Ids ids = tokenizer->Encode(text, false);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    INFO("first byte " << static_cast<int>(text[0]) << ", seconds " << seconds);
    CHECK(!ids.empty());
    CHECK(seconds < 2 * kSlowdown);
  }
}

TEST_CASE("a prompt of 10 MB", "[text]") {
  const auto tokenizer = MakeTokenizer(TinyTokenizer());
  std::string text;
  while (text.size() < 10000000) text += "hello w ";
  CHECK(tokenizer->Encode(text, true).size() > 2000000);
}

TEST_CASE("the estimate is an upper one", "[text]") {
  // The dearest kind of file: short words, each with an unused id beside it.
  json root = TinyTokenizer();
  for (int i = 0; i < 2000; ++i) root["model"]["vocab"][std::to_string(i + 10)] = 300 + 2 * i;
  const std::string text = root.dump();
  const auto tokenizer = MakeTokenizer(root);
  CHECK(tokenizer->resident_bytes() <= EstimateTokenizerBytes(text.size()));
  CHECK(EstimateTokenizerBytes(UINT64_MAX) == UINT64_MAX);
}

}  // namespace
}  // namespace sluice
