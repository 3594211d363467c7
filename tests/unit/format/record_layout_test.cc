#include "lib/format/record_layout.h"

#include "absl/strings/match.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

struct Case {
  const char* model;
  uint32_t row_elements;
  uint32_t rows_per_neuron;
  ElementType type;
  uint32_t neurons_per_record;
  uint32_t record_bytes;
};

TEST_CASE("The number of neurons to a record can be asked for", "[format]") {
  const auto layout = MakeRecordLayout(100, 256, 2, ElementType::kF16, 7);
  REQUIRE_OK(layout);
  CHECK(layout->neurons_per_record == 7);
  CHECK(layout->record_bytes == 8192);
  CHECK(layout->num_records == 15);
  CHECK(CheckRecordLayout(*layout).ok());
  CHECK_FALSE(MakeRecordLayout(100, 256, 2, ElementType::kF16, 1u << 20).ok());
}

TEST_CASE("A record wastes less than a sixteenth, with as few neurons as that takes",
          "[format]") {
  const Case cases[] = {
      {"OPT-125m", 768, 2, ElementType::kF16, 4, 12288},
      {"OPT-350m", 1024, 2, ElementType::kF16, 1, 4096},
      {"OPT-6.7B", 4096, 2, ElementType::kF16, 1, 16384},
      {"Falcon-7B", 4544, 2, ElementType::kF16, 2, 36864},
      {"Llama-7B", 4096, 3, ElementType::kBF16, 1, 24576},
      {"tiny f16", 256, 2, ElementType::kF16, 4, 4096},
      {"tiny f32", 256, 2, ElementType::kF32, 2, 4096},
      {"tinier f32", 32, 2, ElementType::kF32, 16, 4096},
      {"least waste of 16", 1, 2, ElementType::kF16, 16, 4096},
  };
  for (const Case& c : cases) {
    INFO(c.model);
    const auto layout = MakeRecordLayout(100, c.row_elements, c.rows_per_neuron, c.type);
    REQUIRE_OK(layout);
    CHECK(layout->neurons_per_record == c.neurons_per_record);
    CHECK(layout->record_bytes == c.record_bytes);
    CHECK(layout->num_records == (100 + c.neurons_per_record - 1) / c.neurons_per_record);
    CHECK(layout->offset == 0);
    CHECK(CheckRecordLayout(*layout).ok());
  }
}

TEST_CASE("Every layout holds its neurons and is consistent", "[format]") {
  for (uint32_t row = 1; row < 9000; row += 37) {
    for (uint32_t rows : {2u, 3u}) {
      const auto layout = MakeRecordLayout(row, row, rows, ElementType::kBF16);
      REQUIRE_OK(layout);
      REQUIRE_OK(CheckRecordLayout(*layout));
      REQUIRE(layout->neurons_per_record <= 16);
      REQUIRE(layout->record_bytes - layout->neurons_per_record * layout->bundle_bytes() < 4096);
    }
  }
}

TEST_CASE("Rows of one neuron lie side by side", "[format]") {
  const auto layout = MakeRecordLayout(10, 256, 3, ElementType::kF32);
  REQUIRE_OK(layout);
  REQUIRE(layout->neurons_per_record == 4);
  CHECK(layout->record_of(7) == 1);
  CHECK(layout->up_offset(7) == 3 * 3072);
  CHECK(layout->down_offset(7) == 3 * 3072 + 2048);
  CHECK(layout->used_bytes(0) == 4 * 3072);
  CHECK(layout->used_bytes(2) == 2 * 3072);
  CHECK(DescribeRecord(*layout, 5, 2) == "layer 5, record 2 (neurons 8 to 9) at 24576");
}

TEST_CASE("Sizes that cannot be are refused", "[format]") {
  CHECK(absl::IsInvalidArgument(MakeRecordLayout(0, 1, 2, ElementType::kF32).status()));
  CHECK(absl::IsInvalidArgument(MakeRecordLayout(1, 0, 2, ElementType::kF32).status()));
  CHECK(absl::IsInvalidArgument(MakeRecordLayout(1, 1, 0, ElementType::kF32).status()));
  CHECK(absl::IsInvalidArgument(
      MakeRecordLayout(1, UINT32_MAX, UINT32_MAX, ElementType::kF32).status()));
  CHECK(absl::IsInvalidArgument(MakeRecordLayout(1, 1u << 24, 2, ElementType::kF32).status()));
  const auto largest = MakeRecordLayout(UINT32_MAX, 1u << 23, 2, ElementType::kF32);
  REQUIRE_OK(largest);
  CHECK(largest->record_bytes == kMaxRecordBytes);
  CHECK(largest->num_records == UINT32_MAX);
}

TEST_CASE("CheckRecordLayout names the member that is wrong", "[format]") {
  const RecordLayout good = *MakeRecordLayout(10, 256, 2, ElementType::kF16);
  const auto message = [&](auto change) {
    RecordLayout layout = good;
    change(&layout);
    return std::string(CheckRecordLayout(layout).message());
  };
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->num_neurons = 0; }),
                          "num_neurons"));
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->row_elements = 0; }),
                          "row_elements"));
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->rows_per_neuron = 4; }),
                          "rows_per_neuron"));
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->neurons_per_record = 0; }),
                          "neurons_per_record"));
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->neurons_per_record = UINT32_MAX; }),
                          "too small"));
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->row_elements = UINT32_MAX; }),
                          "too small"));
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->record_bytes = 4097; }),
                          "record_bytes"));
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->record_bytes = 1u << 31; }),
                          "record_bytes"));
  CHECK(absl::StrContains(message([](RecordLayout* l) { l->num_records = 4; }),
                          "num_records"));
}

}  // namespace
}  // namespace sluice
