// What a session does when things go wrong, and when they go on for long.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/model/flash_model_impl.h"
#include "tests/support/catch.h"
#include "tests/support/faulty_engines.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::AllLogits;
using testing::Fault;
using testing::FaultKind;
using testing::FaultPlan;
using testing::RandomTokens;
using testing::TinyModelOptions;

struct Fixture {
  testing::TempDir dir;
  std::string path = dir.File("tiny.flash");
  TinyModelOptions tiny;
  std::vector<int32_t> tokens;
  std::shared_ptr<const std::string> content;

  explicit Fixture(TinyModelOptions options = {}) : tiny(std::move(options)) {
    testing::WriteTinyModel(path, tiny);
    tokens = RandomTokens(testing::Seed(), 9, tiny.vocab_size);
    content = std::make_shared<const std::string>(testing::ReadFileOrDie(path));
  }

  // A model whose reads suffer `plan`.
  std::shared_ptr<FlashModelImpl> Open(const ModelOptions& options, const FaultPlan& plan,
                                       std::shared_ptr<const testing::FaultCounts>* counts) {
    auto model =
        FlashModelImpl::Open(path, options, testing::FaultyEngines(content, plan, counts));
    REQUIRE_OK(model);
    return *model;
  }
};

ModelOptions Dense() {
  ModelOptions options;
  options.mode = Mode::kDense;
  options.threads = 1;
  options.window_tokens = 1;
  return options;
}

TEST_CASE("the k-th read fails, for every k", "[model][fault]") {
  Fixture fixture;
  std::shared_ptr<const testing::FaultCounts> counts;
  auto clean = fixture.Open(Dense(), FaultPlan(), &counts)->CreateSession();
  REQUIRE_OK(clean);
  const std::vector<float> expected = AllLogits(**clean, fixture.tokens);
  REQUIRE(counts->reads_seen > 0);

  uint64_t failures = 0;
  for (const bool persistent : {false, true}) {
    for (uint64_t k = 0;; ++k) {
      INFO("read " << k << (persistent ? " and all after it" : ""));
      FaultPlan plan;
      // EBADF is not retried: each failure reaches the session.
      plan.script.push_back({k, persistent, Fault{FaultKind::kErrno, EBADF}});
      const auto model = fixture.Open(Dense(), plan, &counts);
      auto session = model->CreateSession();
      REQUIRE_OK(session);
      std::vector<float> last(fixture.tiny.vocab_size);
      const absl::Status status = (*session)->Prefill(fixture.tokens, absl::MakeSpan(last));
      if (counts->faults == 0) {
        REQUIRE_OK(status);
        break;
      }
      ++failures;
      REQUIRE(!status.ok());
      INFO(status.message());
      CHECK(absl::StrContains(status.message(), "layer "));
      CHECK(absl::StrContains(status.message(), fixture.path));
      CHECK((*session)->position() == 0);
      if (!persistent) CHECK(AllLogits(**session, fixture.tokens) == expected);
    }
  }
  CHECK(failures > 2);
}

TEST_CASE("faults that can be retried leave no trace", "[model][fault]") {
  Fixture fixture;
  std::shared_ptr<const testing::FaultCounts> counts;
  auto clean = fixture.Open(Dense(), FaultPlan(), &counts)->CreateSession();
  REQUIRE_OK(clean);
  const std::vector<float> expected = AllLogits(**clean, fixture.tokens);
  FaultPlan plan;
  plan.seed = testing::Seed();
  plan.random_one_in = 4;
  plan.random_faults = {{FaultKind::kErrno, EINTR}, {FaultKind::kErrno, EAGAIN},
                        {FaultKind::kShortAligned, 0}, {FaultKind::kShortOdd, 0},
                        {FaultKind::kLate, 0}};
  plan.reorder = true;
  uint64_t faults = 0;
  for (int round = 0; round < 20; ++round) {
    plan.seed += 1;
    auto session = fixture.Open(Dense(), plan, &counts)->CreateSession();
    REQUIRE_OK(session);
    REQUIRE(AllLogits(**session, fixture.tokens) == expected);
    faults += counts->faults;
  }
  CHECK(faults > 0);
}

