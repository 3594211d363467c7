#include "lib/convert/pickle.h"

#include <string>

#include "lib/convert/torch_state.h"
#include "tests/support/catch.h"
#include "tests/unit/convert/torch_builder.h"

namespace sluice {
namespace {

using Catch::Contains;
using testing::Le;
using testing::PklGlobal;
using testing::PklInt;
using testing::PklString;
using Kind = PickleValue::Kind;

absl::StatusOr<Pickle> Parse(const std::string& bytes) {
  return Pickle::Parse(bytes, 0, TorchGlobals());
}

// Values point into the bytes, so a test that looks at text keeps them.
int64_t ParseInt(const std::string& bytes) {
  const absl::StatusOr<Pickle> pickle = Parse(bytes);
  REQUIRE_OK(pickle);
  REQUIRE(pickle->value(pickle->root()).kind == Kind::kInt);
  return pickle->value(pickle->root()).number;
}

TEST_CASE("pickle integers of every width", "[convert]") {
  CHECK(ParseInt("K\xff.") == 255);
  CHECK(ParseInt("M\xff\xff.") == 65535);
  CHECK(ParseInt("J\xff\xff\xff\xff.") == -1);
  CHECK(ParseInt(std::string("\x8a\x00.", 3)) == 0);
  CHECK(ParseInt("\x8a\x01\xff.") == -1);
  CHECK(ParseInt("\x8a\x05" + Le(uint64_t{1} << 33, 5) + ".") == int64_t{1} << 33);
  CHECK(ParseInt("\x8a\x08" + Le(uint64_t{1} << 63, 8) + ".") == INT64_MIN);
  CHECK(ParseInt("\x8b" + Le(2, 4) + "\xfe\xff.") == -2);
}

TEST_CASE("pickle strings, memo and containers", "[convert]") {
  const std::string bytes = "\x80\x04\x95" + Le(0, 8) + "}\x94(" + PklString("a") + "q\x05" +
                            "\x8c\x01" "b" + PklString("c") + "](K\x01K\x02" "eh\x05" + "\x85" +
                            "u.";
  // {'a': 'b', 'c': [1, 2] ... } leaves one key without a value.
  CHECK_THAT(std::string(Parse(bytes).status().message()), Contains("key without a value"));

  const std::string good = "}(" + PklString("a") + "q\x05" + "U\x01" "b" + "h\x05" + "\x85" +
                           "](K\x01N\x88" "eu.";
  const absl::StatusOr<Pickle> pickle = Parse(good);
  REQUIRE_OK(pickle);
  const PickleValue& dict = pickle->value(pickle->root());
  REQUIRE(dict.kind == Kind::kDict);
  REQUIRE(dict.items.size() == 4);
  CHECK(pickle->value(dict.items[0]).text == "a");
  CHECK(pickle->value(dict.items[1]).text == "b");
  const PickleValue& tuple = pickle->value(dict.items[2]);
  REQUIRE(tuple.kind == Kind::kTuple);
  CHECK(tuple.items[0] == dict.items[0]);
  CHECK(pickle->value(dict.items[3]).items.size() == 3);
  CHECK(pickle->end() == good.size());
}

TEST_CASE("a pickle is data and is never run", "[convert]") {
  const std::string shell = "cposix\nsystem\n(" + PklString("touch /tmp/sluice-was-here") + "tR.";
  absl::Status status = Parse(shell).status();
  CHECK(status.code() == absl::StatusCode::kUnimplemented);
  CHECK_THAT(std::string(status.message()), Contains("posix.system") && Contains("byte 0"));

  status = Parse(PklString("builtins") + PklString("eval") + "\x93.").status();
  CHECK(status.code() == absl::StatusCode::kUnimplemented);
  CHECK_THAT(std::string(status.message()), Contains("builtins.eval"));

  status = Parse(PklGlobal("torch.storage", "_load_from_bytes") + ")R.").status();
  CHECK_THAT(std::string(status.message()), Contains("torch.storage._load_from_bytes"));

  status = Parse("(iposix\nsystem\n.").status();
  CHECK(status.code() == absl::StatusCode::kUnimplemented);
  CHECK_THAT(std::string(status.message()), Contains("INST") && Contains("byte 1"));
}

TEST_CASE("every other opcode is refused by name", "[convert]") {
  const std::string known = "().GJKMNQRTUX]abcehjqrstu}\x80\x85\x86\x87\x88\x89\x8a\x8b\x8c"
                            "\x8d\x93\x94\x95";
  for (int op = 0; op < 256; ++op) {
    const char byte = static_cast<char>(op);
    if (known.find(byte) != std::string::npos) continue;
    const absl::Status status = Parse("N" + std::string(1, byte) + ".").status();
    INFO(op << ": " << status.ToString());
    CHECK(status.code() == absl::StatusCode::kUnimplemented);
    CHECK_THAT(std::string(status.message()), Contains("at byte 1"));
  }
}

TEST_CASE("a pickle that is no pickle", "[convert]") {
  for (const char* bad : {"", "N", "(.", ".", "NN.", "K", "J\x01\x02", "X\xff\xff\xff\xff",
                          "R.", "NR.", "NNR.", "s.", "}NNNs.", "t.", "a.", "]a.", "Na.", "h\x01.",
                          "q\x01.", "\x85.", "cposix", "Q.", "b.", "Nb.", "NNb.", "\x93.",
                          "NN\x93.", "(K\x01q", "N(q\x01N.", "\x80\x09N.", "](K\x01\x85\x85.",
                          "]N}s."}) {
    const absl::Status status = Parse(bad).status();
    INFO(bad << " -> " << status.ToString());
    CHECK_FALSE(status.ok());
  }
}

TEST_CASE("pickle bombs end early", "[convert]") {
  // Lengths that would need any amount of memory.
  for (const std::string& bomb :
       {"\x8b" + Le(0x7fffffff, 4) + "x.", "\x8d" + Le(UINT64_MAX, 8) + "x.",
        "\x8d" + Le(uint64_t{1} << 40, 8) + "x.", "T" + Le(0xffffffff, 4) + "x.",
        "\x95" + Le(UINT64_MAX, 8) + "N.", "\x8a\xff" + std::string(255, 'x') + "."}) {
    CHECK_FALSE(Parse(bomb).ok());
  }
  CHECK_THAT(std::string(Parse(std::string(1000000, '(')).status().message()),
             Contains("nested too deep"));
  CHECK_FALSE(Parse(std::string(1200000, ')')).ok());  // the stack
  // A memo of sparse keys, and one that grows.
  std::string memo = "N";
  for (uint32_t i = 0; i < 100000; ++i) memo += "r" + Le(uint64_t{i} * 40000, 4);
  CHECK(Parse(memo + ".").ok());
}

TEST_CASE("shared and circular values cost what they take in the file", "[convert]") {
  // Each tuple holds the one before twice: 2^5000 leaves if anyone copied them.
  std::string laughs = "N";
  for (int i = 0; i < 5000; ++i) laughs += "q\x01h\x01\x86";
  const absl::StatusOr<Pickle> pickle = Parse(laughs + ".");
  REQUIRE_OK(pickle);
  CHECK(pickle->size() == 5001);
  CHECK_FALSE(ReadTorchState(*pickle).ok());

  const std::string circle = std::string("]q\x01h\x01") + "a.";
  REQUIRE_OK(Parse(circle));
  const std::string deep = "N" + std::string(1000000, '\x85') + ".";
  const absl::StatusOr<Pickle> chain = Parse(deep);
  REQUIRE_OK(chain);
  CHECK_FALSE(ReadTorchState(*chain).ok());
}

TEST_CASE("attributes are dropped from a dictionary and refused elsewhere", "[convert]") {
  const std::string dict = PklGlobal("collections", "OrderedDict") + ")R}" +
                           PklString("_metadata") + "Nsb.";
  REQUIRE_OK(Parse(dict));
  const absl::Status status = Parse("]}b.").status();
  CHECK(status.code() == absl::StatusCode::kUnimplemented);
  CHECK_THAT(std::string(status.message()), Contains("BUILD"));
}

}  // namespace
}  // namespace sluice
