#include "lib/text/pretokenizer.h"

#include <string>
#include <vector>

#include "lib/text/unicode_classes.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

std::vector<std::string> Pieces(PiecePattern pattern, absl::string_view text) {
  std::vector<std::string> pieces;
  PieceScanner scanner(pattern, text);
  absl::string_view piece;
  while (scanner.Next(&piece)) pieces.emplace_back(piece);
  return pieces;
}

using Strings = std::vector<std::string>;

TEST_CASE("GPT-2's pieces", "[text]") {
  const auto pieces = [](absl::string_view text) { return Pieces(PiecePattern::kGpt2, text); };
  CHECK(pieces("").empty());
  CHECK(pieces("Hello world's 12 a1!") ==
        Strings{"Hello", " world", "'s", " 12", " a", "1", "!"});
  CHECK(pieces("a  b") == Strings{"a", " ", " b"});
  CHECK(pieces("a \n b ") == Strings{"a", " \n", " b", " "});
  CHECK(pieces("a\t\tb") == Strings{"a", "\t", "\t", "b"});
  CHECK(pieces("'S 'll''d") == Strings{"'", "S", " '", "ll", "''", "d"});
  // U+00A0 is white space but no space; U+180E is none since Unicode 6.3.
  CHECK(pieces("a\xC2\xA0z") == Strings{"a", "\xC2\xA0", "z"});
  CHECK(pieces("!\xE1\xA0\x8E!") == Strings{"!\xE1\xA0\x8E!"});
}

TEST_CASE("Llama 3's and Qwen 2's pieces", "[text]") {
  CHECK(Pieces(PiecePattern::kLlama3, "IT'LL 1234 (x)\n\n  y") ==
        Strings{"IT", "'LL", " ", "123", "4", " (", "x", ")\n\n", " ", " y"});
  CHECK(Pieces(PiecePattern::kQwen2, "12 \r\n \tz") == Strings{"1", "2", " \r\n", " ", "\tz"});
}

TEST_CASE("known patterns are known to the letter", "[text]") {
  CHECK(KnownPattern(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+)"
                     R"(| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)")
            .has_value());
  CHECK_FALSE(KnownPattern("").has_value());
  CHECK_FALSE(KnownPattern("(a+)+$").has_value());
}

TEST_CASE("classes at the edges", "[text]") {
  CHECK(Classify(0) == CharClass::kOther);
  CHECK(Classify('\t') == CharClass::kSpace);
  CHECK(Classify(0x85) == CharClass::kSpace);
  CHECK(Classify(0x1C) == CharClass::kOther);
  CHECK(Classify(0xAA) == CharClass::kLetter);
  CHECK(Classify(0xB2) == CharClass::kNumber);
  CHECK(Classify(0x3000) == CharClass::kSpace);
  CHECK(Classify(0x10D40) == CharClass::kNumber);  // new in Unicode 16
  CHECK(Classify(0x10FFFF) == CharClass::kOther);
  CHECK(Classify(0xFFFFFFFF) == CharClass::kOther);
}

}  // namespace
}  // namespace sluice
