#include "tests/unit/kernels/kernel_test_util.h"

namespace sluice::testing {
namespace {

TEST_CASE("AccumulateRows is the weighted sum", "[kernels]") {
  Random random(1);
  ForEachTarget([&] {
    for (int round = 0; round < 60; ++round) {
      const ElementType type = kAllTypes[round % 3];
      const size_t rows = random.Between(1, 300), cols = random.Between(1, 300);
      INFO(ElementTypeName(type) << ' ' << rows << 'x' << cols);
      TestMatrix w(random, type, rows, cols, random.Between(0, 3));
      const std::vector<float> values = random.Floats(rows), before = random.Floats(cols);
      std::vector<float> y = before;
      kernels::AccumulateRows(type, w.Rows().data(), values.data(), rows, y.data(), 0, cols);
      for (size_t c = 0; c < cols; ++c) {
        double expected = before[c];
        for (size_t r = 0; r < rows; ++r) {
          expected += static_cast<double>(values[r]) * static_cast<double>(w.Wide(r)[c]);
        }
        REQUIRE(std::abs(y[c] - expected) < SumTolerance(rows));
      }
    }
  });
}

TEST_CASE("AccumulateRows gives the same bits however columns and rows are cut", "[kernels]") {
  Random random(2);
  ForEachTarget([&] {
    for (int round = 0; round < 40; ++round) {
      const ElementType type = kAllTypes[round % 3];
      const size_t rows = random.Between(1, 60), cols = random.Between(1, 300);
      TestMatrix w(random, type, rows, cols);
      const std::vector<const void*> pointers = w.Rows();
      const std::vector<float> values = random.Floats(rows), before = random.Floats(cols);
      std::vector<float> whole = before, pieces = before;
      kernels::AccumulateRows(type, pointers.data(), values.data(), rows, whole.data(), 0, cols);
      for (size_t begin = 0; begin < cols;) {
        const size_t end = random.Between(begin + 1, cols);
        for (size_t r = 0; r < rows;) {
          const size_t num = random.Between(1, rows - r);
          kernels::AccumulateRows(type, &pointers[r], &values[r], num, pieces.data(), begin, end);
          r += num;
        }
        begin = end;
      }
      REQUIRE(SameBits(pieces.data(), whole.data(), cols));
    }
  });
}

TEST_CASE("AccumulateRows touches its columns alone", "[kernels]") {
  Random random(3);
  ForEachTarget([&] {
    for (ElementType type : kAllTypes) {
      for (size_t cols = 1; cols <= 70; ++cols) {
        TestMatrix w(random, type, 9, cols);  // ends at a guard page
        GuardedBytes y(cols * sizeof(float));
        const std::vector<float> values(9, 1.0f);
        for (size_t c = 0; c < cols; ++c) y.floats()[c] = 3.0f;
        const size_t begin = cols / 3;
        kernels::AccumulateRows(type, w.Rows().data(), values.data(), 9, y.floats(), begin, cols);
        for (size_t c = 0; c < begin; ++c) REQUIRE(y.floats()[c] == 3.0f);
        kernels::AccumulateRows(type, w.Rows().data(), values.data(), 0, y.floats(), 0, cols);
      }
    }
  });
}

}  // namespace
}  // namespace sluice::testing