TEST_CASE("wrong bytes are caught before they are used", "[model][fault]") {
  Fixture fixture;
  for (FaultKind kind : {FaultKind::kFlippedByte, FaultKind::kWrongOffset}) {
    FaultPlan plan;
    plan.script.push_back({1, false, Fault{kind, 0}});
    std::shared_ptr<const testing::FaultCounts> counts;
    const auto model = fixture.Open(Dense(), plan, &counts);
    auto session = model->CreateSession();
    REQUIRE_OK(session);
    const absl::Status status = (*session)->Prefill(fixture.tokens, {});
    INFO(status.message());
    CHECK(absl::IsDataLoss(status));
    CHECK(absl::StrContains(status.message(), "layer "));
    CHECK(absl::StrContains(status.message(), "neurons "));
    REQUIRE_OK((*session)->Prefill(fixture.tokens, {}));
  }
}

TEST_CASE("a weight that is not a number names its layer", "[model][fault]") {
  TinyModelOptions tiny;
  tiny.edit = [](const std::string& name, std::vector<float>* values) {
    if (name == "layers.1.ffn_norm.weight") {
      (*values)[3] = std::numeric_limits<float>::quiet_NaN();
    }
  };
  Fixture fixture(tiny);
  for (Mode mode : {Mode::kDense, Mode::kSparse}) {
    ModelOptions options = Dense();
    options.mode = mode;
    auto model = FlashModel::Open(fixture.path, options);
    REQUIRE_OK(model);
    auto session = (*model)->CreateSession();
    REQUIRE_OK(session);
    const absl::Status status = (*session)->Prefill(fixture.tokens, {});
    INFO(status.ToString());
    CHECK(absl::IsDataLoss(status));
    CHECK(absl::StrContains(status.message(), "layer 1"));
  }
}

// With no slot lost and none that claims to hold what was not read, whatever call fails.
TEST_CASE("the engine itself fails, for every call to it", "[model][fault]") {
  Fixture fixture;
  std::shared_ptr<const testing::FaultCounts> counts;
  auto clean = fixture.Open(Dense(), FaultPlan(), &counts)->CreateSession();
  REQUIRE_OK(clean);
  const std::vector<float> expected = AllLogits(**clean, fixture.tokens);
  const uint64_t submits = counts->submits, reaps = counts->reaps;
  REQUIRE(submits > 2);
  for (uint64_t k = 0; k < submits + reaps; ++k) {
    FaultPlan plan;
    (k < submits ? plan.failing_submit : plan.failing_reap) = k < submits ? k : k - submits;
    const auto model = fixture.Open(Dense(), plan, &counts);
    auto session = model->CreateSession();
    REQUIRE_OK(session);
    const absl::Status status = (*session)->Prefill(fixture.tokens, {});
    INFO("call " << k << ": " << status.ToString());
    CHECK(!status.ok());
    CHECK(AllLogits(**session, fixture.tokens) == expected);
  }
}

TEST_CASE("a generation goes on where the last one ended", "[model]") {
  Fixture fixture;
  auto model = FlashModel::Open(fixture.path, Dense());
  REQUIRE_OK(model);
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  GenerateOptions generate;
  generate.ignore_eos = true;
  generate.max_tokens = 30;
  auto whole = (*session)->GenerateFromTokens(fixture.tokens, generate);
  REQUIRE_OK(whole);
  (*session)->Reset();
  generate.max_tokens = 10;
  auto first = (*session)->GenerateFromTokens(fixture.tokens, generate);
  REQUIRE_OK(first);
  CHECK(std::equal(first->tokens.begin(), first->tokens.end(), whole->tokens.begin()));
  CHECK((*session)->position() == fixture.tokens.size() + 9);
  // With the eleventh token as its prompt, the next one must choose the twelfth: only if the tenth,
  // which the first one chose last, has been fed before it.
  generate.max_tokens = 1;
  auto next = (*session)->GenerateFromTokens({whole->tokens[10]}, generate);
  REQUIRE_OK(next);
  CHECK(next->tokens[0] == whole->tokens[11]);
  (*session)->Reset();
  auto again = (*session)->GenerateFromTokens(fixture.tokens, generate);
  REQUIRE_OK(again);
  CHECK((*session)->position() == fixture.tokens.size());
  auto more = (*session)->GenerateFromTokens({5}, generate);
  REQUIRE_OK(more);
  CHECK((*session)->position() == fixture.tokens.size() + 2);
}

