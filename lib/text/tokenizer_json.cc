#include "lib/text/tokenizer_json.h"

#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/json_guard.h"
#include "lib/base/status_macros.h"
#include "lib/text/quoted.h"

namespace sluice {
namespace {

using nlohmann::json;

// A step that we do not know must not be passed over: the ids would be wrong.
absl::Status Unknown(absl::string_view place, const json& step) {
  const std::string type = TypeOf(step);
  return absl::UnimplementedError(
      absl::StrCat(place, " ", type.empty() ? "without a type" : Quoted(type), " is not known"));
}

// The steps of a Sequence, whose list is called `list_key`; the object alone where it is none;
// nothing for nullptr.
absl::StatusOr<std::vector<const json*>> StepsOf(const json* value, const char* list_key,
                                                 absl::string_view place) {
  std::vector<const json*> steps;
  if (value == nullptr) return steps;
  if (TypeOf(*value) != "Sequence") {
    steps.push_back(value);
    return steps;
  }
  const json* list = FindMember(*value, list_key);
  if (list == nullptr || !list->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": a Sequence has no list ", list_key));
  }
  for (const json& step : *list) steps.push_back(&step);
  return steps;
}

absl::Status CheckNormalizer(const json& root) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<const json*> steps,
                          StepsOf(FindMember(root, "normalizer"), "normalizers", "normalizer"));
  return steps.empty() ? absl::OkStatus() : Unknown("normalizer", *steps[0]);
}

absl::Status CheckDecoder(const json& root) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<const json*> steps,
                          StepsOf(FindMember(root, "decoder"), "decoders", "decoder"));
  for (const json* step : steps) {
    if (TypeOf(*step) != "ByteLevel") return Unknown("decoder", *step);
  }
  return absl::OkStatus();
}

absl::Status ReadSplit(const json& step, TokenizerParts* parts) {
  const json* pattern = FindMember(step, "pattern");
  const json* regex = pattern == nullptr ? nullptr : FindMember(*pattern, "Regex");
  if (regex == nullptr || !regex->is_string()) {
    return absl::UnimplementedError("pre_tokenizer Split without a Regex is not known");
  }
  const std::string& expression = regex->get_ref<const std::string&>();
  const absl::optional<PiecePattern> known = KnownPattern(expression);
  if (!known.has_value()) {
    return absl::UnimplementedError(
        absl::StrCat("pre_tokenizer Split with the pattern ", Quoted(expression),
                     " is not known"));
  }
  const json* behavior = FindMember(step, "behavior");
  SLUICE_ASSIGN_OR_RETURN(const bool invert, BoolMember(step, "invert", false));
  // Every character is part of a match, so inverting would change the meaning, and so would any
  // behaviour that drops or joins matches.
  if (invert || behavior == nullptr || *behavior != "Isolated") {
    return absl::UnimplementedError("pre_tokenizer Split other than Isolated is not known");
  }
  parts->pattern = *known;
  return absl::OkStatus();
}

// The token of a TemplateProcessing's "SpecialToken", looked up among its special_tokens.
absl::Status AppendSpecialToken(const json& processor, const json& item, const TokenTable& tokens,
                                std::vector<int32_t>* out) {
  const json* name = FindMember(item, "id");
  if (name == nullptr || !name->is_string()) {
    return absl::InvalidArgumentError("post_processor: a SpecialToken has no id");
  }
  const std::string& spelling = name->get_ref<const std::string&>();
  const json* all = FindMember(processor, "special_tokens");
  const json* entry = all == nullptr ? nullptr : FindMember(*all, spelling);
  const json* ids = entry == nullptr ? nullptr : FindMember(*entry, "ids");
  if (ids == nullptr || !ids->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat("post_processor: special_tokens has no ids for ", Quoted(spelling)));
  }
  for (const json& value : *ids) {
    SLUICE_ASSIGN_OR_RETURN(const int64_t id, IdFrom(value));
    if (!tokens.InRange(id)) {
      return absl::InvalidArgumentError(absl::StrCat("post_processor: ", Quoted(spelling),
                                                     " has id ", id, ", but there are ",
                                                     tokens.size(), " ids"));
    }
    out->push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status ReadTemplate(const json& processor, TokenizerParts* parts) {
  const json* single = FindMember(processor, "single");
  if (single == nullptr || !single->is_array()) {
    return absl::InvalidArgumentError("post_processor: TemplateProcessing has no list single");
  }
  int num_sequences = 0;
  for (const json& item : *single) {
    if (const json* special = FindMember(item, "SpecialToken")) {
      SLUICE_RETURN_IF_ERROR(
          AppendSpecialToken(processor, *special, parts->tokens,
                             num_sequences == 0 ? &parts->prefix : &parts->suffix));
    } else if (FindMember(item, "Sequence") != nullptr) {
      ++num_sequences;
    } else {
      return absl::InvalidArgumentError(
          "post_processor: an item of single is neither SpecialToken nor Sequence");
    }
  }
  if (num_sequences == 1) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("post_processor: a template with ", num_sequences,
                                               " sequences is not known"));
}

