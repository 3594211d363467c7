// GPT-2's two files, vocab.json and merges.txt, said as a tokenizer.json.
#include <map>
#include <new>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "lib/base/json_guard.h"
#include "lib/base/status_macros.h"
#include "lib/text/quoted.h"
#include "lib/text/tokenizer.h"
#include "lib/text/tokenizer_json.h"
#include "lib/text/utf8.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr char kOptBos[] = "</s>";

constexpr char kConfigFile[] = "tokenizer_config.json";
constexpr char kMapFile[] = "special_tokens_map.json";

// The smaller files that say which tokens are special; objects, perhaps empty.
struct Settings {
  json config;
  json map;
};

struct AddedToken {
  int64_t id;
  bool special;
};
using AddedTokens = std::map<std::string, AddedToken>;

absl::StatusOr<json> ParseObject(absl::string_view text, absl::string_view what) {
  if (text.empty()) return json::object();
  SLUICE_ASSIGN_OR_RETURN(json value, ParseJson(text, what));
  if (value.is_object()) return value;
  return absl::InvalidArgumentError(absl::StrCat(what, ": is not a JSON object"));
}

// A token is written as a string or as an object with "content".
absl::StatusOr<std::string> SpellingOf(const json& value, absl::string_view file,
                                       absl::string_view key) {
  const json* content = value.is_object() ? FindMember(value, "content") : &value;
  if (content != nullptr && content->is_string()) return content->get<std::string>();
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", key, " is no token"));
}

// The token for `key`: what tokenizer_config.json says, else special_tokens_map.json, else
// `otherwise`. Empty: none.
absl::StatusOr<std::string> NamedToken(const Settings& settings, const char* key,
                                       absl::string_view otherwise) {
  for (const auto& [name, file] : {std::pair<const char*, const json*>{kConfigFile,
                                                                       &settings.config},
                                   {kMapFile, &settings.map}}) {
    // A null says "none", which is not the same as saying nothing.
    const auto at = file->find(key);
    if (at == file->end()) continue;
    if (at->is_null()) return std::string();
    return SpellingOf(*at, name, key);
  }
  return std::string(otherwise);
}

// added_tokens_decoder: {"50265": {"content": "<mask>", "special": true}, ...}
absl::Status AddFromDecoder(const json& config, AddedTokens* added) {
  const json* decoder = FindMember(config, "added_tokens_decoder");
  if (decoder == nullptr) return absl::OkStatus();
  if (!decoder->is_object()) {
    return absl::InvalidArgumentError("tokenizer_config.json: added_tokens_decoder is no object");
  }
  for (const auto& [key, value] : decoder->items()) {
    int64_t id = 0;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || id >= kMaxTokenIds) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tokenizer_config.json: added_tokens_decoder has the id ", Quoted(key)));
    }
    SLUICE_ASSIGN_OR_RETURN(const std::string spelling,
                            SpellingOf(value, kConfigFile, "added_tokens_decoder"));
    SLUICE_ASSIGN_OR_RETURN(const bool special, BoolMember(value, "special", false));
    (*added)[spelling] = {id, special};
  }
  return absl::OkStatus();
}

// Marks a token as special if it has an id. Names without one are passed over: to invent an id
// beyond the vocabulary would be to invent a row of the embedding.
absl::Status AddNamed(const json& vocab, const std::string& spelling, AddedTokens* added) {
  if (spelling.empty()) return absl::OkStatus();
  const auto known = added->find(spelling);
  if (known != added->end()) {
    known->second.special = true;
    return absl::OkStatus();
  }
  const auto at = vocab.find(spelling);
  if (at == vocab.end()) return absl::OkStatus();
  const absl::StatusOr<int64_t> id = IdFrom(*at);
  if (!id.ok()) return Annotate(id.status(), absl::StrCat("vocab.json: ", Quoted(spelling)));
  (*added)[spelling] = {*id, true};
  return absl::OkStatus();
}

absl::Status AddAdditional(const Settings& settings, const json& vocab, AddedTokens* added) {
  constexpr char kKey[] = "additional_special_tokens";
  for (const auto& [name, file] : {std::pair<const char*, const json*>{kConfigFile,
                                                                       &settings.config},
                                   {kMapFile, &settings.map}}) {
    const json* list = FindMember(*file, kKey);
    if (list == nullptr) continue;
    if (!list->is_array()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", kKey, " is no list"));
    }
    for (const json& item : *list) {
      SLUICE_ASSIGN_OR_RETURN(const std::string spelling, SpellingOf(item, name, kKey));
      SLUICE_RETURN_IF_ERROR(AddNamed(vocab, spelling, added));
    }
  }
  return absl::OkStatus();
}

// The lines of merges.txt as a list of "a b".
absl::StatusOr<json> MergeList(absl::string_view merges_txt) {
  json merges = json::array();
  size_t line_number = 0;
  for (absl::string_view line : absl::StrSplit(merges_txt, '\n')) {
    ++line_number;
    line = absl::StripSuffix(line, "\r");
    if (line.empty() || absl::StartsWith(line, "#version")) continue;
    const size_t space = line.find(' ');
    const bool two_words = space != absl::string_view::npos && space == line.rfind(' ') &&
                           space > 0 && space + 1 < line.size();
    if (!two_words || !IsValidUtf8(line)) {
      return absl::InvalidArgumentError(absl::StrCat("merges.txt: line ", line_number, ", ",
                                                     Quoted(line), ", is not two words"));
    }
    merges.push_back(std::string(line));
  }
  return merges;
}

