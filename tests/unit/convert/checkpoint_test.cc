#include "lib/convert/checkpoint.h"

#include <string>

#include "tests/support/catch.h"
#include "tests/unit/convert/torch_builder.h"

namespace sluice {
namespace {

using Catch::Contains;
using testing::Floats;
using testing::Le;

// A safetensors file whose tensors are f32 vectors of `count` elements each.
std::string Safetensors(const std::vector<std::string>& names, int count) {
  std::string header = "{";
  std::string data;
  for (const std::string& name : names) {
    const std::string begin = std::to_string(data.size());
    data += Floats(count);
    header += (header.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":"F32","shape":[)" +
              std::to_string(count) + R"(],"data_offsets":[)" + begin + "," +
              std::to_string(data.size()) + "]}";
  }
  header += "}";
  return Le(header.size(), 8) + header + data;
}

std::string Index(const std::vector<std::pair<std::string, std::string>>& map) {
  std::string out = R"({"metadata":{"total_size":1},"weight_map":{)";
  for (const auto& [tensor, shard] : map) {
    if (out.back() != '{') out += ",";
    out += "\"" + tensor + "\":\"" + shard + "\"";
  }
  return out + "}}";
}

class Folder {
 public:
  void Write(const std::string& name, const std::string& content) {
    testing::WriteFileOrDie(dir_.File(name), content);
  }
  absl::StatusOr<std::unique_ptr<Checkpoint>> Open() { return Checkpoint::Open(dir_.path()); }
  std::string Message() {
    const absl::Status status = Open().status();
    CHECK_FALSE(status.ok());
    return std::string(status.message());
  }

 private:
  testing::TempDir dir_;
};

constexpr char kIndex[] = "model.safetensors.index.json";

TEST_CASE_METHOD(Folder, "a folder without weights says what was looked for", "[convert]") {
  CHECK(Open().status().code() == absl::StatusCode::kNotFound);
  const std::string message = Message();
  CHECK_THAT(message, Contains("model.safetensors.index.json"));
  CHECK_THAT(message, Contains("pytorch_model.bin.index.json"));
}

TEST_CASE_METHOD(Folder, "forms are looked for in order", "[convert]") {
  Write("pytorch_model.bin.index.json", Index({{"w", "p.bin"}}));
  Write("p.bin", testing::TorchZip(testing::StatePickle({{}}), {Floats(6)}));
  REQUIRE_OK(Open());
  CHECK((*Open())->files()[0].find("p.bin") != std::string::npos);
  Write("pytorch_model.bin", testing::TorchZip(testing::StatePickle({{}}), {Floats(6)}));
  CHECK((*Open())->files()[0].find("pytorch_model.bin") != std::string::npos);
  Write(kIndex, Index({{"a", "s.safetensors"}}));
  Write("s.safetensors", Safetensors({"a"}, 2));
  CHECK((*Open())->files()[0].find("s.safetensors") != std::string::npos);
  Write("model.safetensors", Safetensors({"b"}, 2));
  CHECK((*Open())->files()[0].find("model.safetensors") != std::string::npos);
}

TEST_CASE_METHOD(Folder, "shards are joined and sorted by name", "[convert]") {
  Write("two.safetensors", Safetensors({"d", "a", "extra"}, 3));
  Write("one.safetensors", Safetensors({"c", "b"}, 2));
  Write(kIndex, Index({{"a", "two.safetensors"}, {"b", "one.safetensors"},
                       {"c", "one.safetensors"}, {"d", "two.safetensors"}}));
  const auto checkpoint = Open();
  REQUIRE_OK(checkpoint);
  REQUIRE((*checkpoint)->tensors().size() == 5);
  CHECK((*checkpoint)->tensors()[0].name == "a");
  CHECK((*checkpoint)->tensors()[4].name == "extra");
  CHECK((*checkpoint)->files().size() == 2);
  CHECK((*checkpoint)->Find("nothing") == nullptr);
  const CheckpointTensor* d = (*checkpoint)->Find("d");
  REQUIRE(d != nullptr);
  CHECK(d->file.find("two.safetensors") != std::string::npos);

  float out[2];
  const auto span = absl::MakeSpan(reinterpret_cast<std::byte*>(out), sizeof out);
  REQUIRE_OK((*checkpoint)->Read(*d, 1, 2, span));
  CHECK(out[0] == 1.0f);
  CHECK(out[1] == 2.0f);
  CHECK((*checkpoint)->Read(*d, 2, 2, span).code() == absl::StatusCode::kOutOfRange);
  CHECK((*checkpoint)->Read(*d, UINT64_MAX, 2, span).code() == absl::StatusCode::kOutOfRange);
  CHECK((*checkpoint)->Read(*d, 0, 1, span).code() == absl::StatusCode::kInvalidArgument);
  REQUIRE_OK((*checkpoint)->Read(*d, 3, 0, {}));
  CheckpointTensor stranger = *d;
  stranger.name = "nothing";
  CHECK((*checkpoint)->Read(stranger, 0, 2, span).code() == absl::StatusCode::kNotFound);
}

TEST_CASE_METHOD(Folder, "an index that lies", "[convert]") {
  Write("s.safetensors", Safetensors({"a"}, 2));
  Write("t.safetensors", Safetensors({"a", "b"}, 2));
  for (const char* text : {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{}})",
                           R"({"weight_map":{"a":1}})",
                           R"({"weight_map":{"a":"s.safetensors","a":"s.safetensors"}})"}) {
    Write(kIndex, text);
    INFO(text);
    CHECK_THAT(Message(), Contains(kIndex));
  }
  for (const char* name : {"../s.safetensors", "/etc/passwd", "..", ".", "", "a/b", ".hidden"}) {
    Write(kIndex, Index({{"a", name}}));
    INFO(name);
    CHECK_THAT(Message(), Contains("not the name of a file"));
  }
  Write(kIndex, Index({{"a", "s.safetensors"}, {"b", "s.safetensors"}}));
  CHECK_THAT(Message(), Contains("'b'") && Contains("s.safetensors"));
  // The index decides which of two is meant; where it does not, nobody guesses.
  Write(kIndex, Index({{"a", "s.safetensors"}, {"b", "t.safetensors"}}));
  REQUIRE_OK(Open());
  CHECK((*Open())->Find("a")->file.find("s.safetensors") != std::string::npos);
  Write("u.safetensors", Safetensors({"u", "b"}, 2));
  Write("s.safetensors", Safetensors({"a", "b"}, 2));
  Write(kIndex, Index({{"a", "s.safetensors"}, {"u", "u.safetensors"}}));
  CHECK_THAT(Message(), Contains("'b' is also in"));
}

TEST_CASE_METHOD(Folder, "missing and truncated shards are found at open", "[convert]") {
  const std::string whole = Safetensors({"b"}, 100);
  Write("s.safetensors", Safetensors({"a"}, 2));
  Write(kIndex, Index({{"a", "s.safetensors"}, {"b", "t.safetensors"}, {"c", "u.safetensors"}}));
  CHECK_THAT(Message(), Contains("expected 3") && Contains("t.safetensors u.safetensors"));
  Write(kIndex, Index({{"a", "s.safetensors"}, {"b", "t.safetensors"}}));
  Write("t.safetensors", whole.substr(0, whole.size() - 4));
  CHECK(Open().status().code() == absl::StatusCode::kDataLoss);
  CHECK_THAT(Message(), Contains("t.safetensors") && Contains("400") && Contains("396"));
  Write("t.safetensors", whole);
  REQUIRE_OK(Open());
}

}  // namespace
}  // namespace sluice
