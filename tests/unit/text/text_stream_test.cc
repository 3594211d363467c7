#include "lib/text/text_stream.h"

#include <algorithm>
#include <random>

#include "lib/text/utf8.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

using Strings = std::vector<std::string>;

struct Result {
  std::string text;
  bool stopped = false;
};

Result Stream(const Strings& stops, const Strings& tokens) {
  TextStream stream(stops);
  Result result;
  for (const std::string& token : tokens) {
    const std::string chunk = stream.Push(token);
    CHECK(IsValidUtf8(chunk));
    result.text += chunk;
  }
  const std::string rest = stream.Finish();
  CHECK(IsValidUtf8(rest));
  result.text += rest;
  result.stopped = stream.stopped();
  CHECK(stream.Finish().empty());
  return result;
}

// By the definition, on the whole text at once.
Result AtOnce(const Strings& stops, const std::string& bytes) {
  const std::string text = RepairUtf8(bytes);
  size_t first = std::string::npos;
  for (const std::string& stop : stops) {
    if (!stop.empty()) first = std::min(first, text.find(RepairUtf8(stop)));
  }
  return {text.substr(0, first), first != std::string::npos};
}

Strings CutRandomly(const std::string& bytes, std::mt19937_64* random) {
  Strings tokens;
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = (*random)() % 5;
    tokens.push_back(bytes.substr(at, length));
    at += length;
  }
  return tokens;
}

TEST_CASE("any cut gives the text of the whole", "[text]") {
  INFO("seed " << testing::Seed());
  std::mt19937_64 random(testing::Seed());
  const Strings parts = {"a", "b", "ab", "c", " ", "\xC3\xA9", "\xE4\xBA\xBA", "\xF0\x9F\x98\x80",
                         "\xFF", "\xE2\x82", "\xF0\x9F", "\x80", "\xED\xA0\x80", "\n"};
  const auto random_bytes = [&](size_t max_parts) {
    std::string bytes;
    for (size_t n = random() % (max_parts + 1); n > 0; --n) bytes += parts[random() % parts.size()];
    return bytes;
  };
  for (int round = 0; round < 4000; ++round) {
    const std::string bytes = random_bytes(30);
    Strings stops;
    for (size_t n = random() % 4; n > 0; --n) {
      stops.push_back(random() % 2 == 0 || bytes.empty()
                          ? random_bytes(4)
                          : bytes.substr(random() % bytes.size(), random() % 6));
    }
    const Result expected = AtOnce(stops, bytes);
    const Result got = Stream(stops, CutRandomly(bytes, &random));
    REQUIRE(got.text == expected.text);
    REQUIRE(got.stopped == expected.stopped);
  }
}

TEST_CASE("a character comes out when it is whole", "[text]") {
  TextStream stream({});
  CHECK(stream.Push("a\xF0\x9F") == "a");
  CHECK(stream.Push("\x98").empty());
  CHECK(stream.Push("\x80z") == "\xF0\x9F\x98\x80z");
  CHECK(stream.Push("\xE4").empty());
  CHECK(stream.Push("x") == "\xEF\xBF\xBDx");
  CHECK(stream.Push("\xE4\xBA").empty());
  CHECK(stream.Finish() == "\xEF\xBF\xBD");
  CHECK_FALSE(stream.stopped());
}

TEST_CASE("a stop string across tokens", "[text]") {
  TextStream stream({"", "STOP", "\n\n"});
  CHECK(stream.Push("go S") == "go ");
  CHECK(stream.Push("T").empty());
  CHECK(stream.Push("ST") == "ST");
  CHECK_FALSE(stream.stopped());
  CHECK(stream.Push("OP more").empty());
  CHECK(stream.stopped());
  CHECK(stream.Push("more").empty());
  CHECK(stream.Finish().empty());
}

TEST_CASE("a stop string that was only begun is text", "[text]") {
  TextStream stream({"STOP"});
  CHECK(stream.Push("xSTO") == "x");
  CHECK(stream.Finish() == "STO");
  CHECK_FALSE(stream.stopped());
}

TEST_CASE("overlapping stop strings", "[text]") {
  SECTION("of one beginning, the first that is whole ends the wait") {
    TextStream stream({"abcd", "ab"});
    CHECK(stream.Push("xab") == "x");
    CHECK(stream.stopped());
  }
  SECTION("the one that begins first is waited for") {
    TextStream stream({"ab", "xabcd"});
    CHECK(stream.Push("xab").empty());
    CHECK_FALSE(stream.stopped());
    CHECK(stream.Push("cd").empty());
    CHECK(stream.stopped());
  }
  SECTION("and when it does not come, the later one counts") {
    TextStream stream({"ab", "xabcd"});
    CHECK(stream.Push("xab").empty());
    CHECK(stream.Push("cx") == "x");
    CHECK(stream.stopped());
  }
  SECTION("at the end too") {
    TextStream stream({"ab", "xabcd"});
    CHECK(stream.Push("xab").empty());
    CHECK(stream.Finish() == "x");
    CHECK(stream.stopped());
  }
  SECTION("a beginning within a beginning") {
    TextStream stream({"aab"});
    CHECK(stream.Push("aa").empty());
    CHECK(stream.Push("a") == "a");
    CHECK(stream.Push("b").empty());
    CHECK(stream.stopped());
  }
}

TEST_CASE("a stop string never cuts a character", "[text]") {
  TextStream stream({"\xC3"});
  CHECK(stream.Push("\xC3\xA9") == "\xC3\xA9");
  CHECK_FALSE(stream.stopped());
}

}  // namespace
}  // namespace sluice
