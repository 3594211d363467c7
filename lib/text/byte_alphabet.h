// The spelling that byte-level BPE gives to raw bytes: one printable character for each.
#ifndef SLUICE_LIB_TEXT_BYTE_ALPHABET_H_
#define SLUICE_LIB_TEXT_BYTE_ALPHABET_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace sluice {

// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes are U+0100 upwards in
// order (so a space is U+0120).
char32_t SpellByte(uint8_t byte);

// The bytes as the vocabulary spells them, UTF-8.
std::string SpellBytes(absl::string_view bytes);

// The bytes that `spelling` stands for; false when a character of it is not of the alphabet, as in
// words that were added by hand.
bool UnspellBytes(absl::string_view spelling, std::string* bytes);

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_BYTE_ALPHABET_H_
