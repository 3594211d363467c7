#include <algorithm>

#include "tests/unit/kernels/kernel_test_util.h"

namespace sluice::testing {
namespace {

std::vector<double> Expected(const float* q, const float* keys, const float* values,
                             size_t kv_stride, size_t num_keys, size_t head_dim) {
  std::vector<double> scores(num_keys);
  for (size_t k = 0; k < num_keys; ++k) scores[k] = Dot(q, keys + k * kv_stride, head_dim);
  const double max = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double& s : scores) total += s = std::exp(s - max);
  std::vector<double> out(head_dim, 0.0);
  for (size_t k = 0; k < num_keys; ++k) {
    for (size_t c = 0; c < head_dim; ++c) {
      out[c] += scores[k] / total * static_cast<double>(values[k * kv_stride + c]);
    }
  }
  return out;
}

// `wide` rounded to `type`, ending at a guard page; `wide` becomes what is stored.
void StoreRounded(ElementType type, std::vector<float>* wide, GuardedBytes* to) {
  REQUIRE(kernels::FromF32(type, wide->data(), wide->size(), to->data()) == wide->size());
  kernels::ToF32(type, to->data(), wide->size(), wide->data());
}

TEST_CASE("AttentionHead is softmax(q . keys) . values", "[kernels]") {
  Random random(1);
  ForEachTarget([&] {
    for (int round = 0; round < 90; ++round) {
      const ElementType type = kAllTypes[round % 3];
      const size_t head_dim = random.Between(1, 140), stride = head_dim + random.Between(0, 9);
      const size_t num_keys = round < 80 ? random.Between(1, 300) : 2000;
      INFO(ElementTypeName(type) << ", head_dim " << head_dim << ", keys " << num_keys);
      const size_t kv_elements = (num_keys - 1) * stride + head_dim;
      GuardedBytes keys(kv_elements * ElementBytes(type)), values(kv_elements * ElementBytes(type));
      std::vector<float> k = random.Floats(kv_elements), v = random.Floats(kv_elements);
      StoreRounded(type, &k, &keys);
      StoreRounded(type, &v, &values);
      const std::vector<float> q = random.Floats(head_dim);
      GuardedBytes scores(num_keys * sizeof(float)), out(head_dim * sizeof(float));
      kernels::AttentionHead(type, q.data(), keys.data(), values.data(), stride, num_keys,
                             head_dim, scores.floats(), out.floats());
      const std::vector<double> expected =
          Expected(q.data(), k.data(), v.data(), stride, num_keys, head_dim);
      for (size_t c = 0; c < head_dim; ++c) {
        REQUIRE(std::abs(out.floats()[c] - expected[c]) < 1e-5);
      }
    }
  });
}

TEST_CASE("scores far beyond exp's range", "[kernels]") {
  ForEachTarget([&] {
    const std::vector<float> q = {1.0f};
    const std::vector<float> values = {1.0f, 2.0f, 3.0f, 5.0f};
    for (float scale : {1e4f, 1e30f}) {
      const std::vector<float> keys = {-scale, scale, 0.0f, scale};
      float scores[4], out = 0;
      kernels::AttentionHead(ElementType::kF32, q.data(), keys.data(), values.data(), 1, 4, 1,
                             scores, &out);
      REQUIRE(out == 3.5f);  // the two largest in equal parts
    }
  });
}

TEST_CASE("a NaN or infinite key is not smoothed away", "[kernels]") {
  ForEachTarget([&] {
    for (float bad : {NAN, INFINITY}) {
      for (size_t at = 0; at < 37; ++at) {
        const std::vector<float> q = {1.0f}, values(37, 1.0f);
        std::vector<float> keys(37, 0.5f), scores(37);
        keys[at] = bad;
        float out = 0;
        kernels::AttentionHead(ElementType::kF32, q.data(), keys.data(), values.data(), 1, 37, 1,
                               scores.data(), &out);
        REQUIRE(kernels::HasNonFinite(&out, 1));
      }
    }
  });
}

TEST_CASE("attention does not depend on where the cache lies", "[kernels]") {
  Random random(2);
  ForEachTarget([&] {
    const size_t head_dim = 83, num_keys = 45;
    const std::vector<float> q = random.Floats(head_dim);
    const std::vector<float> kv = random.Floats(num_keys * head_dim);
    std::vector<float> scores(num_keys), first(head_dim), out(head_dim);
    for (size_t shift = 0; shift < 20; ++shift) {
      const size_t stride = head_dim + shift;
      std::vector<float> moved(shift + num_keys * stride);
      for (size_t k = 0; k < num_keys; ++k) {
        std::copy_n(&kv[k * head_dim], head_dim, &moved[shift + k * stride]);
      }
      kernels::AttentionHead(ElementType::kF32, q.data(), &moved[shift], &moved[shift], stride,
                             num_keys, head_dim, scores.data(), out.data());
      if (shift == 0) first = out;
      REQUIRE(SameBits(out.data(), first.data(), head_dim));
    }
  });
}

}  // namespace
}  // namespace sluice::testing
