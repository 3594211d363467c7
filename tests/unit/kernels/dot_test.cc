#include "tests/unit/kernels/kernel_test_util.h"

namespace sluice::testing {
namespace {

using kernels::Matrix;

std::vector<float> MatVec(const Matrix& w, const float* bias, const std::vector<float>& x,
                          size_t num_tokens) {
  std::vector<float> out(num_tokens * w.rows);
  kernels::MatVec(w, bias, x.data(), num_tokens, w.cols, out.data(), w.rows, 0, w.rows);
  return out;
}

TEST_CASE("MatVec is the product, for every type and target", "[kernels]") {
  Random random(1);
  ForEachTarget([&] {
    for (int round = 0; round < 30; ++round) {
      for (ElementType type : kAllTypes) {
        const size_t rows = random.Between(1, 40), cols = random.Between(1, 300);
        const size_t tokens = random.Between(1, 9);
        INFO(ElementTypeName(type) << ' ' << rows << 'x' << cols << ", tokens " << tokens);
        TestMatrix w(random, type, rows, cols, random.Between(0, 5));
        const std::vector<float> x = random.Floats(tokens * cols), bias = random.Floats(rows);
        const std::vector<float> out = MatVec(w.matrix(), bias.data(), x, tokens);
        for (size_t t = 0; t < tokens; ++t) {
          for (size_t r = 0; r < rows; ++r) {
            const double expected = Dot(w.Wide(r), &x[t * cols], cols) + bias[r];
            REQUIRE(std::abs(out[t * rows + r] - expected) < SumTolerance(cols));
          }
        }
      }
    }
  });
}

TEST_CASE("MatVec of long rows", "[kernels]") {
  Random random(2);
  ForEachTarget([&] {
    for (ElementType type : kAllTypes) {
      for (size_t cols : {4096u, 16384u, 16389u}) {
        TestMatrix w(random, type, 5, cols);
        const std::vector<float> x = random.Floats(cols);
        const std::vector<float> out = MatVec(w.matrix(), nullptr, x, 1);
        for (size_t r = 0; r < 5; ++r) {
          REQUIRE(std::abs(out[r] - Dot(w.Wide(r), x.data(), cols)) < SumTolerance(cols));
        }
      }
    }
  });
}

TEST_CASE("MatVec gives the same bits for any token count and row range", "[kernels]") {
  Random random(3);
  ForEachTarget([&] {
    for (int round = 0; round < 20; ++round) {
      const ElementType type = kAllTypes[round % 3];
      const size_t rows = random.Between(1, 40), cols = random.Between(1, 300);
      const size_t tokens = random.Between(1, 11);
      TestMatrix w(random, type, rows, cols);
      const std::vector<float> x = random.Floats(tokens * cols), bias = random.Floats(rows);
      const std::vector<float> whole = MatVec(w.matrix(), bias.data(), x, tokens);

      std::vector<float> out(tokens * rows, -9.0f);
      for (size_t t = 0; t < tokens;) {  // chunks of tokens, each in pieces of rows
        const size_t num = random.Between(1, tokens - t);
        for (size_t begin = 0; begin < rows;) {
          const size_t end = random.Between(begin + 1, rows);
          kernels::MatVec(w.matrix(), bias.data(), &x[t * cols], num, cols, &out[t * rows], rows,
                          begin, end);
          begin = end;
        }
        t += num;
      }
      REQUIRE(SameBits(out.data(), whole.data(), out.size()));
    }
  });
}

TEST_CASE("an empty row range writes nothing", "[kernels]") {
  Random random(4);
  TestMatrix w(random, ElementType::kF16, 8, 33);
  const std::vector<float> x = random.Floats(66);
  std::vector<float> out(16, 7.0f);
  for (size_t tokens : {1u, 2u}) {
    kernels::MatVec(w.matrix(), nullptr, x.data(), tokens, 33, out.data(), 8, 3, 3);
  }
  for (float v : out) REQUIRE(v == 7.0f);
}

TEST_CASE("GatherDot, RowDot and MatVec agree in every bit", "[kernels]") {
  Random random(5);
  ForEachTarget([&] {
    for (int round = 0; round < 30; ++round) {
      const ElementType type = kAllTypes[round % 3];
      const size_t rows = random.Between(1, 40), cols = random.Between(1, 300);
      TestMatrix w(random, type, rows, cols, 3);
      const std::vector<float> x = random.Floats(cols);
      const std::vector<float> expected = MatVec(w.matrix(), nullptr, x, 1);
      const std::vector<const void*> pointers = w.Rows();
      std::vector<float> out(rows);
      kernels::GatherDot(type, pointers.data(), rows, cols, x.data(), out.data());
      REQUIRE(SameBits(out.data(), expected.data(), rows));
      for (size_t begin = 0; begin < rows;) {
        const size_t num = random.Between(1, rows - begin);
        kernels::GatherDot(type, &pointers[begin], num, cols, x.data(), &out[begin]);
        begin += num;
      }
      REQUIRE(SameBits(out.data(), expected.data(), rows));
      const size_t copies = random.Between(1, 9);
      const std::vector<const float*> xs(copies, x.data());
      std::vector<float> dots(copies);
      for (size_t r = 0; r < rows; ++r) {
        kernels::RowDot(type, pointers[r], cols, xs.data(), copies, dots.data());
        for (float dot : dots) REQUIRE(SameBits(&dot, &expected[r], 1));
      }
    }
  });
}

TEST_CASE("the place in memory does not change a bit", "[kernels]") {
  Random random(6);
  ForEachTarget([&] {
    for (ElementType type : kAllTypes) {
      const size_t cols = random.Between(1, 300), element = ElementBytes(type);
      TestMatrix w(random, type, 1, cols);
      const std::vector<float> x = random.Floats(cols);
      const std::vector<float> expected = MatVec(w.matrix(), nullptr, x, 1);
      std::vector<unsigned char> moved((cols + 64) * element);
      std::vector<float> moved_x(cols + 64);
      for (size_t shift = 0; shift < 40; ++shift) {
        std::memcpy(&moved[shift * element], w.Row(0), cols * element);
        std::memcpy(&moved_x[shift], x.data(), cols * sizeof(float));
        const void* row = &moved[shift * element];
        float out = 0;
        kernels::GatherDot(type, &row, 1, cols, &moved_x[shift], &out);
        REQUIRE(SameBits(&out, expected.data(), 1));
      }
    }
  });
}

TEST_CASE("nothing is read behind x or behind a row", "[kernels]") {
  Random random(7);
  ForEachTarget([&] {
    for (size_t cols = 1; cols <= 70; ++cols) {
      for (ElementType type : kAllTypes) {
        TestMatrix w(random, type, 6, cols);  // ends at a guard page
        GuardedBytes x(2 * cols * sizeof(float)), out(2 * 6 * sizeof(float));
        const std::vector<float> values = random.Floats(2 * cols);
        std::memcpy(x.data(), values.data(), 2 * cols * sizeof(float));
        for (size_t tokens : {1u, 2u}) {
          float* end_of_x = x.floats() + (2 - tokens) * cols;
          float* end_of_out = out.floats() + (2 - tokens) * 6;
          kernels::MatVec(w.matrix(), nullptr, end_of_x, tokens, cols, end_of_out, 6, 0, 6);
        }
        const float expected = out.floats()[11];  // the last row with the last x
        const void* last = w.Row(5);
        float dot = 0;
        kernels::GatherDot(type, &last, 1, cols, x.floats() + cols, &dot);
        REQUIRE(SameBits(&dot, &expected, 1));
      }
    }
  });
}

TEST_CASE("infinite and NaN weights show in the product", "[kernels]") {
  ForEachTarget([&] {
    for (ElementType type : kAllTypes) {
      for (float bad : {INFINITY, -INFINITY, NAN}) {
        for (size_t at : {0u, 20u, 34u}) {
          std::vector<float> wide(35, 0.5f);
          wide[at] = bad;
          std::vector<unsigned char> row(35 * ElementBytes(type));
          REQUIRE(kernels::FromF32(type, wide.data(), 35, row.data()) == 35);
          const std::vector<float> x(35, 0.5f);
          const void* pointer = row.data();
          float out = 0;
          kernels::GatherDot(type, &pointer, 1, 35, x.data(), &out);
          REQUIRE(kernels::HasNonFinite(&out, 1));
        }
      }
    }
  });
}

}  // namespace
}  // namespace sluice::testing
