#include "lib/text/byte_alphabet.h"

#include <array>

#include "lib/text/utf8.h"

namespace sluice {
namespace {

constexpr int kSpelledChars = 0x100 + 68;
constexpr int16_t kNoByte = -1;

struct Alphabet {
  std::array<char32_t, 256> spelled{};
  std::array<int16_t, kSpelledChars> bytes{};  // by code point
};

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.bytes) byte = kNoByte;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int spelled = StandsForItself(byte) ? byte : next++;
    alphabet.spelled[byte] = static_cast<char32_t>(spelled);
    alphabet.bytes[spelled] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

char32_t SpellByte(uint8_t byte) { return kAlphabet.spelled[byte]; }

std::string SpellBytes(absl::string_view bytes) {
  std::string spelling;
  for (const char byte : bytes) AppendUtf8(SpellByte(static_cast<uint8_t>(byte)), &spelling);
  return spelling;
}

bool UnspellBytes(absl::string_view spelling, std::string* bytes) {
  bytes->clear();
  while (!spelling.empty()) {
    const Utf8Step step = DecodeUtf8(spelling);
    if (step.kind != Utf8Kind::kChar || step.code_point >= kSpelledChars) return false;
    const int16_t byte = kAlphabet.bytes[step.code_point];
    if (byte == kNoByte) return false;
    bytes->push_back(static_cast<char>(byte));
    spelling.remove_prefix(step.bytes);
  }
  return true;
}

}  // namespace sluice
