#include "lib/text/utf8.h"

#include <cstdint>

namespace sluice {
namespace {

// What a first byte says: how long the character is and what its second byte may be (the limits
// shut out overlong forms, surrogates and values above U+10FFFF).
struct Lead {
  size_t bytes;  // 0: no character begins so
  uint8_t second_min;
  uint8_t second_max;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Repairs `text` into `*out`; returns where an incomplete character at the end begins.
size_t RepairDecided(absl::string_view text, std::string* out) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = DecodeUtf8(text.substr(at));
    if (step.kind == Utf8Kind::kIncomplete) return at;
    if (step.kind == Utf8Kind::kChar) {
      out->append(text.data() + at, step.bytes);
    } else {
      out->append(kReplacementUtf8.data(), kReplacementUtf8.size());
    }
    at += step.bytes;
  }
  return at;
}

}  // namespace

Utf8Step DecodeUtf8(absl::string_view text) {
  const uint8_t first = static_cast<uint8_t>(text[0]);
  const Lead lead = LeadOf(first);
  if (lead.bytes == 0) return {Utf8Kind::kIllFormed, 1, kReplacementChar};
  if (lead.bytes == 1) return {Utf8Kind::kChar, 1, first};
  char32_t value = first & (0x7Fu >> lead.bytes);
  for (size_t i = 1; i < lead.bytes; ++i) {
    if (i == text.size()) return {Utf8Kind::kIncomplete, i, kReplacementChar};
    const uint8_t byte = static_cast<uint8_t>(text[i]);
    const uint8_t min = i == 1 ? lead.second_min : 0x80;
    const uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return {Utf8Kind::kIllFormed, i, kReplacementChar};
    value = (value << 6) | (byte & 0x3Fu);
  }
  return {Utf8Kind::kChar, lead.bytes, value};
}

bool IsValidUtf8(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = DecodeUtf8(text);
    if (step.kind != Utf8Kind::kChar) return false;
    text.remove_prefix(step.bytes);
  }
  return true;
}

std::string RepairUtf8(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (RepairDecided(text, &out) < text.size()) {
    out.append(kReplacementUtf8.data(), kReplacementUtf8.size());
  }
  return out;
}

void DrainUtf8(std::string* pending, std::string* out) {
  pending->erase(0, RepairDecided(*pending, out));
}

void AppendUtf8(char32_t code_point, std::string* out) {
  const uint32_t c = code_point;
  const auto continuation = [&](int shift) {
    out->push_back(static_cast<char>(0x80 | ((c >> shift) & 0x3F)));
  };
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (c >> 6)));
    continuation(0);
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (c >> 12)));
    continuation(6);
    continuation(0);
  } else {
    out->push_back(static_cast<char>(0xF0 | (c >> 18)));
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

}  // namespace sluice
