#include "lib/text/tokenizer.h"

#include <array>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/tokenizer_json.h"
#include "lib/text/utf8.h"

namespace sluice {
namespace {

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
    for (int byte = 0; byte < 256; ++byte) {
      const char raw = static_cast<char>(byte);
      byte_ids_[byte] = parts_.tokens.IdInVocab(SpellBytes(absl::string_view(&raw, 1)));
    }
  }

  std::vector<int32_t> Encode(absl::string_view text, bool add_special) const override {
    std::string owned;
    if (!IsValidUtf8(text)) {
      owned = RepairUtf8(text);
      text = owned;
    }
    if (parts_.add_prefix_space && !text.empty() && text[0] != ' ') {
      owned = absl::StrCat(" ", text);
      text = owned;
    }
    std::vector<int32_t> ids;
    if (add_special) ids = parts_.prefix;
    EncodeValid(text, &ids);
    if (add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
    return ids;
  }

  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const override {
    std::string bytes;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!parts_.tokens.InRange(ids[i])) {
        return absl::OutOfRangeError(absl::StrCat("token ", i, " has id ", ids[i],
                                                  "; ids are in [0, ", vocab_size(), ")"));
      }
      const absl::string_view token = parts_.tokens.Bytes(ids[i]);
      bytes.append(token.data(), token.size());
    }
    return RepairUtf8(bytes);
  }

  absl::string_view TokenBytes(int32_t id) const override { return parts_.tokens.Bytes(id); }
  bool IsSpecial(int32_t id) const override { return parts_.tokens.IsSpecial(id); }
  int32_t IdOf(absl::string_view token) const override { return parts_.tokens.IdOf(token); }
  int32_t vocab_size() const override { return parts_.tokens.size(); }
  std::vector<int32_t> eos_ids() const override { return parts_.eos_ids; }
  uint64_t resident_bytes() const override {
    return sizeof(*this) + parts_.tokens.resident_bytes() + parts_.merges.resident_bytes() +
           (parts_.prefix.capacity() + parts_.suffix.capacity() + parts_.eos_ids.capacity()) *
               sizeof(int32_t);
  }

 private:
  void EncodeValid(absl::string_view text, std::vector<int32_t>* ids) const {
    BpeMerger merger(parts_.merges);
    std::vector<int32_t> piece_ids;
    PieceScanner scanner(parts_.pattern, text);
    absl::string_view piece;
    while (scanner.Next(&piece)) {
      if (parts_.ignore_merges) {
        if (const int32_t id = parts_.tokens.IdInVocab(SpellBytes(piece)); id >= 0) {
          ids->push_back(id);
          continue;
        }
      }
      // A piece of a gigabyte is merged in parts: positions are 32-bit.
      for (size_t at = 0; at < piece.size(); at += BpeMerger::kMaxPieceIds) {
        BytesToIds(piece.substr(at, BpeMerger::kMaxPieceIds), &piece_ids);
        merger.MergePiece(&piece_ids);
        ids->insert(ids->end(), piece_ids.begin(), piece_ids.end());
      }
    }
  }

  void BytesToIds(absl::string_view piece, std::vector<int32_t>* ids) const {
    ids->clear();
    bool after_unknown = false;
    for (const char byte : piece) {
      const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
      if (id >= 0) {
        ids->push_back(id);
      } else if (parts_.unk_id >= 0 && !(after_unknown && parts_.fuse_unk)) {
        ids->push_back(parts_.unk_id);
      }
      after_unknown = id < 0;
    }
  }

  const TokenizerParts parts_;
  std::array<int32_t, 256> byte_ids_;  // -1: the vocabulary lacks the byte
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(absl::string_view json,
                                                               absl::string_view what) {
  SLUICE_ASSIGN_OR_RETURN(TokenizerParts parts, ParseTokenizerJson(json, what));
  return std::unique_ptr<Tokenizer>(new BpeTokenizer(std::move(parts)));
}

uint64_t EstimateTokenizerBytes(uint64_t json_bytes) {
  // The dearest word is "a":0, with an unused id beside it: 6 bytes of text, 24 of tables. The
  // dearest merge, "a b", costs 6 and 22. The constant covers the ids that may be unused anyway
  // (9 bytes for each of 2^16) and the objects themselves.
  const Checked bytes = Checked(json_bytes) * 4 + (uint64_t{1} << 20);
  return bytes.valid() ? bytes.value() : std::numeric_limits<uint64_t>::max();
}

}  // namespace sluice
