#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "lib/format/neuron_order.h"
#include "tests/support/catch.h"
#include "tests/unit/format/bundle_fixture.h"

namespace sluice {
namespace {

using testing::Bytes;
using testing::MakeSample;
using testing::Sample;
using testing::TempDir;

std::vector<uint32_t> Shuffled(uint32_t count, uint64_t seed) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  std::mt19937_64 random(seed);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

// The sample, and a bias for each neuron of layer 0.
std::unique_ptr<BundleWriter> WriteWithBias(const TempDir& dir, Sample* sample) {
  *sample = MakeSample(testing::Seed());
  const uint32_t neurons = sample->layers[0].layout.num_neurons;
  sample->tensors.push_back({"layers.0.ffn.up.bias", ElementType::kF32, {neurons},
                             testing::RandomBytes(neurons * 4, testing::Seed() + 9)});
  auto writer = BundleWriter::Create(dir.File("m.flash"), 0, "x");
  REQUIRE_OK(writer);
  REQUIRE_OK(WriteSample(*sample, writer->get()));
  return *std::move(writer);
}

Bytes BundleAt(const RecordLayout& layout, const Bytes& records, uint32_t neuron) {
  const size_t at = size_t{layout.record_of(neuron)} * layout.record_bytes +
                    layout.up_offset(neuron);
  const auto begin = records.begin() + static_cast<ptrdiff_t>(at);
  return Bytes(begin, begin + layout.bundle_bytes());
}

TEST_CASE("Reordered neurons are where the order says, and every checksum holds", "[format]") {
  const TempDir dir;
  Sample sample;
  auto writer = WriteWithBias(dir, &sample);
  std::vector<std::vector<uint32_t>> orders;
  for (uint32_t i = 0; i < sample.layers.size(); ++i) {
    orders.push_back(Shuffled(sample.layers[i].layout.num_neurons, testing::Seed() + i));
    REQUIRE_OK(writer->ReorderNeurons(i, orders[i], absl::StrCat("layers.", i, ".ffn.up.bias")));
  }
  REQUIRE_OK(writer->ReplacePredictors({}, {{"placement", "p"}}));
  REQUIRE_OK(writer->Commit());
  REQUIRE_OK(testing::ReadAll(dir.File("m.flash")));

  const auto file = BundleFile::Open(dir.File("m.flash"));
  REQUIRE_OK(file);
  CHECK((*file)->manifest()["placement"] == "p");
  const auto verified = VerifyBundle(**file, {});
  REQUIRE_OK(verified);
  CHECK(verified->bad.empty());
  for (uint32_t i = 0; i < sample.layers.size(); ++i) {
    const RecordLayout& layout = (*file)->layers()[i];
    Bytes records(size_t{layout.num_records} * layout.record_bytes);
    REQUIRE_OK((*file)->storage()->ReadAt(layout.offset, absl::MakeSpan(records)));
    for (uint32_t p = 0; p < layout.num_neurons; ++p) {
      CHECK(BundleAt(layout, records, p) ==
            BundleAt(layout, sample.layers[i].records, orders[i][p]));
    }
  }
  const TensorEntry* bias = (*file)->FindTensor("layers.0.ffn.up.bias");
  REQUIRE(bias != nullptr);
  Bytes values(bias->bytes);
  REQUIRE_OK((*file)->ReadTensor(*bias, absl::MakeSpan(values)));
  for (size_t p = 0; p < orders[0].size(); ++p) {
    CHECK(std::memcmp(values.data() + 4 * p, sample.tensors.back().data.data() + 4 * orders[0][p],
                      4) == 0);
  }
}

TEST_CASE("A file in the middle of a reordering is none", "[format]") {
  const TempDir dir;
  Sample sample;
  auto writer = WriteWithBias(dir, &sample);
  REQUIRE_OK(BundleFile::Open(writer->temporary_path()));
  REQUIRE_OK(writer->ReorderNeurons(1, std::vector<uint32_t>{2, 0, 1}, ""));
  CHECK_FALSE(BundleFile::Open(writer->temporary_path()).ok());
  CHECK(absl::IsFailedPrecondition(writer->Commit()));
}

TEST_CASE("Orders that are none are refused", "[format]") {
  const TempDir dir;
  Sample sample;
  auto writer = WriteWithBias(dir, &sample);
  const auto invalid = [&](uint32_t layer, const std::vector<uint32_t>& order,
                           const std::string& tensor) {
    const absl::Status status = writer->ReorderNeurons(layer, order, tensor);
    INFO(status.ToString());
    CHECK(absl::IsInvalidArgument(status));
  };
  SECTION("layer") { invalid(3, {0}, ""); }
  SECTION("short") { invalid(1, {1, 0}, ""); }
  SECTION("twice") { invalid(1, {1, 0, 1}, ""); }
  SECTION("beyond") { invalid(1, {1, 0, 3}, ""); }
  SECTION("tensor of other rows") { invalid(1, {1, 0, 2}, "embed_tokens"); }
}

TEST_CASE("A record that was damaged meanwhile is not passed on", "[format]") {
  const TempDir dir;
  Sample sample;
  auto writer = WriteWithBias(dir, &sample);
  uint64_t offset = 0;
  {
    const auto file = BundleFile::Open(writer->temporary_path());
    REQUIRE_OK(file);
    offset = (*file)->layers()[1].record_offset(2) + 5;
  }
  std::fstream(writer->temporary_path(), std::ios::in | std::ios::out | std::ios::binary)
      .seekp(static_cast<std::streamoff>(offset))
      .put('\x55');
  const absl::Status status = writer->ReorderNeurons(1, std::vector<uint32_t>{2, 0, 1}, "");
  INFO(status.ToString());
  CHECK(absl::IsDataLoss(status));
}

TEST_CASE("An order survives the manifest", "[format]") {
  for (const uint32_t count : {0u, 1u, 16u, 17u, 256u, 257u, 5000u}) {
    const std::vector<uint32_t> order = Shuffled(count, testing::Seed());
    const std::string text = OrderToText(order);
    const auto back = OrderFromText(text, count, "layer 1");
    REQUIRE_OK(back);
    CHECK(*back == order);
    CHECK_FALSE(OrderFromText(text + "0", count, "layer 1").ok());
  }
  CHECK(OrderToText(std::vector<uint32_t>{2, 0, 1}) == "201");
  CHECK(absl::IsDataLoss(OrderFromText("200", 3, "layer 1").status()));
  CHECK(absl::IsDataLoss(OrderFromText("20x", 3, "layer 1").status()));
  CHECK(absl::IsDataLoss(OrderFromText("203", 3, "layer 1").status()));
}

}  // namespace
}  // namespace sluice
