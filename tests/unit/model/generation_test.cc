// What a host sees of a generation while tokens are chosen: logits and log probabilities.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/logprobs.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

TEST_CASE("log probabilities are those of the softmax, the most likely first", "[model]") {
  const std::vector<float> logits = {1.0f, 3.0f, kForbidden, -1.0f, 3.0f, 0.0f};
  double total = 0;
  for (float logit : logits) total += std::exp(static_cast<double>(logit));
  Logprobs logprobs;
  logprobs.Take(logits);
  for (size_t i = 0; i < logits.size(); ++i) {
    const TokenLogprob one = logprobs.Of(static_cast<int32_t>(i));
    CHECK(one.token == static_cast<int32_t>(i));
    if (logits[i] == kForbidden) {
      CHECK(one.logprob == kForbidden);
    } else {
      CHECK(one.logprob == Approx(logits[i] - std::log(total)));
    }
  }
  const std::vector<int32_t> order = {1, 4, 0, 5, 3};  // of equals the smaller id; no forbidden one
  for (uint32_t count = 0; count <= 7; ++count) {
    const auto top = logprobs.Top(count);
    REQUIRE(top.size() == std::min<size_t>(count, order.size()));
    for (size_t i = 0; i < top.size(); ++i) {
      CHECK(top[i].token == order[i]);
      CHECK(top[i].logprob == logprobs.Of(order[i]).logprob);
    }
  }
}

TEST_CASE("log probabilities of large logits do not overflow", "[model]") {
  Logprobs logprobs;
  logprobs.Take({3e38f, 3e38f, -3e38f});
  CHECK(logprobs.Of(0).logprob == Approx(std::log(0.5)));
  CHECK(logprobs.Top(1)[0].token == 0);
}

struct Fixture {
  testing::TempDir dir;
  std::string path = dir.File("tiny.flash");
  testing::TinyModelOptions tiny;
  std::unique_ptr<Session> session;
  std::vector<int32_t> prompt = {5, 6, 7};
  GenerateOptions options;

  Fixture() {
    testing::WriteTinyModel(path, tiny);
    ModelOptions model_options;
    model_options.threads = 1;
    auto model = FlashModel::Open(path, model_options);
    REQUIRE_OK(model);
    session = *(*model)->CreateSession();
    options.max_tokens = 8;
    options.ignore_eos = true;
  }
  std::vector<int32_t> Generate() {
    session->Reset();
    auto result = session->GenerateFromTokens(prompt, options);
    REQUIRE_OK(result);
    return result->tokens;
  }
};

TEST_CASE("a host that looks on changes nothing, and can change everything", "[model]") {
  Fixture fixture;
  GenerateOptions& options = fixture.options;
  options.sampling.temperature = 0.9f;
  options.sampling.repetition_penalty = 1.5f;
  options.sampling.top_k = 20;
  const std::vector<int32_t> plain = fixture.Generate();

  std::vector<int32_t> chosen, given;
  std::vector<float> seen;
  options.on_logits = [&](uint32_t position, absl::Span<float> logits) {
    CHECK(position == fixture.prompt.size() + given.size());
    CHECK(chosen.size() == given.size());
    seen.assign(logits.begin(), logits.end());
    return true;
  };
  options.top_logprobs = 96;
  options.on_logprobs = [&](const TokenLogprob& one, absl::Span<const TokenLogprob> top) {
    Logprobs expected;
    expected.Take(seen);  // before the penalty and what else the sampler does
    CHECK(one.logprob == expected.Of(one.token).logprob);
    REQUIRE(top.size() == 96);
    CHECK(std::is_sorted(top.begin(), top.end(), [](const auto& a, const auto& b) {
      return a.logprob > b.logprob;
    }));
    chosen.push_back(one.token);
    return true;
  };
  options.on_token = [&](int32_t token, const std::string&) {
    given.push_back(token);
    return true;
  };
  CHECK(fixture.Generate() == plain);
  CHECK(chosen == plain);
  CHECK(given == plain);

  // Only odd tokens, and of those only three.
  options.on_logprobs = nullptr;
  options.on_logits = [&](uint32_t, absl::Span<float> logits) {
    for (size_t i = 0; i < logits.size(); ++i) {
      if (i != 11 && i != 13 && i != 95) logits[i] = kForbidden;
    }
    return true;
  };
  for (float temperature : {0.0f, 1.0f, 1e-30f}) {
    options.sampling.temperature = temperature;
    for (int32_t token : fixture.Generate()) {
      CHECK((token == 11 || token == 13 || token == 95));
    }
  }
}

TEST_CASE("logits that are no distribution any more are refused", "[model]") {
  Fixture fixture;
  std::vector<int32_t> given;
  for (float spoiled : {std::numeric_limits<float>::quiet_NaN(),
                        std::numeric_limits<float>::infinity(), kForbidden}) {
    fixture.options.on_logits = [&](uint32_t position, absl::Span<float> logits) {
      if (position == 5) std::fill(logits.begin(), logits.end(), spoiled);
      return true;
    };
    fixture.session->Reset();
    const auto result = fixture.session->GenerateFromTokens(fixture.prompt, fixture.options);
    CHECK(absl::IsInvalidArgument(result.status()));
    CHECK(absl::StrContains(result.status().message(), "position 5"));
    CHECK(fixture.session->position() == 0);
  }
}

// Whoever stops when a token is to be chosen, or has just been, gets no such token; and the one
// before, which has been fed, is not fed again.
TEST_CASE("a host that stops at the choice of a token", "[model]") {
  Fixture fixture;
  const std::vector<int32_t> plain = fixture.Generate();
  const auto stop_at = [&](uint32_t position, bool logprobs) {
    GenerateOptions options = fixture.options;
    if (logprobs) {
      options.on_logprobs = [&fixture, position](const TokenLogprob&,
                                                 absl::Span<const TokenLogprob> top) {
        CHECK(top.empty());
        return fixture.session->position() != position;
      };
    } else {
      options.on_logits = [position](uint32_t at, absl::Span<float>) { return at != position; };
    }
    fixture.session->Reset();
    auto result = fixture.session->GenerateFromTokens(fixture.prompt, options);
    REQUIRE_OK(result);
    CHECK(result->finish_reason == FinishReason::kCancelled);
    return result->tokens;
  };
  for (const bool logprobs : {false, true}) {
    CHECK(stop_at(3, logprobs).empty());
    CHECK(fixture.session->position() == 3);
    REQUIRE(stop_at(6, logprobs) == std::vector<int32_t>(plain.begin(), plain.begin() + 3));
    CHECK(fixture.session->position() == 6);
    // With the next token as its prompt the session goes on as if nobody had stopped it.
    auto rest = fixture.session->GenerateFromTokens({plain[3]}, fixture.options);
    REQUIRE_OK(rest);
    CHECK(std::equal(plain.begin() + 4, plain.end(), rest->tokens.begin()));
    CHECK(fixture.session->position() == 6 + 1 + 7);
  }
}

}  // namespace
}  // namespace sluice
