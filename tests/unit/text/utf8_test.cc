#include "lib/text/utf8.h"

#include "lib/text/byte_alphabet.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

const std::string kBad(kReplacementUtf8);

TEST_CASE("ill-formed parts are replaced one by one", "[text]") {
  CHECK(RepairUtf8("a\xFFz") == "a" + kBad + "z");
  CHECK(RepairUtf8("\xE2\x82") == kBad);                              // one cut character
  CHECK(RepairUtf8("\xE2\x82!") == kBad + "!");
  CHECK(RepairUtf8("\xED\xA0\x80") == kBad + kBad + kBad);            // a surrogate
  CHECK(RepairUtf8("\xC0\xAF") == kBad + kBad);                       // overlong
  CHECK(RepairUtf8("\xF4\x90\x80\x80") == kBad + kBad + kBad + kBad);  // beyond U+10FFFF
  CHECK(RepairUtf8("\xF0\x9F\x98\xF0\x9F\x98\x80") == kBad + "\xF0\x9F\x98\x80");
}

TEST_CASE("every code point survives, nothing else does", "[text]") {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(c, &text);
    const Utf8Step step = DecodeUtf8(text);
    if (step.kind != Utf8Kind::kChar || step.bytes != text.size() || step.code_point != c) {
      FAIL("code point " << static_cast<uint32_t>(c));
    }
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const Utf8Step part = DecodeUtf8(absl::string_view(text).substr(0, cut));
      if (part.kind != Utf8Kind::kIncomplete || part.bytes != cut) {
        FAIL("code point " << static_cast<uint32_t>(c) << " cut at " << cut);
      }
    }
  }
}

TEST_CASE("the byte alphabet is one to one", "[text]") {
  CHECK(SpellByte(' ') == 0x120);
  CHECK(SpellByte('\n') == 0x10A);
  CHECK(SpellByte('A') == 'A');
  CHECK(SpellByte(0xAD) == 0x143);
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  std::string back;
  REQUIRE(UnspellBytes(SpellBytes(all), &back));
  CHECK(back == all);
  CHECK_FALSE(UnspellBytes("a b", &back));
  CHECK_FALSE(UnspellBytes("\xE2\x96\x81", &back));
}

}  // namespace
}  // namespace sluice
