// Reads a Hugging Face tokenizer.json.
#ifndef SLUICE_LIB_TEXT_TOKENIZER_JSON_H_
#define SLUICE_LIB_TEXT_TOKENIZER_JSON_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/text/bpe.h"
#include "lib/text/pretokenizer.h"
#include "lib/text/token_table.h"

namespace sluice {

// All that encoding and decoding need to know.
struct TokenizerParts {
  TokenTable tokens;
  MergeTable merges;
  PiecePattern pattern = PiecePattern::kGpt2;
  bool add_prefix_space = false;
  bool ignore_merges = false;  // a piece that is a word of the vocabulary is that word
  int32_t unk_id = -1;         // for bytes that the vocabulary lacks; -1: they are passed over
  bool fuse_unk = false;       // one unk_id for several such bytes in a row
  std::vector<int32_t> prefix;  // the template's tokens before and after the text
  std::vector<int32_t> suffix;
  std::vector<int32_t> eos_ids;
};

// kInvalidArgument or kUnimplemented, beginning with `what`.
absl::StatusOr<TokenizerParts> ParseTokenizerJson(absl::string_view text, absl::string_view what);

// The steps, each for one part of the document `root`; messages begin with the place in it.
absl::Status ReadModel(const nlohmann::json& root, TokenizerParts* parts);
absl::Status ReadPreTokenizer(const nlohmann::json& root, TokenizerParts* parts);
absl::Status ReadPostProcessor(const nlohmann::json& root, TokenizerParts* parts);

// Member of an object; nullptr when `object` is none, or the member is absent or null.
const nlohmann::json* FindMember(const nlohmann::json& object, const std::string& key);
// The "type" of an object; empty when there is none.
std::string TypeOf(const nlohmann::json& object);
// A member that is true or false; `otherwise` where it is absent or null.
absl::StatusOr<bool> BoolMember(const nlohmann::json& object, const char* key, bool otherwise);
// A whole number in the range of ids.
absl::StatusOr<int64_t> IdFrom(const nlohmann::json& value);

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_TOKENIZER_JSON_H_
