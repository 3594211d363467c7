// The three character classes that the pre-tokenisers' patterns are made of.
#ifndef SLUICE_LIB_TEXT_UNICODE_CLASSES_H_
#define SLUICE_LIB_TEXT_UNICODE_CLASSES_H_

#include <cstdint>

namespace sluice {

// \p{L}, \p{N}, \s (the property White_Space), and what is none of them.
enum class CharClass : uint8_t { kLetter, kNumber, kSpace, kOther };

// Any value, also one that is no code point (kOther). O(log of some 700 ranges).
CharClass Classify(char32_t c);

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_UNICODE_CLASSES_H_
