#include <bit>

#include "tests/unit/kernels/kernel_test_util.h"

namespace sluice::testing {
namespace {

// The value of f16 bits, by the definition of the format.
double HalfValue(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const double mantissa = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return mantissa != 0 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

float BrainValue(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

std::vector<uint16_t> AllBits() {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  return all;
}

uint16_t Narrow(ElementType type, float value, bool* fits = nullptr) {
  uint16_t out = 0;
  const size_t idx = kernels::FromF32(type, &value, 1, &out);
  if (fits != nullptr) *fits = idx == 1;
  return out;
}

TEST_CASE("every f16 and bf16 value widens exactly and comes back", "[kernels]") {
  const std::vector<uint16_t> all = AllBits();
  ForEachTarget([&] {
    for (ElementType type : {ElementType::kF16, ElementType::kBF16}) {
      std::vector<float> wide(all.size());
      std::vector<uint16_t> back(all.size());
      kernels::ToF32(type, all.data(), all.size(), wide.data());
      REQUIRE(kernels::FromF32(type, wide.data(), wide.size(), back.data()) == wide.size());
      for (size_t i = 0; i < all.size(); ++i) {
        const double value = type == ElementType::kF16 ? HalfValue(all[i]) : BrainValue(all[i]);
        if (std::isnan(value)) {
          REQUIRE(std::isnan(wide[i]));
          float again = 0;
          kernels::ToF32(type, &back[i], 1, &again);
          REQUIRE(std::isnan(again));
          continue;
        }
        REQUIRE(static_cast<double>(wide[i]) == value);
        REQUIRE(std::signbit(wide[i]) == std::signbit(value));
        REQUIRE(back[i] == all[i]);
      }
    }
  });
}

// Between two neighbours of the narrow type the nearer wins, in the middle the even one.
TEST_CASE("narrowing rounds to nearest even", "[kernels]") {
  ForEachTarget([&] {
    for (ElementType type : {ElementType::kF16, ElementType::kBF16}) {
      const uint16_t largest = type == ElementType::kF16 ? 0x7bff : 0x7f7f;
      std::vector<float> values;
      std::vector<uint16_t> expected;
      for (uint16_t low = 0; low < largest; ++low) {
        const uint16_t pair[] = {low, static_cast<uint16_t>(low + 1)};
        float wide[2];
        kernels::ToF32(type, pair, 2, wide);
        const auto middle =
            static_cast<float>((static_cast<double>(wide[0]) + static_cast<double>(wide[1])) / 2);
        const uint16_t even = low % 2 == 0 ? pair[0] : pair[1];
        for (float sign : {1.0f, -1.0f}) {
          const auto sign_bit = static_cast<uint16_t>(sign < 0 ? 0x8000 : 0);
          values.insert(values.end(), {sign * middle, sign * std::nextafter(middle, 0.0f),
                                       sign * std::nextafter(middle, INFINITY)});
          for (uint16_t bits : {even, pair[0], pair[1]}) {
            expected.push_back(static_cast<uint16_t>(bits | sign_bit));
          }
        }
      }
      std::vector<uint16_t> out(values.size());
      REQUIRE(kernels::FromF32(type, values.data(), values.size(), out.data()) == values.size());
      for (size_t i = 0; i < out.size(); ++i) {
        if (out[i] != expected[i]) FAIL(values[i] << ": " << out[i] << " != " << expected[i]);
      }
    }
  });
}

TEST_CASE("the first value that does not fit is named", "[kernels]") {
  ForEachTarget([&] {
    for (size_t n : {1u, 7u, 16u, 33u, 100u}) {
      for (size_t at = 0; at < n; ++at) {
        std::vector<float> values(n, 1.0f);
        std::vector<uint16_t> out(n);
        values[0] = INFINITY;  // not finite to begin with: passes
        values[n - 1] = NAN;
        values[at] = -70000.0f;
        REQUIRE(kernels::FromF32(ElementType::kF16, values.data(), n, out.data()) == at);
        REQUIRE(out[at] == 0xfc00);
        values[n - 1] = 1e30f;  // a second one
        REQUIRE(kernels::FromF32(ElementType::kF16, values.data(), n, out.data()) == at);
        values[at] = values[n - 1] = 3.4028e38f;
        REQUIRE(kernels::FromF32(ElementType::kBF16, values.data(), n, out.data()) == at);
        REQUIRE(kernels::FromF32(ElementType::kF32, values.data(), 0, out.data()) == 0);
      }
    }
    bool fits = false;
    REQUIRE(Narrow(ElementType::kF16, 65519.996f, &fits) == 0x7bff);
    REQUIRE(fits);
    REQUIRE(Narrow(ElementType::kF16, 65520.0f, &fits) == 0x7c00);
    REQUIRE_FALSE(fits);
    REQUIRE(Narrow(ElementType::kF16, INFINITY, &fits) == 0x7c00);
    REQUIRE(fits);
  });
}

TEST_CASE("conversions stay within their arrays", "[kernels]") {
  ForEachTarget([&] {
    for (size_t n = 0; n <= 70; ++n) {
      for (ElementType type : kAllTypes) {
        GuardedBytes wide(n * sizeof(float)), narrow(n * ElementBytes(type));
        for (size_t i = 0; i < n; ++i) wide.floats()[i] = static_cast<float>(i);
        REQUIRE(kernels::FromF32(type, wide.floats(), n, narrow.data()) == n);
        kernels::ToF32(type, narrow.data(), n, wide.floats());
        for (size_t i = 0; i < n; ++i) REQUIRE(wide.floats()[i] == static_cast<float>(i));
      }
    }
  });
}

}  // namespace
}  // namespace sluice::testing
