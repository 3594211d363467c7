// Byte-level BPE (GPT-2, OPT), read from tokenizer.json or from vocab.json + merges.txt.
#ifndef SLUICE_LIB_TEXT_TOKENIZER_H_
#define SLUICE_LIB_TEXT_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sluice {

// Threads: const methods may overlap.
class Tokenizer {
 public:
  // A Hugging Face tokenizer.json: model BPE; merges as "a b" strings or ["a","b"] pairs;
  // normalizer absent or null; pre-tokenizer ByteLevel (with or without prefix space; use_regex
  // true or absent) or a Split with one of the patterns that we know; post-processor absent, null,
  // ByteLevel, or a TemplateProcessing that puts special tokens before and after. Anything else:
  // kUnimplemented naming it. Broken input: kInvalidArgument naming `what` and the place.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(absl::string_view json,
                                                             absl::string_view what);

  // The tokenizer.json text that says the same as GPT-2's vocab.json and merges.txt, with the
  // added tokens and the template that Hugging Face's OPT tokenizer has: `</s>` in front.
  //   special_tokens_map / tokenizer_config  the files' texts, or empty
  static absl::StatusOr<std::string> JsonFromVocabAndMerges(
      absl::string_view vocab_json, absl::string_view merges_txt,
      absl::string_view tokenizer_config, absl::string_view special_tokens_map);

  virtual ~Tokenizer() = default;

  // Ids of `text`. Special tokens spelled in the text are ordinary text. Invalid UTF-8 counts as
  // U+FFFD, one for each maximal ill-formed part, as Python's decode(errors="replace") does.
  // With `add_special` the template's tokens are put around. O(n log n) in the length.
  virtual std::vector<int32_t> Encode(absl::string_view text, bool add_special) const = 0;

  // Text of `ids`; bytes that form no character come out as U+FFFD. Special tokens are spelled
  // out. Unknown ids (>= vocab_size) are kOutOfRange.
  virtual absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const = 0;

  // The raw bytes of one token (perhaps part of a character); empty for an unknown id.
  virtual absl::string_view TokenBytes(int32_t id) const = 0;

  virtual bool IsSpecial(int32_t id) const = 0;
  // Id of an added or ordinary token by its spelling, or -1.
  virtual int32_t IdOf(absl::string_view token) const = 0;
  // One more than the largest id.
  virtual int32_t vocab_size() const = 0;
  // Ids that the tokenizer itself calls end of sequence: an added special token spelled </s>,
  // <|endoftext|>, <eos>, <|end_of_text|>, <|im_end|> or <|eot_id|>.
  virtual std::vector<int32_t> eos_ids() const = 0;
  // An estimate of the memory it holds, for the memory plan.
  virtual uint64_t resident_bytes() const = 0;
};

// An upper estimate of resident_bytes() from the size of the tokenizer.json.
uint64_t EstimateTokenizerBytes(uint64_t json_bytes);

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_TOKENIZER_H_
