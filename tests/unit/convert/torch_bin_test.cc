#include "lib/convert/torch_bin.h"

#include <cstring>
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/unit/convert/torch_builder.h"

namespace sluice {
namespace {

using Catch::Contains;
using testing::Floats;
using testing::Le;
using testing::PklGlobal;
using testing::PklInt;
using testing::PklInts;
using testing::PklRebuild;
using testing::PklString;
using testing::PklTensor;
using testing::StatePickle;
using testing::TorchLegacy;
using testing::TorchZip;
using testing::Zip;
using testing::ZipEntry;

class Fixture {
 public:
  absl::StatusOr<std::unique_ptr<CheckpointShard>> Open(const std::string& content) {
    const std::string path = dir_.File("m.bin");
    testing::WriteFileOrDie(path, content);
    return OpenTorchBin(path);
  }
  std::string Message(const std::string& content) {
    const absl::Status status = Open(content).status();
    INFO(status.ToString());
    CHECK_FALSE(status.ok());
    CHECK_THAT(std::string(status.message()), Contains("m.bin"));
    return std::string(status.message());
  }

 private:
  testing::TempDir dir_;
};

size_t IndexOf(const CheckpointShard& shard, const std::string& name) {
  for (size_t i = 0; i < shard.tensors().size(); ++i) {
    if (shard.tensors()[i].name == name) return i;
  }
  FAIL("no tensor " << name);
  return 0;
}

float ToFloat(ElementType type, const std::byte* raw) {
  uint32_t bits = 0;
  std::memcpy(&bits, raw, ElementBytes(type));
  if (type == ElementType::kBF16) bits <<= 16;
  if (type == ElementType::kF16) {
    const uint32_t exponent = bits >> 10 & 31;  // the fixtures hold normal numbers and zero
    bits = exponent == 0 ? 0 : (bits & 0x8000) << 16 | (exponent + 112) << 23 |
                                   (bits & 1023) << 13;
  }
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

absl::StatusOr<std::vector<float>> ReadFloats(CheckpointShard* shard, size_t tensor,
                                              uint64_t first, uint64_t count) {
  const ElementType type = shard->tensors()[tensor].type;
  std::vector<std::byte> raw(count * ElementBytes(type));
  absl::Status status = shard->Read(tensor, first, count, absl::MakeSpan(raw));
  if (!status.ok()) return status;
  std::vector<float> values;
  for (uint64_t i = 0; i < count; ++i) {
    values.push_back(ToFloat(type, raw.data() + i * ElementBytes(type)));
  }
  return values;
}

TEST_CASE("files that torch wrote hold what torch says", "[convert]") {
  const std::string folder = std::string(SLUICE_TEST_SOURCE_DIR) + "/tests/unit/convert/fixtures/";
  const nlohmann::json expected =
      nlohmann::json::parse(testing::ReadFileOrDie(folder + "expected.json"));
  for (const char* file : {"zip.bin", "zip_protocol4.bin", "legacy.bin", "nested.bin",
                           "plain_dict.bin"}) {
    INFO(file);
    const auto shard = OpenTorchBin(folder + file);
    REQUIRE_OK(shard);
    CHECK((*shard)->tensors().size() == expected.size());
    REQUIRE((*shard)->skipped().size() == 1);
    CHECK((*shard)->skipped()[0].name == "position_ids");
    CHECK((*shard)->skipped()[0].type == "int64");
    for (const auto& [name, tensor] : expected.items()) {
      INFO(name);
      const size_t idx = IndexOf(**shard, name);
      CHECK((*shard)->tensors()[idx].shape == tensor["shape"].get<std::vector<uint64_t>>());
      const auto values = tensor["values"].get<std::vector<float>>();
      REQUIRE((*shard)->tensors()[idx].elements == values.size());
      if (values.empty()) continue;
      for (uint64_t first = 0; first < values.size(); ++first) {
        const auto got = ReadFloats(shard->get(), idx, first, values.size() - first);
        REQUIRE_OK(got);
        CHECK(*got == std::vector<float>(values.begin() + static_cast<long>(first), values.end()));
      }
    }
  }
}

TEST_CASE_METHOD(Fixture, "torch zip: built by hand, stored and compressed", "[convert]") {
  const std::string data = Floats(6);
  const std::string pickle = StatePickle({{}, {"t", "FloatStorage", "0", 6, 1, {2, 2}, {1, 3}}});
  const ZipEntry packed{"m/data/0", testing::DeflateStored(data), 8, 0,
                        static_cast<int64_t>(data.size()), testing::Crc32(data)};
  for (const std::string& content :
       {TorchZip(pickle, {data}), Zip({{"m/data.pkl", pickle}, packed})}) {
    const auto shard = Open(content);
    REQUIRE_OK(shard);
    const auto w = ReadFloats(shard->get(), IndexOf(**shard, "w"), 1, 4);
    REQUIRE_OK(w);
    CHECK(*w == std::vector<float>{1, 2, 3, 4});
    const auto t = ReadFloats(shard->get(), IndexOf(**shard, "t"), 0, 4);
    REQUIRE_OK(t);
    CHECK(*t == std::vector<float>{1, 4, 2, 5});
    REQUIRE_OK(ReadFloats(shard->get(), 0, 0, 6));  // back to the beginning
  }
}

TEST_CASE_METHOD(Fixture, "torch: tensors that lie about their storage", "[convert]") {
  const auto with = [&](PklTensor tensor) {
    const std::string content = TorchZip(StatePickle({tensor}), {Floats(6)});
    const std::string message = Message(content);
    const std::string old = TorchLegacy(StatePickle({tensor}, true), {"0"}, {Floats(6)}, 4);
    CHECK_FALSE(Open(old).ok());
    return message;
  };
  PklTensor tensor;
  tensor.shape = {3, 3};
  CHECK_THAT(with(tensor), Contains("'w'") && Contains("ends at byte 36 of a storage of 24"));
  tensor = {};
  tensor.offset = 1;
  CHECK_THAT(with(tensor), Contains("ends at byte 28"));
  tensor.offset = -1;
  CHECK_THAT(with(tensor), Contains("offset is -1"));
  tensor.offset = INT64_MAX;
  with(tensor);
  tensor = {};
  tensor.strides = {-3, 1};
  CHECK_THAT(with(tensor), Contains("strides is -3"));
  tensor.strides = {INT64_MAX, INT64_MAX};
  CHECK_THAT(with(tensor), Contains("64 bits"));
  tensor.strides = {1};
  with(tensor);
  tensor = {};
  tensor.shape = {-2, -3};
  with(tensor);
  tensor.shape = {int64_t{1} << 32, int64_t{1} << 32};
  tensor.strides = {0, 0};
  CHECK_THAT(with(tensor), Contains("64 bits"));
  tensor.shape = {int64_t{1} << 40};
  tensor.strides = {0};
  CHECK_THAT(with(tensor), Contains("expands 24"));
  tensor = {};
  tensor.elements = 7;
  CHECK_THAT(with(tensor), Contains("expected 28 bytes, found 24"));
  tensor.elements = -1;
  with(tensor);
  tensor.elements = INT64_MAX;
  with(tensor);
  tensor = {};
  tensor.key = "9";
  CHECK_THAT(with(tensor), Contains("data/9"));
  tensor.key = "../0";
  with(tensor);
  tensor.key = "";
  with(tensor);
  tensor = {};
  tensor.storage_class = "_utils";
  with(tensor);
  tensor.shape.assign(9, 1);
  tensor.strides.assign(9, 1);
  with(tensor);
}

TEST_CASE_METHOD(Fixture, "torch: state_dicts that are none", "[convert]") {
  const auto message = [&](const std::string& pickle) {
    return Message(TorchZip(pickle, {Floats(6)}));
  };
  message("");
  message("N.");
  message("](K\x01" "e.");
  CHECK_THAT(message(StatePickle({{}, {}})), Contains("'w' is there twice"));
  PklTensor bad_name;
  bad_name.name = "w\xff";
  CHECK_THAT(message(StatePickle({bad_name})), Contains("UTF-8"));
  PklTensor other_size;
  other_size.name = "v";
  other_size.elements = 5;
  CHECK_THAT(message(StatePickle({{}, other_size})), Contains("once 24 and once 20"));
  CHECK_THAT(message("}" + PklString("w") + PklGlobal("torch._utils", "_rebuild_tensor_v2") +
                     ")Rs."),
             Contains("0 arguments"));
  CHECK_THAT(message("}" + PklString("w") + PklGlobal("torch", "FloatStorage") + ")Rs."),
             Contains("torch.FloatStorage"));
  CHECK_THAT(message("}" + PklString("w") + "K\x01Qs."), Contains("persistent id"));
  CHECK_THAT(message("cposix\nsystem\n(" + PklString("id") + "tR."), Contains("posix.system"));

  // Entries beside the tensors are passed over by name.
  const auto shard = Open(TorchZip("}(" + PklString("epoch") + "K\x03" + PklString("w") +
                                   PklRebuild({}, false) + "u.", {Floats(6)}));
  REQUIRE_OK(shard);
  REQUIRE((*shard)->skipped().size() == 1);
  CHECK((*shard)->skipped()[0].name == "epoch");
  CHECK((*shard)->skipped()[0].type == "int");
}

TEST_CASE_METHOD(Fixture, "torch zip: archives that lie", "[convert]") {
  const std::string pickle = StatePickle({{}});
  const std::string data = Floats(6);
  const ZipEntry object{"m/data.pkl", pickle};
  const ZipEntry storage{"m/data/0", data};
  REQUIRE_OK(Open(Zip({object, storage})));

  CHECK_THAT(Message(Zip({object})), Contains("data/0"));
  CHECK_THAT(Message(Zip({storage})), Contains("data.pkl"));
  CHECK_THAT(Message(Zip({object, storage, storage})), Contains("twice"));
  CHECK_THAT(Message(Zip({object, storage, {"n/data.pkl", pickle}})), Contains("two data.pkl"));
  CHECK_THAT(Message(Zip({object, storage, {"m/../../x", ""}})), Contains("leaves the archive"));
  CHECK_THAT(Message(Zip({object, storage, {"/etc/passwd", ""}})),
             Contains("leaves the archive"));
  CHECK_THAT(Message(Zip({object, storage, {"m/byteorder", "big"}})), Contains("'big'"));
  CHECK_THAT(Message(Zip({object, {"m/data/0", data, 12, 0, 24}})), Contains("compression 12"));
  CHECK_THAT(Message(Zip({object, {"m/data/0", data + "more"}})),
             Contains("expected 24 bytes, found 28"));
  CHECK_THAT(Message(Zip({object, {"m/data/0", data.substr(4), 0, 0, 24}})),
             Contains("cannot come from 20"));
  CHECK_THAT(Message(Zip({object, {"m/data/0", "x", 8, 0, 1 << 30}})), Contains("cannot come"));
  CHECK_THAT(Message(Zip({{"m/data.pkl", pickle, 0, 1}, storage})), Contains("CRC"));
}

TEST_CASE_METHOD(Fixture, "torch zip: bad data is found when it is read", "[convert]") {
  const ZipEntry object{"m/data.pkl", StatePickle({{}})};
  const std::string data = Floats(6);
  const auto read = [&](const ZipEntry& storage) {
    const auto shard = Open(Zip({object, storage}));
    REQUIRE_OK(shard);
    const absl::Status status = ReadFloats(shard->get(), 0, 2, 1).status();
    CHECK(status.code() == absl::StatusCode::kDataLoss);
    INFO(status.ToString());
    CHECK_THAT(std::string(status.message()), Contains("m.bin"));
    CHECK(ReadFloats(shard->get(), 0, 0, 6).status().code() == absl::StatusCode::kDataLoss);
  };
  read({"m/data/0", data, 0, 1});
  const uint32_t crc = testing::Crc32(data);
  read({"m/data/0", testing::DeflateStored(data), 8, 1, 24, crc});
  read({"m/data/0", testing::DeflateStored(data.substr(4)), 8, 0, 24, crc});
  read({"m/data/0", testing::DeflateStored(data + "more"), 8, 0, 24, crc});
  read({"m/data/0", std::string("\xff\xff\xff\xff"), 8, 0, 24, crc});
}

TEST_CASE_METHOD(Fixture, "torch: files cut short say so at open", "[convert]") {
  const std::string zip = TorchZip(StatePickle({{}}), {Floats(6)});
  for (size_t cut = 0; cut < zip.size(); ++cut) Message(zip.substr(0, cut));
  const std::string old = TorchLegacy(StatePickle({{}}, true), {"0"}, {Floats(6)}, 4);
  REQUIRE_OK(Open(old));
  for (size_t cut = 0; cut < old.size(); ++cut) Message(old.substr(0, cut));
  CHECK_THAT(Message(old.substr(0, old.size() - 3)),
             Contains(std::to_string(old.size())) && Contains(std::to_string(old.size() - 3)));
  Message(old + "x");
}

TEST_CASE_METHOD(Fixture, "torch legacy: built by hand", "[convert]") {
  PklTensor second;
  second.name = "h";
  second.key = "1";
  second.storage_class = "FloatStorage";
  second.elements = 2;
  second.shape = {2};
  second.strides = {1};
  const std::string pickle = StatePickle({{}, second}, true);
  const auto shard = Open(TorchLegacy(pickle, {"1", "0"}, {Floats(2), Floats(6)}, 4));
  REQUIRE_OK(shard);
  const auto w = ReadFloats(shard->get(), IndexOf(**shard, "w"), 3, 3);
  REQUIRE_OK(w);
  CHECK(*w == std::vector<float>{3, 4, 5});

  Message(TorchLegacy(pickle, {"0"}, {Floats(6)}, 4));
  Message(TorchLegacy(pickle, {"0", "0"}, {Floats(6), Floats(2)}, 4));
  Message(TorchLegacy(pickle, {"0", "2"}, {Floats(6), Floats(2)}, 4));
  CHECK_THAT(Message(TorchLegacy(pickle, {"0", "1"}, {Floats(2), Floats(6)}, 4)),
             Contains("expected 6 elements, found 2"));
}

TEST_CASE_METHOD(Fixture, "torch: other files are refused by name", "[convert]") {
  std::string tar(512, '\0');
  tar.replace(257, 5, "ustar");
  CHECK(Open(tar).status().code() == absl::StatusCode::kUnimplemented);
  CHECK_THAT(Message(tar), Contains("tar form"));
  CHECK_THAT(Message("version https://git-lfs.github.com/spec/v1\n"), Contains("git lfs"));
  Message("");
  Message("hello");
  CHECK_THAT(Message("\x80\x02K\x01."), Contains("magic"));
  std::string big_endian = TorchLegacy(StatePickle({{}}, true), {"0"}, {Floats(6)}, 4);
  big_endian[big_endian.find("\x88u.")] = '\x89';
  CHECK_THAT(Message(big_endian), Contains("big-endian"));
}

}  // namespace
}  // namespace sluice
