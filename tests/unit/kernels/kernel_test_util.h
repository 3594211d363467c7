// What the tests of the kernels share: every dispatch target in turn, weights that end where
// mapped memory ends, and products in double.
#ifndef SLUICE_TESTS_UNIT_KERNELS_KERNEL_TEST_UTIL_H_
#define SLUICE_TESTS_UNIT_KERNELS_KERNEL_TEST_UTIL_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/element_type.h"
#include "lib/kernels/kernels.h"
#include "tests/support/catch.h"

namespace sluice::testing {

inline constexpr ElementType kAllTypes[] = {ElementType::kF32, ElementType::kF16,
                                            ElementType::kBF16};

// Runs `body` once for each target of this machine, restricted to it.
template <typename Body>
void ForEachTarget(Body body) {
  for (const std::string& target : kernels::AvailableTargets()) {
    INFO("target " << target << ", seed " << Seed());
    REQUIRE(kernels::ForceTarget(target));
    body();
  }
  REQUIRE(kernels::ForceTarget(""));
}

// `bytes` bytes, the last of them before a page that nobody may touch.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t bytes) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t usable = (bytes + page - 1) / page * page;
    mapped_ = usable + page;
    base_ = static_cast<unsigned char*>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(base_ != MAP_FAILED);
    REQUIRE(mprotect(base_ + usable, page, PROT_NONE) == 0);
    data_ = base_ + usable - bytes;
  }
  ~GuardedBytes() { munmap(base_, mapped_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  unsigned char* data() { return data_; }
  float* floats() { return reinterpret_cast<float*>(data_); }

 private:
  unsigned char* base_ = nullptr;
  unsigned char* data_ = nullptr;
  size_t mapped_ = 0;
};

class Random {
 public:
  explicit Random(uint64_t salt) : engine_(Seed() * 1000003 + salt) {}
  size_t Between(size_t low, size_t high) {
    return std::uniform_int_distribution<size_t>(low, high)(engine_);
  }
  std::vector<float> Floats(size_t n) {
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    std::vector<float> out(n);
    for (float& v : out) v = uniform(engine_);
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

// A matrix of random weights whose last row ends at a guard page. `padding` elements lie between
// the rows.
class TestMatrix {
 public:
  TestMatrix(Random& random, ElementType type, size_t rows, size_t cols, size_t padding = 0)
      : bytes_(((rows - 1) * (cols + padding) + cols) * ElementBytes(type)), wide_(rows * cols) {
    matrix_ = {bytes_.data(), type, rows, cols, (cols + padding) * ElementBytes(type)};
    const std::vector<float> values = random.Floats(rows * cols);
    for (size_t r = 0; r < rows; ++r) {
      REQUIRE(kernels::FromF32(type, &values[r * cols], cols, Row(r)) == cols);
      kernels::ToF32(type, Row(r), cols, &wide_[r * cols]);
    }
  }
  const kernels::Matrix& matrix() const { return matrix_; }
  unsigned char* Row(size_t r) { return bytes_.data() + r * matrix_.row_stride_bytes; }
  // The weights as the kernels see them.
  const float* Wide(size_t r) const { return &wide_[r * matrix_.cols]; }
  std::vector<const void*> Rows() {
    std::vector<const void*> rows;
    for (size_t r = 0; r < matrix_.rows; ++r) rows.push_back(Row(r));
    return rows;
  }

 private:
  GuardedBytes bytes_;
  kernels::Matrix matrix_;
  std::vector<float> wide_;
};

inline double Dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// What a sum of n products of numbers within +-1 may be off by in f32.
inline double SumTolerance(size_t n) {
  return 1e-6 * (1.0 + 4.0 * std::sqrt(static_cast<double>(n)));
}

inline bool SameBits(const float* a, const float* b, size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(float)) == 0;
}

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_KERNELS_KERNEL_TEST_UTIL_H_
