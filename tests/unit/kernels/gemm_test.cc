#include "tests/unit/kernels/kernel_test_util.h"

namespace sluice::testing {
namespace {

// Element (i, j) of a row-major matrix or of its transpose.
float At(const std::vector<float>& x, size_t stride, bool transposed, size_t i, size_t j) {
  return transposed ? x[j * stride + i] : x[i * stride + j];
}

void Check(Random& random, size_t m, size_t n, size_t k, bool a_transposed, bool b_transposed) {
  INFO(m << 'x' << n << 'x' << k << (a_transposed ? " a^T" : "") << (b_transposed ? " b^T" : ""));
  const size_t lda = (a_transposed ? m : k) + 3, ldb = (b_transposed ? k : n) + 2, ldc = n + 1;
  const std::vector<float> a = random.Floats((a_transposed ? k : m) * lda);
  const std::vector<float> b = random.Floats((b_transposed ? n : k) * ldb);
  const std::vector<float> before = random.Floats(m * ldc);
  std::vector<float> c = before;
  const auto gemm = a_transposed   ? kernels::GemmTN
                    : b_transposed ? kernels::GemmNT
                                   : kernels::GemmNN;
  gemm(a.data(), lda, b.data(), ldb, m, n, k, c.data(), ldc);
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double expected = before[i * ldc + j];
      for (size_t p = 0; p < k; ++p) {
        expected += static_cast<double>(At(a, lda, a_transposed, i, p)) *
                    static_cast<double>(At(b, ldb, b_transposed, p, j));
      }
      if (std::abs(c[i * ldc + j] - expected) > SumTolerance(k)) {
        FAIL(i << ',' << j << ": " << c[i * ldc + j] << " != " << expected);
      }
    }
    REQUIRE(c[i * ldc + n] == before[i * ldc + n]);  // between the rows
  }
}

TEST_CASE("the three training products", "[kernels]") {
  Random random(1);
  ForEachTarget([&] {
    for (int round = 0; round < 12; ++round) {
      const size_t m = random.Between(1, 70), n = random.Between(1, 90);
      const size_t k = random.Between(1, 300);
      Check(random, m, n, k, false, false);
      Check(random, m, n, k, false, true);
      Check(random, m, n, k, true, false);
    }
    Check(random, 64, 64, 256, false, true);
    Check(random, 1, 1, 1, false, false);
  });
}

TEST_CASE("nothing to multiply changes nothing", "[kernels]") {
  std::vector<float> a(4, 1.0f), b(4, 1.0f), c(4, 2.0f);
  kernels::GemmNN(a.data(), 2, b.data(), 2, 0, 2, 2, c.data(), 2);
  kernels::GemmNN(a.data(), 2, b.data(), 2, 2, 0, 2, c.data(), 2);
  kernels::GemmNN(a.data(), 2, b.data(), 2, 2, 2, 0, c.data(), 2);
  for (float v : c) REQUIRE(v == 2.0f);
}

}  // namespace
}  // namespace sluice::testing
