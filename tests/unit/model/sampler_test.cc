#include "lib/model/sampler.h"

#include <cmath>
#include <map>
#include <vector>

#include "tests/support/catch.h"

namespace sluice {
namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, 2.0f, -1.0f, 3.0f, 0.0f};

int32_t SampleOnce(Sampler* sampler) {
  std::vector<float> logits = kLogits;
  return sampler->Sample(absl::MakeSpan(logits));
}

std::map<int32_t, int> Histogram(const SamplingOptions& options, int count) {
  Sampler sampler(options, static_cast<uint32_t>(kLogits.size()));
  std::map<int32_t, int> histogram;
  for (int i = 0; i < count; ++i) ++histogram[SampleOnce(&sampler)];
  return histogram;
}

TEST_CASE("greedy takes the first of the most likely", "[model]") {
  Sampler sampler(SamplingOptions(), 6);
  CHECK(SampleOnce(&sampler) == 1);
}

TEST_CASE("sampling follows the softmax", "[model]") {
  SamplingOptions options;
  options.temperature = 1.5f;
  options.seed = testing::Seed();
  const int count = 60000;
  const auto histogram = Histogram(options, count);
  double total = 0;
  for (float logit : kLogits) total += std::exp(logit / 1.5);
  for (size_t i = 0; i < kLogits.size(); ++i) {
    const double expected = count * std::exp(kLogits[i] / 1.5) / total;
    const auto it = histogram.find(static_cast<int32_t>(i));
    const double got = it == histogram.end() ? 0 : it->second;
    INFO("token " << i << ": " << got << " of about " << expected);
    CHECK(std::abs(got - expected) < 6 * std::sqrt(expected) + 1);
  }
}

TEST_CASE("top-k, top-p and min-p leave out the unlikely", "[model]") {
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 3;
  for (const auto& [token, count] : Histogram(options, 2000)) {
    CHECK((token == 1 || token == 4 || token == 2));
  }
  options = SamplingOptions();
  options.temperature = 1;
  options.top_p = 0.5f;  // the two most likely have 0.40 each
  CHECK(Histogram(options, 2000).size() == 2);
  options.top_p = 0.3f;
  CHECK(Histogram(options, 200).size() == 1);
  options = SamplingOptions();
  options.temperature = 1;
  options.min_p = 0.3f;  // exp(-1) = 0.37 stays, exp(-2) does not
  CHECK(Histogram(options, 2000).size() == 3);
}

TEST_CASE("a repetition penalty moves on", "[model]") {
  SamplingOptions options;
  options.repetition_penalty = 10;
  Sampler sampler(options, 6);
  CHECK(SampleOnce(&sampler) == 1);
  CHECK(SampleOnce(&sampler) == 4);
  CHECK(SampleOnce(&sampler) == 2);
  Sampler seen(options, 6);
  seen.Observe({1, 4});
  CHECK(SampleOnce(&seen) == 2);
}

TEST_CASE("a seed gives the same tokens, extreme temperatures are safe", "[model]") {
  SamplingOptions options;
  options.temperature = 2;
  options.seed = 12345;
  CHECK(Histogram(options, 500) == Histogram(options, 500));
  options.temperature = 1e-30f;
  options.top_k = 1;
  CHECK(Histogram(options, 5).begin()->first == 1);
  options = SamplingOptions();
  options.temperature = 1e30f;
  CHECK(Histogram(options, 5000).size() == 6);
}

TEST_CASE("options out of range are named", "[model]") {
  SamplingOptions options;
  options.temperature = -1;
  CHECK(!Sampler::Check(options).ok());
  options.temperature = std::nanf("");
  CHECK(!Sampler::Check(options).ok());
  options = SamplingOptions();
  options.top_p = 0;
  CHECK(!Sampler::Check(options).ok());
  options = SamplingOptions();
  options.min_p = 1.5f;
  CHECK(!Sampler::Check(options).ok());
  options = SamplingOptions();
  options.repetition_penalty = 0;
  CHECK(!Sampler::Check(options).ok());
  CHECK(Sampler::Check(SamplingOptions()).ok());
}

}  // namespace
}  // namespace sluice
