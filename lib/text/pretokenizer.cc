#include "lib/text/pretokenizer.h"

#include <limits>

#include "lib/text/unicode_classes.h"
#include "lib/text/utf8.h"

namespace sluice {
namespace {

constexpr char kGpt2Regex[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr char kLlama3Regex[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen2Regex[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

struct Char {
  size_t bytes;  // 0 at the end of the text
  char32_t code_point;
  CharClass kind;
};

Char CharAt(absl::string_view text, size_t at) {
  if (at >= text.size()) return {0, 0, CharClass::kOther};
  const Utf8Step step = DecodeUtf8(text.substr(at));
  return {step.bytes, step.code_point, Classify(step.code_point)};
}

bool IsNewline(char32_t c) { return c == '\r' || c == '\n'; }

// Where the run of at most `max_chars` characters of `kind` that begins at `at` ends.
size_t RunEnd(absl::string_view text, size_t at, CharClass kind, size_t max_chars = kNoLimit) {
  for (size_t num_chars = 0; num_chars < max_chars; ++num_chars) {
    const Char next = CharAt(text, at);
    if (next.bytes == 0 || next.kind != kind) break;
    at += next.bytes;
  }
  return at;
}

// 's 't 're 've 'm 'll 'd: its length, or 0. Without regard to case the long s is an s too.
size_t ContractionBytes(absl::string_view text, bool any_case) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  const auto letter = [&](size_t i) -> char {
    if (i >= text.size()) return '\0';
    const char c = text[i];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = letter(1);
  const char second = letter(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  if (any_case && text.substr(1, 2) == "\xC5\xBF") return 3;
  return 0;
}

// The alternatives `\s+(?!\S)|\s+` (after `\s*[\r\n]+`, where the pattern has it) on a text that
// begins with white space.
size_t SpacePieceBytes(absl::string_view text, bool newlines_first) {
  size_t end = 0;
  size_t last_bytes = 0;
  size_t newline_end = 0;
  for (Char next = CharAt(text, 0); next.bytes > 0 && next.kind == CharClass::kSpace;
       next = CharAt(text, end)) {
    end += next.bytes;
    last_bytes = next.bytes;
    if (IsNewline(next.code_point)) newline_end = end;
  }
  if (newlines_first && newline_end > 0) return newline_end;
  // The last space before a word belongs to what follows, unless it is the only one.
  return end == text.size() || end == last_bytes ? end : end - last_bytes;
}

size_t Gpt2PieceBytes(absl::string_view text) {
  if (const size_t bytes = ContractionBytes(text, /*any_case=*/false); bytes > 0) return bytes;
  const size_t start = text[0] == ' ' ? 1 : 0;
  const Char first = CharAt(text, start);
  if (first.bytes == 0 || first.kind == CharClass::kSpace) {
    return SpacePieceBytes(text, /*newlines_first=*/false);
  }
  return RunEnd(text, start, first.kind);
}

// ` ?[^\s\p{L}\p{N}]+[\r\n]*`: its length, or 0.
size_t OtherPieceBytes(absl::string_view text) {
  const size_t start = text[0] == ' ' ? 1 : 0;
  size_t end = RunEnd(text, start, CharClass::kOther);
  if (end == start) return 0;
  while (end < text.size() && IsNewline(static_cast<unsigned char>(text[end]))) ++end;
  return end;
}

size_t Llama3PieceBytes(absl::string_view text, size_t max_digits) {
  if (const size_t bytes = ContractionBytes(text, /*any_case=*/true); bytes > 0) return bytes;
  const Char first = CharAt(text, 0);
  if (first.kind == CharClass::kLetter) return RunEnd(text, 0, CharClass::kLetter);
  if (first.kind == CharClass::kNumber) return RunEnd(text, 0, CharClass::kNumber, max_digits);
  if (!IsNewline(first.code_point)) {
    const size_t end = RunEnd(text, first.bytes, CharClass::kLetter);
    if (end > first.bytes) return end;
  }
  if (const size_t bytes = OtherPieceBytes(text); bytes > 0) return bytes;
  return SpacePieceBytes(text, /*newlines_first=*/true);
}

size_t PieceBytes(PiecePattern pattern, absl::string_view text) {
  switch (pattern) {
    case PiecePattern::kGpt2:
      return Gpt2PieceBytes(text);
    case PiecePattern::kLlama3:
      return Llama3PieceBytes(text, 3);
    case PiecePattern::kQwen2:
      return Llama3PieceBytes(text, 1);
  }
  return text.size();
}

}  // namespace

absl::optional<PiecePattern> KnownPattern(absl::string_view regex) {
  if (regex == kGpt2Regex) return PiecePattern::kGpt2;
  if (regex == kLlama3Regex) return PiecePattern::kLlama3;
  if (regex == kQwen2Regex) return PiecePattern::kQwen2;
  return absl::nullopt;
}

bool PieceScanner::Next(absl::string_view* piece) {
  if (rest_.empty()) return false;
  *piece = rest_.substr(0, PieceBytes(pattern_, rest_));
  rest_.remove_prefix(piece->size());
  return true;
}

}  // namespace sluice
