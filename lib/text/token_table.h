// The words of a vocabulary: spelling, bytes and kind of every id.
#ifndef SLUICE_LIB_TEXT_TOKEN_TABLE_H_
#define SLUICE_LIB_TEXT_TOKEN_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

// Ids from a file are below this. The largest vocabularies have 2^18 words; the limit keeps every
// id an int32_t and the tables small.
inline constexpr int64_t kMaxTokenIds = int64_t{1} << 24;

// One word as a file gives it.
struct TokenEntry {
  std::string spelling;
  int64_t id = 0;
  bool in_vocab = false;  // of the model's own vocabulary
  bool added = false;     // of the added tokens; a word may be both
  bool special = false;
};

class TokenTable {
 public:
  TokenTable() = default;

  // kInvalidArgument, naming the word: an id out of range or far beyond the number of words, two
  // words with one id, one word with two ids.
  static absl::StatusOr<TokenTable> Build(std::vector<TokenEntry> entries);

  int32_t size() const { return static_cast<int32_t>(flags_.size()); }
  bool InRange(int64_t id) const { return id >= 0 && id < size(); }

  // What the token stands for in a text: its spelling in the byte alphabet undone. Added tokens
  // and words that are not spelled in that alphabet stand for themselves. Empty for an unused id.
  absl::string_view Bytes(int32_t id) const;
  bool IsSpecial(int32_t id) const { return InRange(id) && (flags_[id] & kSpecial) != 0; }

  // Id by spelling or -1; IdInVocab passes over words that are only added.
  int32_t IdOf(absl::string_view spelling) const;
  int32_t IdInVocab(absl::string_view spelling) const;

  uint64_t resident_bytes() const;

 private:
  static constexpr uint8_t kInVocab = 1;
  static constexpr uint8_t kSpecial = 2;

  absl::string_view Spelling(int32_t id) const;
  void Append(const TokenEntry& entry);

  // Offsets have one more element than there are ids.
  std::string spellings_;
  std::string bytes_;
  std::vector<uint32_t> spelling_begin_;
  std::vector<uint32_t> bytes_begin_;
  std::vector<uint8_t> flags_;
  std::vector<int32_t> by_spelling_;  // used ids, ordered by spelling
};

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_TOKEN_TABLE_H_
