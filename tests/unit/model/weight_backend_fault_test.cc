// The weight backend when storage fails, and when several use the layers at once.
#include <cerrno>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "tests/support/faulty_engines.h"
#include "tests/unit/model/backend_fixture.h"

namespace sluice {
namespace {

using testing::BackendFixture;
using testing::BackendOf;
using testing::Fault;
using testing::FaultKind;
using testing::FaultPlan;
using testing::ForwardByRows;
using testing::Near;
using testing::TinyModelOptions;
using testing::Token;

TinyModelOptions Wide() {
  TinyModelOptions tiny;
  tiny.d_model = 1024;
  tiny.d_ffn = 72;
  return tiny;
}

ModelOptions Sparse() {
  ModelOptions options;
  options.mode = Mode::kSparse;
  options.threads = 1;
  options.window_tokens = 1;
  options.ffn_only = true;
  return options;
}

// A model whose reads suffer `plan`.
struct FaultyModel {
  std::shared_ptr<const testing::FaultCounts> counts;
  std::shared_ptr<FlashModelImpl> model;

  FaultyModel(const BackendFixture& fixture, std::shared_ptr<const std::string> content,
              const ModelOptions& options, const FaultPlan& plan) {
    model = fixture.Open(options, testing::FaultyEngines(std::move(content), plan, &counts));
  }
};

// Two tokens through all layers: each as a whole, in turn; then by rows, with hints.
class Walk {
 public:
  explicit Walk(const BackendFixture& fixture)
      : fixture_(fixture), d_(fixture.tiny.d_model), x_(fixture.Inputs(2)),
        expected_(fixture.Expected(Mode::kSparse, x_)) {}

  // Repeats what fails, at most `most` times in all; how often it did.
  int Run(WeightBackend& backend, int most) {
    int failures = 0;
    const auto repeat = [&](const std::function<absl::Status()>& call) {
      for (absl::Status status = call(); !status.ok(); status = call()) {
        INFO(status.message());
        REQUIRE(++failures <= most);
        REQUIRE((absl::IsUnavailable(status) || absl::IsInternal(status) ||
                 absl::IsDataLoss(status)));
      }
    };
    for (size_t t = 0; t < 2; ++t) {
      const auto x = Token(x_, t, d_);
      std::vector<float> y(d_);
      for (uint32_t layer = 0; layer < fixture_.tiny.num_layers; ++layer) {
        repeat([&] { return backend.Forward(layer, x, absl::MakeSpan(y)); });
        REQUIRE(absl::MakeSpan(y) == Token(expected_[layer], t, d_));
      }
      for (uint32_t layer = 0; layer < fixture_.tiny.num_layers; ++layer) {
        if (layer > 0) repeat([&] { return backend.Hint(layer, x); });
        repeat([&] { return ForwardByRows(backend, layer, x, &y); });
        REQUIRE(Near(y, Token(expected_[layer], t, d_)));
      }
    }
    return failures;
  }

