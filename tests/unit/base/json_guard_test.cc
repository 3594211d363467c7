#include "lib/base/json_guard.h"

#include <string>

#include "absl/strings/match.h"
#include "tests/support/catch.h"

namespace sluice::testing {
namespace {

// Requires that `text` is refused, with a message that names the file and contains `part`.
void RequireRefused(absl::string_view text, absl::string_view part) {
  const auto parsed = ParseJson(text, "some/config.json");
  INFO(text.substr(0, 200) << " -> " << parsed.status().ToString());
  REQUIRE(parsed.status().code() == absl::StatusCode::kInvalidArgument);
  REQUIRE(absl::StartsWith(parsed.status().message(), "some/config.json: byte "));
  REQUIRE(absl::StrContains(parsed.status().message(), part));
}

std::string Nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']');
}

TEST_CASE("JSON is parsed as nlohmann parses it", "[base]") {
  for (const char* text :
       {"{}", "[]", "7", "-7", "1.5e3", "true", "null", "\"a\\u00e9\\n\"", "[[],{},[[]]]",
        R"( {"a": [1, {"a": 2, "b": [{}, 3]}], "b": {"a": false}, "c": null} )"}) {
    const auto parsed = ParseJson(text, "x");
    REQUIRE_OK(parsed);
    REQUIRE(*parsed == nlohmann::json::parse(text));
  }
}

TEST_CASE("what is no JSON is refused with its place", "[base]") {
  RequireRefused("", "byte 0");
  RequireRefused("[1,]", "byte 3");
  RequireRefused("{\"a\":1", "byte 6");
  RequireRefused("{} x", "byte 3");
  RequireRefused("[NaN]", "byte 1");
  RequireRefused("[1e999]", "byte 5");
  RequireRefused("\"\xc3\x28\"", "byte 2");
  RequireRefused(absl::string_view("{}\0garbage", 10), "byte 2");
  RequireRefused(absl::string_view("[1\0]", 4), "byte 2");
}

TEST_CASE("a key twice in one object is refused", "[base]") {
  RequireRefused(R"({"a":1,"a":2})", "byte 9: key \"a\" stands twice");
  RequireRefused(R"([{"x":{"b":1,"c":{},"b":2}}])", "key \"b\"");
  REQUIRE_OK(ParseJson(R"([{"a":1},{"a":{"a":2}}])", "x"));
}

TEST_CASE("depth has a limit, found before the tree is deep", "[base]") {
  REQUIRE_OK(ParseJson(Nested(kMaxJsonDepth), "x"));
  RequireRefused(Nested(kMaxJsonDepth + 1), "byte 64: nested deeper than 64");
  RequireRefused(std::string(10'000'000, '['), "nested deeper");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  RequireRefused(objects, "nested deeper");
}

TEST_CASE("messages stay short and printable", "[base]") {
  const auto parsed = ParseJson(std::string(100'000, 'x') + "\xff", "x");
  REQUIRE_FALSE(parsed.ok());
  REQUIRE(parsed.status().message().size() < 1000);
  const auto key = ParseJson("{\"" + std::string(100'000, 'k') + "\":1,\"" +
                                 std::string(100'000, 'k') + "\":1}",
                             "x");
  REQUIRE_FALSE(key.ok());
  REQUIRE(key.status().message().size() < 1000);
}

TEST_CASE("a tree that would take many times the text's memory is refused", "[base]") {
  std::string lists = "[";
  for (int i = 0; i < 200000; ++i) lists += "[],";
  lists += "0]";
  const auto refused = ParseJson(lists, "lists.json");
  CHECK(absl::IsInvalidArgument(refused.status()));
  std::string numbers = "[";
  for (int i = 0; i < 200000; ++i) numbers += "1,";
  numbers += "0]";
  CHECK(absl::IsInvalidArgument(ParseJson(numbers, "numbers.json").status()));
  // The densest thing that real files hold: merges as pairs.
  std::string pairs = "[";
  for (int i = 0; i < 200000; ++i) pairs += R"(["a","b"],)";
  pairs += "0]";
  CHECK(ParseJson(pairs, "pairs.json").ok());
}

}  // namespace
}  // namespace sluice::testing