TEST_CASE("a generation that fails leaves the session as it was", "[model][fault]") {
  TinyModelOptions tiny;
  tiny.d_ffn = 2000;  // many more records than the floor has slots: each token reads
  Fixture fixture(tiny);
  std::shared_ptr<const testing::FaultCounts> counts;
  GenerateOptions generate;
  generate.ignore_eos = true;
  generate.max_tokens = 12;
  ModelOptions options = Dense();
  options.mode = Mode::kSparse;
  auto memory = PlanMemory(fixture.path, options);
  REQUIRE_OK(memory);
  options.dram_budget_bytes = memory->floor_bytes;
  auto clean = fixture.Open(options, FaultPlan(), &counts)->CreateSession();
  REQUIRE_OK(clean);
  auto expected = (*clean)->GenerateFromTokens(fixture.tokens, generate);
  REQUIRE_OK(expected);
  const uint64_t reads = counts->reads_seen;
  REQUIRE(reads > 4);
  FaultPlan plan;
  plan.script.push_back({reads - 1, false, Fault{FaultKind::kErrno, EBADF}});
  auto session = fixture.Open(options, plan, &counts)->CreateSession();
  REQUIRE_OK(session);
  CHECK(!(*session)->GenerateFromTokens(fixture.tokens, generate).ok());
  CHECK((*session)->position() == 0);
  auto repeated = (*session)->GenerateFromTokens(fixture.tokens, generate);
  REQUIRE_OK(repeated);
  CHECK(repeated->tokens == expected->tokens);
}

// A layer that somebody else works on is no reason to miss a cancellation.
TEST_CASE("waiting for a layer can be cancelled", "[model]") {
  Fixture fixture;
  ModelOptions options = Dense();
  options.max_sessions = 2;
  auto model = FlashModelImpl::Open(fixture.path, options, nullptr);
  REQUIRE_OK(model);
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  const std::atomic<bool> never{false};
  absl::Status status;
  {
    const LayerSlots::Lease lease(&(*model)->cache().layer(1), never);
    REQUIRE(lease.held());
    std::thread waiter([&] { status = (*session)->Prefill(fixture.tokens, {}); });
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    (*session)->Cancel();
    waiter.join();
  }
  CHECK(absl::IsCancelled(status));
  REQUIRE_OK((*session)->Prefill(fixture.tokens, {}));
}

TEST_CASE("a context that is full is an error with both numbers", "[model]") {
  Fixture fixture;
  ModelOptions options = Dense();
  options.context_tokens = 10;
  auto model = FlashModel::Open(fixture.path, options);
  REQUIRE_OK(model);
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  REQUIRE_OK((*session)->Prefill(fixture.tokens, {}));
  const absl::Status status = (*session)->Prefill(fixture.tokens, {});
  CHECK(absl::IsInvalidArgument(status));
  CHECK(absl::StrContains(status.message(), "9"));
  CHECK(absl::StrContains(status.message(), "10"));
  CHECK((*session)->position() == 9);
  (*session)->Reset();
  GenerateOptions generate;
  generate.max_tokens = 3;
  CHECK(absl::IsInvalidArgument(
      (*session)->GenerateFromTokens(fixture.tokens, generate).status()));
  CHECK((*session)->position() == 0);
  generate.max_tokens = 2;
  generate.ignore_eos = true;
  auto result = (*session)->GenerateFromTokens(fixture.tokens, generate);
  REQUIRE_OK(result);
  CHECK(result->tokens.size() == 2);
  CHECK(result->finish_reason == FinishReason::kLength);
}

TEST_CASE("the log says how the file is read", "[model]") {
  Fixture fixture;
  std::vector<std::string> heard;
  SetLogCallback([&](int level, const std::string& text) {
    CHECK((level == 0 || level == 1));
    heard.push_back(text);
  });
  ModelOptions options = Dense();
  options.engine = Engine::kPread;
  REQUIRE_OK(FlashModel::Open(fixture.path, options));
  SetLogCallback(nullptr);
  REQUIRE_OK(FlashModel::Open(fixture.path, options));
  REQUIRE(heard.size() == 1);
  CHECK(absl::StrContains(heard[0], "pread"));
  CHECK(absl::StrContains(heard[0], fixture.path));
}

TEST_CASE("bad tokens and buffers are refused", "[model]") {
  Fixture fixture;
  auto model = FlashModel::Open(fixture.path, Dense());
  REQUIRE_OK(model);
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  std::vector<float> wrong(fixture.tiny.vocab_size + 1);
  CHECK(absl::IsInvalidArgument((*session)->Prefill({}, {})));
  CHECK(absl::IsInvalidArgument((*session)->Prefill({-1}, {})));
  CHECK(absl::IsInvalidArgument(
      (*session)->Prefill({static_cast<int32_t>(fixture.tiny.vocab_size)}, {})));
  CHECK(absl::IsInvalidArgument((*session)->Prefill({1}, absl::MakeSpan(wrong))));
  CHECK(absl::IsFailedPrecondition((*session)->Generate("text", {}).status()));
  CHECK((*session)->position() == 0);
}

