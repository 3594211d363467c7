#include "lib/convert/strided_view.h"

#include <cstring>
#include <random>
#include <string>

#include "lib/base/status_macros.h"
#include "lib/convert/checkpoint_shard.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

// A storage of 16-bit elements whose value is their index (mod 2^16), and what was read of it.
struct Storage {
  uint64_t elements;
  uint64_t reads = 0;
  uint64_t bytes = 0;

  absl::Status Read(uint64_t offset, absl::Span<std::byte> out) {
    ++reads;
    bytes += out.size();
    if (offset + out.size() > elements * 2) return absl::OutOfRangeError("past the storage");
    for (size_t i = 0; i < out.size(); ++i) {
      const uint64_t index = (offset + i) / 2;
      out[i] = static_cast<std::byte>((offset + i) % 2 == 0 ? index & 0xff : index >> 8 & 0xff);
    }
    return absl::OkStatus();
  }
};

absl::Status ReadAll(const StridedView& view, uint64_t first, uint64_t count, Storage* storage,
                     size_t scratch_bytes, std::vector<uint16_t>* out) {
  SLUICE_RETURN_IF_ERROR(CheckView(view, storage->elements * 2));
  out->assign(count, 0xdead);
  std::vector<std::byte> scratch(scratch_bytes);
  return ReadView(
      view, first, count,
      [&](uint64_t offset, absl::Span<std::byte> piece) { return storage->Read(offset, piece); },
      absl::MakeSpan(scratch),
      absl::MakeSpan(reinterpret_cast<std::byte*>(out->data()), count * 2));
}

uint16_t ElementAt(const StridedView& view, uint64_t index) {
  uint64_t at = view.offset;
  for (size_t d = view.shape.size(); d > 0; --d) {
    at += index % view.shape[d - 1] * view.strides[d - 1];
    index /= view.shape[d - 1];
  }
  return static_cast<uint16_t>(at);
}

TEST_CASE("any piece of any view comes out in row-major order", "[convert]") {
  INFO("seed " << testing::Seed());
  std::mt19937_64 random(testing::Seed());
  const auto below = [&](uint64_t n) { return random() % n; };
  for (int round = 0; round < 3000; ++round) {
    StridedView view;
    view.element_bytes = 2;
    view.offset = below(20);
    const size_t rank = below(6);
    uint64_t end = view.offset + 1;
    for (size_t d = 0; d < rank; ++d) {
      view.shape.push_back(1 + below(6));
      view.strides.push_back(below(4) == 0 ? below(5000) : below(30));
      end += (view.shape[d] - 1) * view.strides[d];
    }
    Storage storage{end};
    const uint64_t elements = NumElements(view.shape).value();
    const uint64_t first = below(elements);
    const uint64_t count = 1 + below(elements - first);
    std::vector<uint16_t> out;
    REQUIRE_OK(ReadAll(view, first, count, &storage, 2 << below(12), &out));
    for (uint64_t i = 0; i < count; ++i) REQUIRE(out[i] == ElementAt(view, first + i));
    if (!IsContiguous(view)) REQUIRE(storage.reads <= count);
  }
}

TEST_CASE("a transposed tensor is read in linear work", "[convert]") {
  // Stored column by column, and read in pieces of 16 rows.
  const StridedView view{0, {2048, 4096}, {1, 2048}, 2};
  Storage storage{uint64_t{2048} * 4096};
  std::vector<uint16_t> out;
  for (uint64_t row = 0; row < 2048; row += 16) {
    REQUIRE_OK(ReadAll(view, row * 4096, 16 * 4096, &storage, 1 << 20, &out));
    REQUIRE(out[4097] == ElementAt(view, (row + 1) * 4096 + 1));
  }
  // Columns are 4096 bytes apart in the storage, so the gaps are read through, once a piece.
  CHECK(storage.bytes <= 128 * storage.elements * 2);
  const StridedView wide{0, {4096, 2048}, {1, 4096}, 2};
  storage = {uint64_t{2048} * 4096};
  for (uint64_t row = 0; row < 4096; row += 32) {
    REQUIRE_OK(ReadAll(wide, row * 2048, 32 * 2048, &storage, 1 << 20, &out));
  }
  // 8192 bytes apart: each run is read alone and no byte twice.
  CHECK(storage.bytes == storage.elements * 2);
  storage = {uint64_t{2048} * 4096};
  REQUIRE_OK(ReadAll(wide, 0, storage.elements, &storage, 1 << 20, &out));
  CHECK(storage.bytes == storage.elements * 2);
  CHECK(storage.reads <= 20);
}

TEST_CASE("views that leave their storage are refused", "[convert]") {
  const auto check = [](StridedView view, uint64_t bytes) { return CheckView(view, bytes).ok(); };
  CHECK(check({0, {2, 3}, {3, 1}, 4}, 24));
  CHECK_FALSE(check({0, {2, 3}, {3, 1}, 4}, 23));
  CHECK_FALSE(check({1, {2, 3}, {3, 1}, 4}, 24));
  CHECK(check({5, {}, {}, 4}, 24));
  CHECK_FALSE(check({6, {}, {}, 4}, 24));
  CHECK_FALSE(check({UINT64_MAX, {}, {}, 4}, 24));
  CHECK_FALSE(check({0, {2, 2}, {uint64_t{1} << 63, 1}, 4}, 24));
  CHECK_FALSE(check({0, {uint64_t{1} << 32, uint64_t{1} << 32}, {0, 0}, 4}, 24));
  CHECK_FALSE(check({0, {uint64_t{1} << 62}, {0}, 4}, 24));
  CHECK_FALSE(check({0, {2}, {1, 1}, 4}, 24));
  CHECK(check({100, {0, 3}, {3, 1}, 4}, 0));
  CHECK(check({0, {1, 6}, {UINT64_MAX, 1}, 4}, 24));
  CHECK_FALSE(check({0, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, 4}, 24));
}

}  // namespace
}  // namespace sluice
