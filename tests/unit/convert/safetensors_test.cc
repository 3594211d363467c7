#include "lib/convert/safetensors.h"

#include <cstring>
#include <string>

#include "tests/support/catch.h"
#include "tests/unit/convert/torch_builder.h"

namespace sluice {
namespace {

using Catch::Contains;
using testing::Floats;
using testing::Le;

std::string File(const std::string& header, const std::string& data) {
  return Le(header.size(), 8) + header + data;
}

class Fixture {
 public:
  absl::StatusOr<std::unique_ptr<CheckpointShard>> Open(const std::string& content) {
    const std::string path = dir_.File("m.safetensors");
    testing::WriteFileOrDie(path, content);
    return OpenSafetensors(path);
  }
  std::string Message(const std::string& content) {
    const absl::Status status = Open(content).status();
    CHECK_FALSE(status.ok());
    CHECK_THAT(std::string(status.message()), Contains("m.safetensors"));
    return std::string(status.message());
  }

 private:
  testing::TempDir dir_;
};

std::string Tensor(const std::string& dtype, const std::string& shape, const std::string& begin,
                   const std::string& end) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" + begin +
         "," + end + "]}";
}

TEST_CASE_METHOD(Fixture, "safetensors: tensors of every kind", "[convert]") {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":)" + Tensor("F32", "[2,3]", "0", "24") +
      R"(,"a":)" + Tensor("BF16", "[]", "24", "26") +
      R"(,"n":)" + Tensor("I64", "[1]", "26", "34") +
      R"(,"e":)" + Tensor("F16", "[0,4]", "26", "26") + "}   ";
  const auto shard = Open(File(header, Floats(6) + std::string(10, '\x11')));
  REQUIRE_OK(shard);
  REQUIRE((*shard)->tensors().size() == 3);
  REQUIRE((*shard)->skipped().size() == 1);
  CHECK((*shard)->skipped()[0].name == "n");
  CHECK((*shard)->skipped()[0].type == "I64");
  const CheckpointTensor& b = (*shard)->tensors()[0];
  CHECK(b.name == "b");
  CHECK(b.elements == 6);
  CHECK(b.shape == std::vector<uint64_t>{2, 3});
  float values[2];
  REQUIRE_OK((*shard)->Read(0, 4, 2, absl::MakeSpan(reinterpret_cast<std::byte*>(values), 8)));
  CHECK(values[0] == 4.0f);
  CHECK(values[1] == 5.0f);
}

TEST_CASE_METHOD(Fixture, "safetensors: header lengths", "[convert]") {
  const std::string good = R"({"w":)" + Tensor("F32", "[1]", "0", "4") + "}";
  REQUIRE_OK(Open(File(good, Floats(1))));
  Message("");
  Message("1234567");
  Message(Le(0, 8) + good + Floats(1));
  Message(Le(1, 8) + good + Floats(1));
  Message(Le(uint64_t{1} << 63, 8) + good + Floats(1));
  Message(Le(UINT64_MAX, 8) + good + Floats(1));
  Message(Le(kMaxSafetensorsHeader + 1, 8) + good + Floats(1));
  CHECK_THAT(Message(Le(5000, 8) + good + Floats(1)), Contains("5000"));
  CHECK_THAT(Message(File(" " + good, Floats(1))), Contains("'{'"));
  CHECK_THAT(Message("version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 3\n"),
             Contains("git lfs pull"));
}

TEST_CASE_METHOD(Fixture, "safetensors: headers that are no header", "[convert]") {
  const std::string w = Tensor("F32", "[1]", "0", "4");
  const std::string headers[] = {
      std::string("{}"), std::string("{\"w\":1}"), std::string("{\"w\":{}}"),
      std::string("{\"w\":") + w, std::string("{\"w\":") + w + "}}",
      R"({"w":)" + w + R"(,"w":)" + w + "}", R"({"w":{"dtype":"F32","dtype":"F32","shape":[1],)"
      R"("data_offsets":[0,4]}})", R"({"w":{"dtype":3,"shape":[1],"data_offsets":[0,4]}})",
      R"({"w":)" + Tensor("F32", "1", "0", "4") + "}",
      R"({"w":)" + Tensor("F32", "[1.0]", "0", "4") + "}",
      R"({"w":)" + Tensor("F32", "[-1]", "0", "4") + "}",
      R"({"w":)" + Tensor("F32", "[\"1\"]", "0", "4") + "}",
      R"({"w":)" + Tensor("F32", "[1]", "0", "4,8") + "}",
      R"({"w":)" + Tensor("F32", "[1]", "-4", "0") + "}",
      R"({"w":)" + Tensor("F32", "[1]", "0", "4.0") + "}",
      R"({"w":)" + Tensor("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") + "}",
      R"({"__metadata__":{"a":1},"w":)" + w + "}", R"({"__metadata__":[],"w":)" + w + "}",
      R"({"__metadata__":null,"w":)" + w + "}", "{\"\xff\":" + w + "}",
      "{\"w\":" + std::string(100000, '[') + std::string(100000, ']') + "}"};
  for (const std::string& header : headers) {
    INFO(header.substr(0, 200));
    Message(File(header, Floats(1)));
  }
  CHECK_THAT(Message(File(R"({"w":)" + Tensor("F31", "[1]", "0", "4") + "}", Floats(1))),
             Contains("F31") && Contains("'w'"));
}

TEST_CASE_METHOD(Fixture, "safetensors: shapes and offsets that lie", "[convert]") {
  const auto one = [&](const std::string& shape, const std::string& begin,
                       const std::string& end) {
    return Message(File(R"({"w":)" + Tensor("F32", shape, begin, end) + "}", Floats(4)));
  };
  CHECK_THAT(one("[5]", "0", "16"), Contains("20") && Contains("16"));
  CHECK_THAT(one("[4294967296,4294967296]", "0", "16"), Contains("64 bits"));
  CHECK_THAT(one("[4611686018427387905]", "0", "16"), Contains("64 bits"));
  CHECK_THAT(one("[0,18446744073709551615,2]", "0", "0"), Contains("bytes by the header"));
  CHECK_THAT(one("[18446744073709551615,2,0]", "0", "0"), Contains("64 bits"));
  CHECK_THAT(one("[4]", "16", "0"), Contains("backwards"));
  CHECK_THAT(one("[5]", "0", "20"), Contains("truncated"));
  CHECK_THAT(one("[4]", "18446744073709551600", "18446744073709551615"), Contains("holds") ||
             Contains("hold"));
  CHECK_THAT(one("[3]", "0", "12"), Contains("expected"));  // four bytes after the last
  CHECK_THAT(one("[3]", "4", "16"), Contains("hole"));
}

TEST_CASE_METHOD(Fixture, "safetensors: overlaps and holes", "[convert]") {
  const auto two = [&](const std::string& a, const std::string& b) {
    return File(R"({"a":)" + a + R"(,"b":)" + b + "}", Floats(4));
  };
  const std::string left = Tensor("F32", "[2]", "0", "8");
  REQUIRE_OK(Open(two(left, Tensor("F32", "[2]", "8", "16"))));
  CHECK_THAT(Message(two(left, left)), Contains("overlaps"));
  CHECK_THAT(Message(two(left, Tensor("F32", "[3]", "4", "16"))), Contains("overlaps"));
  CHECK_THAT(Message(two(left, Tensor("F32", "[1]", "12", "16"))), Contains("hole"));
  CHECK_THAT(Message(two(left, Tensor("F32", "[1]", "8", "12"))), Contains("expected"));
}

TEST_CASE_METHOD(Fixture, "safetensors: a file cut short says so at open", "[convert]") {
  const std::string good =
      File(R"({"w":)" + Tensor("F16", "[8]", "0", "16") + "}", std::string(16, 'x'));
  REQUIRE_OK(Open(good));
  for (size_t cut = 0; cut < good.size(); ++cut) {
    const absl::Status status = Open(good.substr(0, cut)).status();
    INFO(cut << ": " << status.ToString());
    CHECK(status.code() == absl::StatusCode::kDataLoss);
  }
  CHECK(Open(good + "x").status().code() == absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace sluice