TEST_CASE("sessions are lent and taken back, and keep their model alive", "[model]") {
  Fixture fixture;
  ModelOptions options = Dense();
  options.max_sessions = 2;
  auto model = FlashModel::Open(fixture.path, options);
  REQUIRE_OK(model);
  auto first = (*model)->CreateSession(), second = (*model)->CreateSession();
  REQUIRE_OK(first);
  REQUIRE_OK(second);
  CHECK(absl::IsFailedPrecondition((*model)->CreateSession().status()));
  first->reset();
  auto third = (*model)->CreateSession();
  REQUIRE_OK(third);
  model->reset();
  REQUIRE_OK((*third)->Prefill(fixture.tokens, {}));
}

TEST_CASE("cancelling stops prefill and generation, and is used up", "[model]") {
  Fixture fixture;
  ModelOptions options = Dense();
  options.prefill_chunk_tokens = 2;
  auto model = FlashModel::Open(fixture.path, options);
  REQUIRE_OK(model);
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);

  SECTION("before the call") {
    (*session)->Cancel();
    CHECK(absl::IsCancelled((*session)->Prefill(fixture.tokens, {})));
  }
  SECTION("taken back by a call with no tokens") {
    const std::vector<int32_t> full((*session)->context_tokens(), fixture.tokens[0]);
    REQUIRE_OK((*session)->Prefill(full, {}));
    (*session)->Cancel();
    CHECK(absl::IsCancelled((*session)->Prefill({}, {})));
    CHECK(absl::IsInvalidArgument((*session)->Prefill({}, {})));
    CHECK((*session)->position() == full.size());
    (*session)->Reset();
  }
  SECTION("by the progress callback") {
    PrefillOptions prefill;
    uint32_t calls = 0;
    prefill.on_progress = [&](uint32_t done, uint32_t total) {
      CHECK(done <= total);
      return ++calls < 4;
    };
    CHECK(absl::IsCancelled((*session)->Prefill(fixture.tokens, {}, prefill)));
    CHECK(calls == 4);
  }
  SECTION("from another thread, while it generates") {
    GenerateOptions generate;
    generate.max_tokens = 80;
    generate.ignore_eos = true;
    std::thread other;
    generate.on_token = [&](int32_t, const std::string&) {
      if (!other.joinable()) other = std::thread([&] { (*session)->Cancel(); });
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      return true;
    };
    auto result = (*session)->GenerateFromTokens(fixture.tokens, generate);
    other.join();
    REQUIRE_OK(result);
    CHECK(result->finish_reason == FinishReason::kCancelled);
    CHECK(result->tokens.size() < 80);
    (*session)->Reset();
  }
  CHECK((*session)->position() == 0);
  REQUIRE_OK((*session)->Prefill(fixture.tokens, {}));
}

TEST_CASE("the parts of a token's time add up, and reads are counted", "[model]") {
  Fixture fixture;
  ModelOptions options = Dense();
  options.engine = Engine::kPread;
  auto plan = PlanMemory(fixture.path, options);
  REQUIRE_OK(plan);
  options.dram_budget_bytes = plan->floor_bytes;
  auto model = FlashModel::Open(fixture.path, options);
  REQUIRE_OK(model);
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  for (int32_t token : fixture.tokens) REQUIRE_OK((*session)->Decode(token, {}));
  const Stats stats = (*session)->stats();
  CHECK(stats.tokens == fixture.tokens.size());
  CHECK((*session)->samples().size() == fixture.tokens.size());
  CHECK(stats.io_ms_per_token + stats.memory_ms_per_token + stats.compute_ms_per_token ==
        Approx(stats.total_ms_per_token));
  CHECK(stats.compute_ms_per_token > 0);
  // The floor holds 16 of each layer's records, so every token reads the rest.
  CHECK(stats.bytes_per_token > 0);
  CHECK(stats.hit_rate < 1);
  CHECK(stats.predicted_fraction == Approx(1));
  CHECK(stats.active_fraction > 0);
  CHECK(stats.active_fraction < 0.6);
  CHECK(stats.engine == "pread");
  CHECK(!stats.engine_reason.empty());
  (*session)->ResetStats();
  CHECK((*session)->stats().tokens == 0);
}

}  // namespace
}  // namespace sluice
