// Tokenizer files and texts that nobody vouches for. The first line of the input chooses the file:
//   json N      the next N bytes are a tokenizer.json
//   files N M   the next N bytes are vocab.json, the M after them merges.txt
// The rest is text to encode. Input without such a line is taken for "json" with all of it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "lib/text/text_stream.h"
#include "lib/text/tokenizer.h"

namespace {

using sluice::Tokenizer;

// A broken promise of the library's: the fuzzer must see it.
void Require(bool promise) {
  if (!promise) std::abort();
}

absl::string_view TakeBytes(uint64_t bytes, absl::string_view* rest) {
  const absl::string_view taken =
      rest->substr(0, static_cast<size_t>(std::min<uint64_t>(bytes, rest->size())));
  rest->remove_prefix(taken.size());
  return taken;
}

std::unique_ptr<Tokenizer> Load(absl::string_view* rest) {
  const absl::string_view all = *rest;
  const absl::string_view line = all.substr(0, std::min(all.find('\n'), all.size()));
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  uint64_t first = 0;
  uint64_t second = 0;
  std::string json;
  if (words.size() == 3 && words[0] == "files" && absl::SimpleAtoi(words[1], &first) &&
      absl::SimpleAtoi(words[2], &second)) {
    TakeBytes(line.size() + 1, rest);
    const absl::string_view vocab = TakeBytes(first, rest);
    const absl::string_view merges = TakeBytes(second, rest);
    absl::StatusOr<std::string> made = Tokenizer::JsonFromVocabAndMerges(vocab, merges, "", "");
    if (!made.ok()) return nullptr;
    json = *std::move(made);
  } else if (words.size() == 2 && words[0] == "json" && absl::SimpleAtoi(words[1], &first)) {
    TakeBytes(line.size() + 1, rest);
    const absl::string_view document = TakeBytes(first, rest);
    json.assign(document.data(), document.size());
  } else {
    json.assign(all.data(), all.size());
  }
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(json, "fuzz");
  if (!tokenizer.ok()) return nullptr;
  Require((*tokenizer)->resident_bytes() <= sluice::EstimateTokenizerBytes(json.size()));
  return *std::move(tokenizer);
}

void CheckText(const Tokenizer& tokenizer, absl::string_view text) {
  const std::vector<int32_t> ids = tokenizer.Encode(text, true);
  sluice::TextStream stream({std::string(text.substr(text.size() / 2, 4))});
  sluice::TextStream plain({});
  std::string streamed;
  for (const int32_t id : ids) {
    Require(id >= 0 && id < tokenizer.vocab_size());
    stream.Push(tokenizer.TokenBytes(id));
    streamed += plain.Push(tokenizer.TokenBytes(id));
  }
  stream.Finish();
  streamed += plain.Finish();
  const absl::StatusOr<std::string> decoded = tokenizer.Decode(ids);
  Require(decoded.ok() && *decoded == streamed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::unique_ptr<Tokenizer> tokenizer = Load(&rest);
  if (tokenizer == nullptr) return 0;
  CheckText(*tokenizer, rest);
  for (int32_t id = -1; id <= tokenizer->vocab_size(); ++id) {
    tokenizer->IsSpecial(id);
    Require(tokenizer->Decode({&id, 1}).ok() == (id >= 0 && id < tokenizer->vocab_size()));
  }
  return 0;
}
