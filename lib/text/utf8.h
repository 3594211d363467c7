// UTF-8 that nobody vouches for.
#ifndef SLUICE_LIB_TEXT_UTF8_H_
#define SLUICE_LIB_TEXT_UTF8_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace sluice {

// U+FFFD, which stands for bytes that form no character.
inline constexpr char32_t kReplacementChar = 0xFFFD;
inline constexpr absl::string_view kReplacementUtf8("\xEF\xBF\xBD", 3);

enum class Utf8Kind { kChar, kIllFormed, kIncomplete };

// What stands at the beginning of a text.
struct Utf8Step {
  Utf8Kind kind;
  size_t bytes;        // its length, >= 1
  char32_t code_point;  // kReplacementChar unless kChar
};

// Looks at the beginning of `text`, which is not empty. kIllFormed is a maximal ill-formed part
// (Unicode 16.0, section 3.9: the longest prefix of a character that can be, or one byte);
// kIncomplete is the same where the text ends before that is decided.
Utf8Step DecodeUtf8(absl::string_view text);

bool IsValidUtf8(absl::string_view text);

// `text` with U+FFFD for each maximal ill-formed part, also for an incomplete one at the end.
std::string RepairUtf8(absl::string_view text);

// Moves the decided part of `*pending` to `*out`, repaired; leaves an incomplete character (at most
// three bytes) behind.
void DrainUtf8(std::string* pending, std::string* out);

void AppendUtf8(char32_t code_point, std::string* out);

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_UTF8_H_