// What the template puts before and after the text.
struct Around {
  std::string before;
  std::string after;
};

absl::StatusOr<Around> TokensAround(const Settings& settings, const std::string& bos,
                                    const std::string& eos, const AddedTokens& added) {
  Around around;
  // GPT2Tokenizer adds nothing unless told; OPT's folders tell it, and one without the file is
  // taken for OPT's when it has OPT's token.
  SLUICE_ASSIGN_OR_RETURN(
      const bool add_bos,
      BoolMember(settings.config, "add_bos_token", bos == kOptBos && added.count(bos) > 0));
  SLUICE_ASSIGN_OR_RETURN(const bool add_eos, BoolMember(settings.config, "add_eos_token", false));
  if (add_bos) around.before = bos;
  if (add_eos) around.after = eos;
  for (const std::string& spelling : {around.before, around.after}) {
    if (spelling.empty() || added.count(spelling) > 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer_config.json puts ", Quoted(spelling),
                     " around the text, but the vocabulary lacks it"));
  }
  return around;
}

json TemplateJson(const Around& around, const AddedTokens& added) {
  if (around.before.empty() && around.after.empty()) return nullptr;
  json single = json::array();
  json special_tokens = json::object();
  const auto add = [&](const std::string& spelling) {
    if (spelling.empty()) return;
    single.push_back({{"SpecialToken", {{"id", spelling}, {"type_id", 0}}}});
    special_tokens[spelling] = {{"id", spelling},
                                {"ids", json::array({added.at(spelling).id})},
                                {"tokens", json::array({spelling})}};
  };
  add(around.before);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(around.after);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", json::array()},
          {"special_tokens", std::move(special_tokens)}};
}

json AddedTokensJson(const AddedTokens& added) {
  json list = json::array();
  for (const auto& [spelling, token] : added) {
    list.push_back({{"id", token.id},
                    {"content", spelling},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", token.special}});
  }
  return list;
}

absl::StatusOr<std::string> Build(absl::string_view vocab_json, absl::string_view merges_txt,
                                  const Settings& settings) {
  SLUICE_ASSIGN_OR_RETURN(json vocab, ParseObject(vocab_json, "vocab.json"));
  AddedTokens added;
  SLUICE_RETURN_IF_ERROR(AddFromDecoder(settings.config, &added));
  const char* end = vocab.contains(kOptBos) ? kOptBos : "<|endoftext|>";
  SLUICE_ASSIGN_OR_RETURN(const std::string bos, NamedToken(settings, "bos_token", end));
  SLUICE_ASSIGN_OR_RETURN(const std::string eos, NamedToken(settings, "eos_token", end));
  SLUICE_ASSIGN_OR_RETURN(const std::string unk, NamedToken(settings, "unk_token", end));
  SLUICE_ASSIGN_OR_RETURN(const std::string pad, NamedToken(settings, "pad_token", "<pad>"));
  for (const std::string& spelling : {bos, eos, unk, pad}) {
    SLUICE_RETURN_IF_ERROR(AddNamed(vocab, spelling, &added));
  }
  SLUICE_RETURN_IF_ERROR(AddAdditional(settings, vocab, &added));
  SLUICE_ASSIGN_OR_RETURN(const Around around, TokensAround(settings, bos, eos, added));
  SLUICE_ASSIGN_OR_RETURN(const bool prefix_space,
                          BoolMember(settings.config, "add_prefix_space", false));
  SLUICE_ASSIGN_OR_RETURN(json merges, MergeList(merges_txt));
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", prefix_space},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  json model = {{"type", "BPE"},         {"dropout", nullptr},
                {"unk_token", nullptr},  {"continuing_subword_prefix", ""},
                {"end_of_word_suffix", ""}, {"fuse_unk", false},
                {"byte_fallback", false},   {"ignore_merges", false}};
  model["vocab"] = std::move(vocab);
  model["merges"] = std::move(merges);
  json root = {{"version", "1.0"},        {"truncation", nullptr},
               {"padding", nullptr},      {"added_tokens", AddedTokensJson(added)},
               {"normalizer", nullptr},   {"pre_tokenizer", byte_level},
               {"decoder", byte_level},   {"post_processor", TemplateJson(around, added)}};
  root["model"] = std::move(model);
  return root.dump();
}

}  // namespace

absl::StatusOr<std::string> Tokenizer::JsonFromVocabAndMerges(
    absl::string_view vocab_json, absl::string_view merges_txt, absl::string_view tokenizer_config,
    absl::string_view special_tokens_map) {
  try {
    Settings settings;
    SLUICE_ASSIGN_OR_RETURN(settings.config, ParseObject(tokenizer_config, kConfigFile));
    SLUICE_ASSIGN_OR_RETURN(settings.map, ParseObject(special_tokens_map, kMapFile));
    return Build(vocab_json, merges_txt, settings);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("vocab.json: no memory for the tokenizer");
  }
}

}  // namespace sluice
