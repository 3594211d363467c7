#include <algorithm>

#include "tests/unit/kernels/kernel_test_util.h"

namespace sluice::testing {
namespace {

using kernels::Matrix;
using kernels::Q8RowBytes;

// Random weights quantised; the last row ends at a guard page.
class Q8Matrix {
 public:
  Q8Matrix(Random& random, size_t rows, size_t cols)
      : bytes_(rows * Q8RowBytes(cols)), exact_(random.Floats(rows * cols)), wide_(rows * cols) {
    matrix_ = {bytes_.data(), ElementType::kF32, rows, cols, Q8RowBytes(cols), true};
    for (size_t r = 0; r < rows; ++r) {
      kernels::QuantizeRow(&exact_[r * cols], cols, bytes_.data() + r * Q8RowBytes(cols));
      kernels::RowToF32(matrix_, r, &wide_[r * cols]);
    }
  }
  const Matrix& matrix() const { return matrix_; }
  Matrix widened() const {
    return {wide_.data(), ElementType::kF32, matrix_.rows, matrix_.cols,
            matrix_.cols * sizeof(float)};
  }
  const std::vector<float>& exact() const { return exact_; }
  const std::vector<float>& wide() const { return wide_; }

 private:
  GuardedBytes bytes_;
  Matrix matrix_;
  std::vector<float> exact_, wide_;
};

std::vector<float> Product(const Matrix& w, const std::vector<float>& x, size_t num_tokens) {
  std::vector<float> out(num_tokens * w.rows);
  kernels::MatVec(w, nullptr, x.data(), num_tokens, w.cols, out.data(), w.rows, 0, w.rows);
  return out;
}

TEST_CASE("q8 weights are near the exact ones", "[kernels]") {
  Random random(1);
  for (size_t cols : {1u, 31u, 32u, 33u, 64u, 100u, 4096u}) {
    Q8Matrix w(random, 3, cols);
    for (size_t i = 0; i < w.exact().size(); ++i) {
      const size_t c = i % cols, group = c / 32 * 32;
      const float* first = &w.exact()[i - c + group];
      float largest = 0;
      for (size_t k = 0; k < std::min<size_t>(32, cols - group); ++k) {
        largest = std::max(largest, std::abs(first[k]));
      }
      // Half a step, and what rounding the scale to 11 bits adds.
      REQUIRE(std::abs(w.exact()[i] - w.wide()[i]) <= largest * (0.5f / 127 + 1.0f / 2048));
    }
  }
}

TEST_CASE("every target quantises to the same bytes", "[kernels]") {
  const size_t cols = 300;
  std::vector<unsigned char> first;
  ForEachTarget([&] {
    Random random(2);
    std::vector<float> values = random.Floats(cols);
    for (size_t c = 64; c < 96; ++c) values[c] *= 1e-7f;  // a scale among the subnormal numbers
    for (size_t c = 96; c < 128; ++c) values[c] = 0;
    values[140] = -1e-30f;
    std::vector<unsigned char> row(Q8RowBytes(cols));
    kernels::QuantizeRow(values.data(), cols, row.data());
    if (first.empty()) first = row;
    REQUIRE(row == first);
  });
}

TEST_CASE("a group of tiny weights keeps its largest", "[kernels]") {
  for (float unit : {0.0f, 1e-9f, 1e-7f, 1e-6f, 1e-5f, 1e-4f}) {
    std::vector<float> values(32, 0.25f * unit);
    values[5] = -unit;
    std::vector<unsigned char> row(Q8RowBytes(32));
    kernels::QuantizeRow(values.data(), 32, row.data());
    std::vector<float> wide(32);
    kernels::RowToF32({row.data(), ElementType::kF32, 1, 32, row.size(), true}, 0, wide.data());
    // The smallest f16 step is 6e-8; half of it is as near as a scale that small comes.
    REQUIRE(std::abs(wide[5] + unit) <= std::max(unit / 100, 3.1e-8f));
    REQUIRE(std::abs(wide[0] - 0.25f * unit) <= std::max(unit / 100, 3.1e-8f));
  }
}

TEST_CASE("q8 products are those of the exact sum and have the bits of the widened matrix",
          "[kernels]") {
  Random random(3);
  ForEachTarget([&] {
    for (int round = 0; round < 40; ++round) {
      const size_t rows = random.Between(1, 40);
      const size_t cols = round < 36 ? random.Between(1, 300) : 2048 + random.Between(0, 3000);
      const size_t tokens = random.Between(1, 9);
      INFO(rows << 'x' << cols << ", tokens " << tokens);
      Q8Matrix w(random, rows, cols);
      const std::vector<float> x = random.Floats(tokens * cols);
      const std::vector<float> out = Product(w.matrix(), x, tokens);
      REQUIRE(out == Product(w.widened(), x, tokens));
      for (size_t t = 0; t < tokens; ++t) {
        for (size_t r = 0; r < rows; ++r) {
          const double expected = Dot(&w.wide()[r * cols], &x[t * cols], cols);
          REQUIRE(std::abs(out[t * rows + r] - expected) < SumTolerance(cols));
        }
      }
    }
  });
}

TEST_CASE("q8 products have the same bits for any token count and row range", "[kernels]") {
  Random random(4);
  ForEachTarget([&] {
    for (int round = 0; round < 20; ++round) {
      const size_t rows = random.Between(1, 40), cols = random.Between(1, 300);
      const size_t tokens = random.Between(1, 11);
      Q8Matrix w(random, rows, cols);
      const std::vector<float> x = random.Floats(tokens * cols), bias = random.Floats(rows);
      std::vector<float> whole(tokens * rows), out(tokens * rows, -9.0f);
      kernels::MatVec(w.matrix(), bias.data(), x.data(), tokens, cols, whole.data(), rows, 0,
                      rows);
      for (size_t t = 0, num = 0; t < tokens; t += num) {
        num = random.Between(1, tokens - t);
        for (size_t begin = 0, end = 0; begin < rows; begin = end) {
          end = random.Between(begin + 1, rows);
          kernels::MatVec(w.matrix(), bias.data(), &x[t * cols], num, cols, &out[t * rows], rows,
                          begin, end);
        }
      }
      REQUIRE(SameBits(out.data(), whole.data(), out.size()));
    }
  });
}

TEST_CASE("the place of q8 rows in memory does not change a bit", "[kernels]") {
  Random random(5);
  ForEachTarget([&] {
    const size_t cols = random.Between(1, 300), bytes = 5 * Q8RowBytes(cols);
    Q8Matrix w(random, 5, cols);
    const std::vector<float> x = random.Floats(cols);
    const std::vector<float> expected = Product(w.matrix(), x, 1);
    std::vector<uint16_t> moved(bytes / 2 + 64);
    for (size_t shift = 0; shift < 64; ++shift) {
      std::memcpy(&moved[shift], w.matrix().data, bytes);
      Matrix there = w.matrix();
      there.data = &moved[shift];
      REQUIRE(Product(there, x, 1) == expected);
    }
  });
}

TEST_CASE("weights that no q8 group can hold show in the product", "[kernels]") {
  ForEachTarget([&] {
    for (float bad : {INFINITY, -INFINITY, NAN, 1e7f}) {
      for (size_t at : {0u, 31u, 34u}) {
        std::vector<float> wide(35, 0.5f);
        wide[at] = bad;
        std::vector<unsigned char> row(Q8RowBytes(35));
        kernels::QuantizeRow(wide.data(), 35, row.data());
        const Matrix w = {row.data(), ElementType::kF32, 1, 35, row.size(), true};
        const std::vector<float> out = Product(w, std::vector<float>(35, 0.5f), 1);
        REQUIRE(kernels::HasNonFinite(out.data(), 1));
      }
    }
  });
}

}  // namespace
}  // namespace sluice::testing