 private:
  const BackendFixture& fixture_;
  const size_t d_;
  std::vector<float> x_;
  const std::vector<std::vector<float>> expected_;
};

TEST_CASE("the k-th read of a backend fails, for every k", "[model][fault]") {
  const BackendFixture fixture(Wide());
  const auto content =
      std::make_shared<const std::string>(testing::ReadFileOrDie(fixture.path));
  Walk walk(fixture);
  ModelOptions options = Sparse();
  int failures = 0;
  for (const bool floor : {false, true}) {
    if (floor) options.dram_budget_bytes = fixture.Floor(options);
    for (const FaultKind kind : {FaultKind::kErrno, FaultKind::kFlippedByte}) {
      for (uint64_t k = 0;; ++k) {
        INFO("read " << k << ", fault " << static_cast<int>(kind) << ", floor " << floor);
        FaultPlan plan;
        // EBADF is not retried: each failure reaches the backend.
        plan.script.push_back({k, false, Fault{kind, EBADF}});
        const FaultyModel faulty(fixture, content, options, plan);
        const auto backend = BackendOf(*faulty.model);
        failures += walk.Run(*backend, 1);
        if (faulty.counts->faults == 0) break;
      }
    }
  }
  CHECK(failures > 8);
}

TEST_CASE("a backend's engine itself fails, for every call to it", "[model][fault]") {
  const BackendFixture fixture(Wide());
  const auto content =
      std::make_shared<const std::string>(testing::ReadFileOrDie(fixture.path));
  Walk walk(fixture);
  ModelOptions options = Sparse();
  options.dram_budget_bytes = fixture.Floor(options);
  uint64_t submits = 0, reaps = 0;
  {
    const FaultyModel clean(fixture, content, options, FaultPlan());
    CHECK(walk.Run(*BackendOf(*clean.model), 0) == 0);
    submits = clean.counts->submits;
    reaps = clean.counts->reaps;
  }
  REQUIRE(submits > 8);
  for (uint64_t k = 0; k < submits + reaps; ++k) {
    INFO("call " << k << " of " << submits << " and " << reaps);
    FaultPlan plan;
    (k < submits ? plan.failing_submit : plan.failing_reap) = k < submits ? k : k - submits;
    const FaultyModel faulty(fixture, content, options, plan);
    walk.Run(*BackendOf(*faulty.model), 2);
  }
}

TEST_CASE("reads that fail for good name their layer, and nothing stays acquired",
          "[model][fault]") {
  const BackendFixture fixture(Wide());
  const auto content =
      std::make_shared<const std::string>(testing::ReadFileOrDie(fixture.path));
  FaultPlan plan;
  plan.script.push_back({0, true, Fault{FaultKind::kErrno, EBADF}});
  const FaultyModel faulty(fixture, content, Sparse(), plan);
  const auto backend = BackendOf(*faulty.model);
  std::vector<float> x = fixture.Inputs(1), y(x.size());
  const void *up = nullptr, *down = nullptr;
  for (int repeat = 0; repeat < 2; ++repeat) {
    const absl::Status forward = backend->Forward(1, x, absl::MakeSpan(y));
    CHECK(!forward.ok());
    CHECK(absl::StrContains(forward.message(), "layer 1"));
    const absl::Status acquire = backend->Acquire(1, {7}, false, {&up, 1}, {&down, 1});
    CHECK(!acquire.ok());
    CHECK(absl::StrContains(acquire.message(), "neurons 7 to 7"));
    CHECK(absl::IsFailedPrecondition(backend->Release(1)));
  }
}

// Two backends, one by rows with hints, and a session, all short of slots.
TEST_CASE("backends and a session at the same time", "[model]") {
  const BackendFixture fixture(Wide());
  const size_t d = fixture.tiny.d_model, count = 24;
  std::vector<float> x = fixture.Inputs(count);
  const auto expected = fixture.Expected(Mode::kSparse, x);
  const auto tokens = testing::RandomTokens(testing::Seed(), count, fixture.tiny.vocab_size);
  ModelOptions options = Sparse();
  options.ffn_only = false;
  options.threads = 2;
  auto alone = fixture.Open(options)->CreateSession();
  REQUIRE_OK(alone);
  const std::vector<float> logits = testing::AllLogits(**alone, tokens);
  options.max_sessions = 3;
  options.dram_budget_bytes = fixture.Floor(options);
  const auto model = fixture.Open(options);
  const auto whole = BackendOf(*model), by_rows = BackendOf(*model);
  auto session = model->CreateSession();
  REQUIRE_OK(session);

  bool whole_right = true, rows_right = true, session_right = true;
  std::thread first([&] {
    std::vector<float> y(d);
    for (size_t t = 0; t < count; ++t) {
      for (uint32_t layer = 0; layer < fixture.tiny.num_layers; ++layer) {
        whole_right = whole_right &&
                      whole->Forward(layer, Token(x, t, d), absl::MakeSpan(y)).ok() &&
                      absl::MakeConstSpan(y) == Token(expected[layer], t, d);
      }
    }
  });
  std::thread second([&] {
    std::vector<float> y;
    for (size_t t = 0; t < count; ++t) {
      for (uint32_t layer = 0; layer < fixture.tiny.num_layers; ++layer) {
        rows_right = rows_right && ForwardByRows(*by_rows, layer, Token(x, t, d), &y).ok() &&
                     Near(y, Token(expected[layer], t, d));
        if (layer + 1 == fixture.tiny.num_layers) continue;
        rows_right = rows_right && by_rows->Hint(layer + 1, Token(x, t, d)).ok();
      }
    }
  });
  std::thread third([&] {
    std::vector<float> row(fixture.tiny.vocab_size);
    for (size_t t = 0; t < count; ++t) {
      session_right = session_right && (*session)->Decode(tokens[t], absl::MakeSpan(row)).ok() &&
                      absl::MakeSpan(row) == Token(logits, t, row.size());
    }
  });
  first.join();
  second.join();
  third.join();
  CHECK(whole_right);
  CHECK(rows_right);
  CHECK(session_right);
}

}  // namespace
}  // namespace sluice
