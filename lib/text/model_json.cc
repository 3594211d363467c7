// The parts of a tokenizer.json that make up the model: vocabulary, added tokens, merges.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/text/quoted.h"
#include "lib/text/tokenizer_json.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr std::array<absl::string_view, 6> kEndOfSequence = {
    "</s>", "<|endoftext|>", "<eos>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>"};

absl::Status CheckOptions(const json& model) {
  const std::string type = TypeOf(model);
  // Old files do not say their type; BPE is the one that has merges.
  if (type != "BPE" && !(type.empty() && FindMember(model, "merges") != nullptr)) {
    return absl::UnimplementedError(absl::StrCat("model ", Quoted(type), " is not known"));
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json* value = FindMember(model, affix);
    if (value != nullptr && *value != "") {
      return absl::UnimplementedError(absl::StrCat("model with a ", affix, " is not known"));
    }
  }
  const json* dropout = FindMember(model, "dropout");
  if (dropout != nullptr && !(dropout->is_number() && *dropout == 0)) {
    return absl::UnimplementedError("model with dropout is not known");
  }
  SLUICE_ASSIGN_OR_RETURN(const bool byte_fallback, BoolMember(model, "byte_fallback", false));
  if (byte_fallback) return absl::UnimplementedError("model with byte_fallback is not known");
  return absl::OkStatus();
}

absl::Status ReadVocab(const json& model, std::vector<TokenEntry>* entries) {
  const json* vocab = FindMember(model, "vocab");
  if (vocab == nullptr || !vocab->is_object()) {
    return absl::InvalidArgumentError("model has no object vocab");
  }
  entries->reserve(vocab->size());
  for (const auto& [spelling, value] : vocab->items()) {
    const absl::StatusOr<int64_t> id = IdFrom(value);
    if (!id.ok()) return Annotate(id.status(), absl::StrCat("vocab ", Quoted(spelling)));
    TokenEntry entry;
    entry.spelling = spelling;
    entry.id = *id;
    entry.in_vocab = true;
    entries->push_back(std::move(entry));
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const json& root, std::vector<TokenEntry>* entries) {
  const json* added = FindMember(root, "added_tokens");
  if (added == nullptr) return absl::OkStatus();
  if (!added->is_array()) return absl::InvalidArgumentError("added_tokens is no list");
  for (size_t i = 0; i < added->size(); ++i) {
    const json& item = (*added)[i];
    const std::string place = absl::StrCat("added_tokens[", i, "]");
    const json* content = FindMember(item, "content");
    const json* id_value = FindMember(item, "id");
    if (content == nullptr || !content->is_string() || id_value == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(place, " needs content and id"));
    }
    const absl::StatusOr<int64_t> id = IdFrom(*id_value);
    if (!id.ok()) return Annotate(id.status(), place);
    const absl::StatusOr<bool> special = BoolMember(item, "special", false);
    if (!special.ok()) return Annotate(special.status(), place);
    TokenEntry entry;
    entry.spelling = content->get<std::string>();
    entry.id = *id;
    entry.added = true;
    entry.special = *special;
    entries->push_back(std::move(entry));
  }
  return absl::OkStatus();
}

// The two halves of a merge: ["a", "b"] or "a b".
absl::Status SplitMerge(const json& item, absl::string_view* left, absl::string_view* right) {
  if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
    *left = item[0].get_ref<const std::string&>();
    *right = item[1].get_ref<const std::string&>();
    return absl::OkStatus();
  }
  if (!item.is_string()) {
    return absl::InvalidArgumentError("is neither \"a b\" nor [\"a\", \"b\"]");
  }
  const absl::string_view text = item.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == absl::string_view::npos || text.find(' ', space + 1) != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not two words"));
  }
  *left = text.substr(0, space);
  *right = text.substr(space + 1);
  return absl::OkStatus();
}

absl::Status InsertMerge(const json& item, uint32_t rank, TokenizerParts* parts) {
  absl::string_view left;
  absl::string_view right;
  SLUICE_RETURN_IF_ERROR(SplitMerge(item, &left, &right));
  MergeTable::Merge merge;
  merge.rank = rank;
  const std::string result = absl::StrCat(left, right);
  for (const auto& [word, id] : {std::pair<absl::string_view, int32_t*>{left, &merge.left},
                                 {right, &merge.right},
                                 {result, &merge.result}}) {
    *id = parts->tokens.IdInVocab(word);
    if (*id < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("names ", Quoted(word), ", which the vocabulary lacks"));
    }
  }
  parts->merges.Insert(merge);
  return absl::OkStatus();
}

// Merge lists taken over from merges.txt can begin with its version line.
bool IsVersionLine(const json& item) {
  return item.is_string() && item.get_ref<const std::string&>().rfind("#version", 0) == 0;
}

absl::Status ReadMerges(const json& model, TokenizerParts* parts) {
  const json* merges = FindMember(model, "merges");
  if (merges == nullptr || !merges->is_array()) {
    return absl::InvalidArgumentError("model has no list merges");
  }
  if (merges->size() > static_cast<size_t>(kMaxTokenIds)) {
    return absl::InvalidArgumentError(absl::StrCat("model has ", merges->size(),
                                                   " merges; at most ", kMaxTokenIds, " can be"));
  }
  parts->merges = MergeTable(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    if (IsVersionLine((*merges)[i])) continue;
    SLUICE_RETURN_IF_ERROR(Annotate(InsertMerge((*merges)[i], static_cast<uint32_t>(i), parts),
                                    absl::StrCat("merges[", i, "]")));
  }
  return absl::OkStatus();
}

absl::Status ReadUnknownToken(const json& model, TokenizerParts* parts) {
  SLUICE_ASSIGN_OR_RETURN(parts->fuse_unk, BoolMember(model, "fuse_unk", false));
  const json* unk = FindMember(model, "unk_token");
  if (unk == nullptr) return absl::OkStatus();
  if (!unk->is_string()) return absl::InvalidArgumentError("unk_token is no string");
  const std::string& spelling = unk->get_ref<const std::string&>();
  // Some files have "" for none.
  if (spelling.empty()) return absl::OkStatus();
  parts->unk_id = parts->tokens.IdInVocab(spelling);
  if (parts->unk_id >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("unk_token ", Quoted(spelling), " is not in the vocabulary"));
}

}  // namespace

absl::Status ReadModel(const json& root, TokenizerParts* parts) {
  const json* model = FindMember(root, "model");
  if (model == nullptr || !model->is_object()) {
    return absl::InvalidArgumentError("has no object model");
  }
  SLUICE_RETURN_IF_ERROR(CheckOptions(*model));
  SLUICE_ASSIGN_OR_RETURN(parts->ignore_merges, BoolMember(*model, "ignore_merges", false));
  std::vector<TokenEntry> entries;
  SLUICE_RETURN_IF_ERROR(ReadVocab(*model, &entries));
  SLUICE_RETURN_IF_ERROR(ReadAddedTokens(root, &entries));
  SLUICE_ASSIGN_OR_RETURN(parts->tokens, TokenTable::Build(std::move(entries)));
  SLUICE_RETURN_IF_ERROR(ReadUnknownToken(*model, parts));
  SLUICE_RETURN_IF_ERROR(ReadMerges(*model, parts));
  for (const absl::string_view spelling : kEndOfSequence) {
    const int32_t id = parts->tokens.IdOf(spelling);
    if (parts->tokens.IsSpecial(id)) parts->eos_ids.push_back(id);
  }
  std::sort(parts->eos_ids.begin(), parts->eos_ids.end());
  return absl::OkStatus();
}

}  // namespace sluice
