// Cuts text into the pieces that byte-pair merges may not cross.
#ifndef SLUICE_LIB_TEXT_PRETOKENIZER_H_
#define SLUICE_LIB_TEXT_PRETOKENIZER_H_

#include <cstddef>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace sluice {

// The regular expressions that we know. They are scanned by hand: a tokenizer.json can name any
// expression at all, and a matcher that backtracks lets it, or a long text, take forever.
enum class PiecePattern { kGpt2, kLlama3, kQwen2 };

// The pattern that is written exactly so, or nothing.
absl::optional<PiecePattern> KnownPattern(absl::string_view regex);

// Gives the pieces of a text one by one; joined they are the text.
class PieceScanner {
 public:
  // `text` is valid UTF-8 and outlives the scanner.
  PieceScanner(PiecePattern pattern, absl::string_view text) : pattern_(pattern), rest_(text) {}

  // False at the end. O(n) over all calls.
  bool Next(absl::string_view* piece);

 private:
  const PiecePattern pattern_;
  absl::string_view rest_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_PRETOKENIZER_H_
