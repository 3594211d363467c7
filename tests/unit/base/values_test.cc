// The small value types of lib/base: checked sizes, aligned memory, element types, status macros.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/aligned_buffer.h"
#include "lib/base/checked.h"
#include "lib/base/element_type.h"
#include "lib/base/log.h"
#include "lib/base/status_macros.h"
#include "tests/support/catch.h"

namespace sluice::testing {
namespace {

TEST_CASE("Checked remembers an overflow", "[base]") {
  REQUIRE((Checked(3) * 4 + 5).value() == 17);
  REQUIRE((Checked(UINT64_MAX) + 0).valid());
  REQUIRE_FALSE((Checked(UINT64_MAX) + 1).valid());
  REQUIRE_FALSE((Checked(uint64_t{1} << 32) * (uint64_t{1} << 32)).valid());
  // Once invalid, always invalid, on either side.
  REQUIRE_FALSE(((Checked(UINT64_MAX) + 1) * 0).valid());
  REQUIRE_FALSE((Checked(0) * (Checked(UINT64_MAX) + 1)).valid());
  REQUIRE_FALSE((Checked(1) + (Checked(UINT64_MAX) + 1)).valid());
  REQUIRE(Checked(10).valid_and_at_most(10));
  REQUIRE_FALSE(Checked(11).valid_and_at_most(10));
  REQUIRE_FALSE((Checked(UINT64_MAX) + 1).valid_and_at_most(10));
}

TEST_CASE("rounding up", "[base]") {
  REQUIRE(Checked(0).RoundUp(4096).value() == 0);
  REQUIRE(Checked(1).RoundUp(4096).value() == 4096);
  REQUIRE(Checked(4096).RoundUp(4096).value() == 4096);
  REQUIRE_FALSE(Checked(UINT64_MAX - 5).RoundUp(4096).valid());
  REQUIRE(RoundUp(4097, 4096) == 8192);
  REQUIRE(DivideRoundUp(0, 7) == 0);
  REQUIRE(DivideRoundUp(7, 7) == 1);
  REQUIRE(DivideRoundUp(8, 7) == 2);
}

TEST_CASE("AlignedBuffer", "[base]") {
  for (size_t bytes : {1u, 4095u, 4096u, 4097u, 100'000u}) {
    auto buffer = AlignedBuffer::Allocate(bytes);
    REQUIRE_OK(buffer);
    REQUIRE(buffer->size() == bytes);
    REQUIRE(reinterpret_cast<uintptr_t>(buffer->data()) % kIoAlignment == 0);
    for (std::byte b : buffer->span()) REQUIRE(b == std::byte{0});
  }
  auto empty = AlignedBuffer::Allocate(0);
  REQUIRE_OK(empty);
  REQUIRE(empty->size() == 0);
  for (size_t bytes : {SIZE_MAX, SIZE_MAX - 4096, SIZE_MAX / 2}) {
    REQUIRE(AlignedBuffer::Allocate(bytes).status().code() ==
            absl::StatusCode::kResourceExhausted);
  }
}

TEST_CASE("AlignedBuffer moves", "[base]") {
  AlignedBuffer a = *AlignedBuffer::Allocate(100);
  std::byte* const data = a.data();
  AlignedBuffer b = std::move(a);
  REQUIRE(b.data() == data);
  AlignedBuffer c = *AlignedBuffer::Allocate(7);
  c = std::move(b);
  REQUIRE(c.data() == data);
  REQUIRE(c.size() == 100);
}

TEST_CASE("element types and their names", "[base]") {
  for (ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBF16}) {
    const auto parsed = ParseElementType(ElementTypeName(type));
    REQUIRE_OK(parsed);
    REQUIRE(*parsed == type);
  }
  REQUIRE(ElementBytes(ElementType::kF32) == 4);
  REQUIRE(ElementBytes(ElementType::kF16) == 2);
  REQUIRE(ElementBytes(ElementType::kBF16) == 2);
  REQUIRE(ParseElementType("q8").status().code() == absl::StatusCode::kInvalidArgument);
}

absl::StatusOr<int> HalfOf(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("odd");
  return value / 2;
}

absl::StatusOr<int> QuarterOf(int value) {
  SLUICE_ASSIGN_OR_RETURN(const int half, HalfOf(value));
  SLUICE_ASSIGN_OR_RETURN(int quarter, HalfOf(half));
  SLUICE_RETURN_IF_ERROR(quarter == 13 ? absl::AbortedError("unlucky") : absl::OkStatus());
  return quarter;
}

TEST_CASE("status macros return early with the status", "[base]") {
  REQUIRE(*QuarterOf(12) == 3);
  REQUIRE(QuarterOf(6).status() == absl::InvalidArgumentError("odd"));
  REQUIRE(QuarterOf(52).status() == absl::AbortedError("unlucky"));
  REQUIRE(Annotate(absl::OkStatus(), "x").ok());
  REQUIRE(Annotate(absl::DataLossError("bad"), "file") == absl::DataLossError("file: bad"));
}

TEST_CASE("the log goes to its sink or nowhere", "[base]") {
  std::vector<std::string> lines;
  Log(LogLevel::kInfo, "dropped");
  SetLogSink([&](LogLevel level, absl::string_view text) {
    lines.push_back((level == LogLevel::kWarning ? "W " : "I ") + std::string(text));
  });
  Log(LogLevel::kWarning, "slow");
  SetLogSink(nullptr);
  Log(LogLevel::kInfo, "dropped");
  REQUIRE(lines == std::vector<std::string>{"W slow"});
}

}  // namespace
}  // namespace sluice::testing
