#include "lib/text/token_table.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/quoted.h"

namespace sluice {
namespace {

// Unused ids cost memory that the file has not paid for: at most one for each word, and this many
// (vocabularies padded to a round number).
constexpr size_t kMaxUnusedIds = size_t{1} << 16;

absl::Status CheckIds(const std::vector<TokenEntry>& entries) {
  const uint64_t limit = entries.size() * 2 + kMaxUnusedIds;
  for (const TokenEntry& entry : entries) {
    if (entry.id < 0 || entry.id >= kMaxTokenIds) {
      return absl::InvalidArgumentError(absl::StrCat("token ", Quoted(entry.spelling), " has id ",
                                                     entry.id, "; ids are below ", kMaxTokenIds));
    }
    if (static_cast<uint64_t>(entry.id) >= limit) {
      return absl::InvalidArgumentError(absl::StrCat(
          "token ", Quoted(entry.spelling), " has id ", entry.id, ", but there are only ",
          entries.size(), " tokens"));
    }
  }
  return absl::OkStatus();
}

// Sorts by id and makes one entry of a word that is in the vocabulary and among the added tokens.
absl::Status SortAndUnite(std::vector<TokenEntry>* entries) {
  std::stable_sort(entries->begin(), entries->end(),
                   [](const TokenEntry& a, const TokenEntry& b) { return a.id < b.id; });
  size_t num_kept = 0;
  for (size_t i = 0; i < entries->size(); ++i) {
    TokenEntry& entry = (*entries)[i];
    if (num_kept == 0 || (*entries)[num_kept - 1].id != entry.id) {
      if (num_kept != i) (*entries)[num_kept] = std::move(entry);
      ++num_kept;
      continue;
    }
    TokenEntry& kept = (*entries)[num_kept - 1];
    if (kept.spelling != entry.spelling) {
      return absl::InvalidArgumentError(absl::StrCat("tokens ", Quoted(kept.spelling), " and ",
                                                     Quoted(entry.spelling), " share id ",
                                                     entry.id));
    }
    kept.in_vocab |= entry.in_vocab;
    kept.added |= entry.added;
    kept.special |= entry.special;
  }
  entries->resize(num_kept);
  return absl::OkStatus();
}

}  // namespace

absl::string_view TokenTable::Spelling(int32_t id) const {
  return absl::string_view(spellings_)
      .substr(spelling_begin_[id], spelling_begin_[id + 1] - spelling_begin_[id]);
}

absl::string_view TokenTable::Bytes(int32_t id) const {
  if (!InRange(id)) return {};
  return absl::string_view(bytes_).substr(bytes_begin_[id],
                                          bytes_begin_[id + 1] - bytes_begin_[id]);
}

void TokenTable::Append(const TokenEntry& entry) {
  // Unused ids before this one are empty.
  while (size() < entry.id) {
    flags_.push_back(0);
    spelling_begin_.push_back(static_cast<uint32_t>(spellings_.size()));
    bytes_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
  }
  std::string bytes;
  if (entry.added || !UnspellBytes(entry.spelling, &bytes)) bytes = entry.spelling;
  spellings_ += entry.spelling;
  bytes_ += bytes;
  flags_.push_back((entry.in_vocab ? kInVocab : 0) | (entry.special ? kSpecial : 0));
  spelling_begin_.push_back(static_cast<uint32_t>(spellings_.size()));
  bytes_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
  by_spelling_.push_back(static_cast<int32_t>(entry.id));
}

absl::StatusOr<TokenTable> TokenTable::Build(std::vector<TokenEntry> entries) {
  if (entries.empty()) return absl::InvalidArgumentError("the vocabulary is empty");
  SLUICE_RETURN_IF_ERROR(CheckIds(entries));
  SLUICE_RETURN_IF_ERROR(SortAndUnite(&entries));
  Checked spelling_bytes(0);
  for (const TokenEntry& entry : entries) spelling_bytes = spelling_bytes + entry.spelling.size();
  if (!spelling_bytes.valid_and_at_most(std::numeric_limits<uint32_t>::max())) {
    return absl::InvalidArgumentError("the vocabulary's words pass 4 GiB");
  }

  TokenTable table;
  const size_t num_ids = static_cast<size_t>(entries.back().id) + 1;
  table.spellings_.reserve(spelling_bytes.value());
  table.bytes_.reserve(spelling_bytes.value());
  table.spelling_begin_.reserve(num_ids + 1);
  table.bytes_begin_.reserve(num_ids + 1);
  table.flags_.reserve(num_ids);
  table.by_spelling_.reserve(entries.size());
  table.spelling_begin_.push_back(0);
  table.bytes_begin_.push_back(0);
  for (const TokenEntry& entry : entries) table.Append(entry);
  table.bytes_.shrink_to_fit();

  std::vector<int32_t>& order = table.by_spelling_;
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return table.Spelling(a) < table.Spelling(b);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (table.Spelling(order[i - 1]) != table.Spelling(order[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat("token ", Quoted(table.Spelling(order[i])),
                                                   " has ids ", order[i - 1], " and ", order[i]));
  }
  return table;
}

int32_t TokenTable::IdOf(absl::string_view spelling) const {
  const auto at = std::lower_bound(
      by_spelling_.begin(), by_spelling_.end(), spelling,
      [this](int32_t id, absl::string_view wanted) { return Spelling(id) < wanted; });
  return at == by_spelling_.end() || Spelling(*at) != spelling ? -1 : *at;
}

int32_t TokenTable::IdInVocab(absl::string_view spelling) const {
  const int32_t id = IdOf(spelling);
  return id >= 0 && (flags_[id] & kInVocab) != 0 ? id : -1;
}

uint64_t TokenTable::resident_bytes() const {
  return spellings_.capacity() + bytes_.capacity() +
         (spelling_begin_.capacity() + bytes_begin_.capacity()) * sizeof(uint32_t) +
         flags_.capacity() + by_spelling_.capacity() * sizeof(int32_t);
}

}  // namespace sluice