// RoBERTa's: ["<s>", 0] in front and ["</s>", 2] behind.
absl::Status ReadRoberta(const json& processor, TokenizerParts* parts) {
  for (const auto& [key, ids] : {std::pair<const char*, std::vector<int32_t>*>{
                                     "cls", &parts->prefix},
                                 {"sep", &parts->suffix}}) {
    const json* pair = FindMember(processor, key);
    if (pair == nullptr || !pair->is_array() || pair->size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("post_processor: RobertaProcessing needs ", key, " as [token, id]"));
    }
    SLUICE_ASSIGN_OR_RETURN(const int64_t id, IdFrom((*pair)[1]));
    if (!parts->tokens.InRange(id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("post_processor: ", key, " has id ", id, ", but there are ",
                       parts->tokens.size(), " ids"));
    }
    ids->push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenizerParts> ReadAll(const json& root) {
  if (!root.is_object()) return absl::InvalidArgumentError("is not a JSON object");
  TokenizerParts parts;
  // What cannot be used is found out before the long lists are read.
  SLUICE_RETURN_IF_ERROR(CheckNormalizer(root));
  SLUICE_RETURN_IF_ERROR(CheckDecoder(root));
  SLUICE_RETURN_IF_ERROR(ReadPreTokenizer(root, &parts));
  SLUICE_RETURN_IF_ERROR(ReadModel(root, &parts));
  SLUICE_RETURN_IF_ERROR(ReadPostProcessor(root, &parts));
  return parts;
}

}  // namespace

const json* FindMember(const json& object, const std::string& key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

std::string TypeOf(const json& object) {
  const json* type = FindMember(object, "type");
  return type == nullptr || !type->is_string() ? std::string() : type->get<std::string>();
}

absl::StatusOr<bool> BoolMember(const json& object, const char* key, bool otherwise) {
  const json* value = FindMember(object, key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    return absl::InvalidArgumentError(absl::StrCat(key, " is neither true nor false"));
  }
  return value->get<bool>();
}

absl::StatusOr<int64_t> IdFrom(const json& value) {
  if (!value.is_number_integer()) return absl::InvalidArgumentError("an id is no whole number");
  const bool in_range = value.is_number_unsigned()
                            ? value.get<uint64_t>() < static_cast<uint64_t>(kMaxTokenIds)
                            : value.get<int64_t>() >= 0 && value.get<int64_t>() < kMaxTokenIds;
  if (!in_range) {
    return absl::InvalidArgumentError(
        absl::StrCat("id ", value.dump(), " is not in [0, ", kMaxTokenIds, ")"));
  }
  return value.get<int64_t>();
}

absl::Status ReadPreTokenizer(const json& root, TokenizerParts* parts) {
  SLUICE_ASSIGN_OR_RETURN(
      const std::vector<const json*> steps,
      StepsOf(FindMember(root, "pre_tokenizer"), "pretokenizers", "pre_tokenizer"));
  bool split = false;
  bool byte_level = false;
  for (const json* step : steps) {
    const std::string type = TypeOf(*step);
    if (type == "Split" && !split && !byte_level) {
      SLUICE_RETURN_IF_ERROR(ReadSplit(*step, parts));
      split = true;
      continue;
    }
    if (type != "ByteLevel" || byte_level) return Unknown("pre_tokenizer", *step);
    byte_level = true;
    SLUICE_ASSIGN_OR_RETURN(parts->add_prefix_space, BoolMember(*step, "add_prefix_space", true));
    SLUICE_ASSIGN_OR_RETURN(const bool use_regex, BoolMember(*step, "use_regex", true));
    // After a Split the prefix space would go in front of every piece, and the pieces would be cut
    // a second time.
    if (split == use_regex || (split && parts->add_prefix_space)) {
      return absl::UnimplementedError(
          "pre_tokenizer: ByteLevel with use_regex false and no Split, or with use_regex or "
          "add_prefix_space after a Split, is not known");
    }
  }
  if (byte_level) return absl::OkStatus();
  return absl::UnimplementedError("pre_tokenizer without ByteLevel is not known");
}

absl::Status ReadPostProcessor(const json& root, TokenizerParts* parts) {
  SLUICE_ASSIGN_OR_RETURN(
      const std::vector<const json*> steps,
      StepsOf(FindMember(root, "post_processor"), "processors", "post_processor"));
  bool have_template = false;
  for (const json* step : steps) {
    const std::string type = TypeOf(*step);
    if (type == "ByteLevel") continue;  // moves offsets only
    if (have_template) return Unknown("a second post_processor", *step);
    have_template = true;
    if (type == "TemplateProcessing") {
      SLUICE_RETURN_IF_ERROR(ReadTemplate(*step, parts));
    } else if (type == "RobertaProcessing") {
      SLUICE_RETURN_IF_ERROR(ReadRoberta(*step, parts));
    } else {
      return Unknown("post_processor", *step);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenizerParts> ParseTokenizerJson(absl::string_view text, absl::string_view what) {
  try {
    SLUICE_ASSIGN_OR_RETURN(const json root, ParseJson(text, what));
    absl::StatusOr<TokenizerParts> parts = ReadAll(root);
    if (!parts.ok()) return Annotate(parts.status(), what);
    return parts;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": no memory for the tokenizer"));
  }
}

}  // namespace sluice
