// Sessions that go back, are copied, saved and loaded, and keep what a prompt shares with them: all
// with the bits of a session that was only ever fed the tokens.

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "lib/kernels/kernels.h"
#include "lib/model/flash_model_impl.h"
#include "tests/support/catch.h"
#include "tests/support/faulty_engines.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::AllLogits;
using testing::RandomTokens;
using testing::TinyModelOptions;

using Tokens = std::vector<int32_t>;

struct Fixture {
  testing::TempDir dir;
  std::string path = dir.File("tiny.flash");
  std::string saved = dir.File("saved.session");
  TinyModelOptions tiny;
  Tokens tokens;

  explicit Fixture(TinyModelOptions options = {}) : tiny(std::move(options)) {
    testing::WriteTinyModel(path, tiny);
    tokens = RandomTokens(testing::Seed(), 31, tiny.vocab_size);
  }
  std::shared_ptr<FlashModelImpl> Open(const ModelOptions& options) const {
    auto model = FlashModelImpl::Open(path, options, nullptr);
    REQUIRE_OK(model);
    return *model;
  }
  // At the floor of these options every token reads.
  ModelOptions AtFloor(ModelOptions options) const {
    auto plan = PlanMemory(path, options);
    REQUIRE_OK(plan);
    options.dram_budget_bytes = plan->floor_bytes;
    return options;
  }
};

std::unique_ptr<Session> SessionOf(FlashModelImpl& model) {
  auto session = model.CreateSession();
  REQUIRE_OK(session);
  return *std::move(session);
}

Tokens Part(const Tokens& tokens, size_t begin, size_t end) {
  return Tokens(tokens.begin() + static_cast<ptrdiff_t>(begin),
                tokens.begin() + static_cast<ptrdiff_t>(end));
}

Tokens Held(const Session& session) {
  return Tokens(session.tokens().begin(), session.tokens().end());
}

std::vector<ModelOptions> Variants() {
  std::vector<ModelOptions> variants;
  for (Mode mode : {Mode::kDense, Mode::kSparse}) {
    for (KvType kv : {KvType::kF32, KvType::kF16}) {
      ModelOptions options;
      options.mode = mode;
      options.kv_type = kv;
      options.threads = 1;
      options.max_sessions = 3;
      variants.push_back(options);
    }
  }
  return variants;
}

std::string Name(const ModelOptions& options) {
  return std::string(options.mode == Mode::kDense ? "dense" : "sparse") +
         (options.kv_type == KvType::kF16 ? ", f16" : ", f32");
}

// The logits of tokens [from, 31) when the session, which holds those before, goes on.
void CheckGoesOn(const Fixture& fixture, Session& session, size_t from,
                 const std::vector<float>& whole) {
  REQUIRE(Held(session) == Part(fixture.tokens, 0, from));
  REQUIRE(session.position() == from);
  const std::vector<float> rest =
      AllLogits(session, Part(fixture.tokens, from, fixture.tokens.size()));
  REQUIRE(rest.size() == (fixture.tokens.size() - from) * fixture.tiny.vocab_size);
  REQUIRE(std::equal(rest.begin(), rest.end(),
                     whole.begin() + static_cast<ptrdiff_t>(from * fixture.tiny.vocab_size)));
  REQUIRE(Held(session) == fixture.tokens);
}

TEST_CASE("rewinding, cloning and loading keep the bits", "[model]") {
  const Fixture fixture;
  for (const ModelOptions& options : Variants()) {
    INFO(Name(options));
    const auto model = fixture.Open(options);
    const auto fresh = SessionOf(*model);
    const std::vector<float> whole = AllLogits(*fresh, fixture.tokens);

    // What comes after the place to go back to is another text.
    const auto session = SessionOf(*model);
    REQUIRE_OK(session->Prefill(Part(fixture.tokens, 0, 11), {}));
    REQUIRE_OK(session->Prefill(RandomTokens(5, 9, fixture.tiny.vocab_size), {}));
    REQUIRE_OK(session->Rewind(11));

    const auto clone = session->Clone();
    REQUIRE_OK(clone);
    REQUIRE_OK(session->Save(fixture.saved));
    CheckGoesOn(fixture, *session, 11, whole);
    CheckGoesOn(fixture, **clone, 11, whole);

    // Into a session that holds something else, of a model that is open in another way.
    ModelOptions other = fixture.AtFloor(options);
    other.threads = 2;
    other.context_tokens = 40;
    other.prefill_chunk_tokens = 3;
    const auto again = fixture.Open(other);
    const auto loaded = SessionOf(*again);
    REQUIRE_OK(loaded->Prefill(RandomTokens(6, 20, fixture.tiny.vocab_size), {}));
    REQUIRE_OK(loaded->Load(fixture.saved));
    CheckGoesOn(fixture, *loaded, 11, whole);
  }
}

TEST_CASE("a position that is not there yet cannot be gone back to", "[model]") {
  const Fixture fixture;
  const auto model = fixture.Open(Variants()[0]);
  const auto session = SessionOf(*model);
  REQUIRE_OK(session->Prefill(Part(fixture.tokens, 0, 5), {}));
  CHECK(absl::IsInvalidArgument(session->Rewind(6)));
  CHECK(Held(*session) == Part(fixture.tokens, 0, 5));
  REQUIRE_OK(session->Rewind(5));
  REQUIRE_OK(session->Rewind(0));
  CHECK(session->tokens().empty());
  REQUIRE_OK(session->Rewind(0));
}

TEST_CASE("a clone takes one of the model's sessions, and begins its own statistics", "[model]") {
  const Fixture fixture;
  ModelOptions options = Variants()[0];
  options.max_sessions = 2;
  const auto model = fixture.Open(options);
  const auto session = SessionOf(*model);
  REQUIRE_OK(session->Prefill(fixture.tokens, {}));
  {
    auto clone = session->Clone();
    REQUIRE_OK(clone);
    CHECK((*clone)->stats().prefill_tokens == 0);
    CHECK((*clone)->position() == fixture.tokens.size());
    CHECK(absl::IsFailedPrecondition(session->Clone().status()));
  }
  session->Cancel();
  CHECK(absl::IsCancelled(session->Clone().status()));
  REQUIRE_OK(session->Clone());
}

GenerateOptions Generating(uint32_t max_tokens) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.ignore_eos = true;
  options.sampling.temperature = 0.8f;
  options.sampling.repetition_penalty = 1.3f;
  options.sampling.seed = testing::Seed();
  return options;
}

// The last token of a generation waits to be fed; copies and files have it too.
TEST_CASE("a token that was not fed yet goes along", "[model]") {
  const Fixture fixture;
  for (const ModelOptions& options : Variants()) {
    INFO(Name(options));
    const auto model = fixture.Open(options);
    const auto session = SessionOf(*model);
    REQUIRE_OK(session->GenerateFromTokens(Part(fixture.tokens, 0, 7), Generating(6)));
    REQUIRE(session->position() == 12);
    const auto clone = session->Clone();
    REQUIRE_OK(clone);
    REQUIRE_OK(session->Save(fixture.saved));
    const auto loaded = SessionOf(*model);
    REQUIRE_OK(loaded->Load(fixture.saved));
    const auto expected = session->GenerateFromTokens({3, 5}, Generating(8));
    REQUIRE_OK(expected);
    CHECK(session->position() == 12 + 1 + 2 + 7);
    for (Session* other : {clone->get(), loaded.get()}) {
      const auto result = other->GenerateFromTokens({3, 5}, Generating(8));
      REQUIRE_OK(result);
      CHECK(result->tokens == expected->tokens);
      CHECK(Held(*other) == Held(*session));
    }
  }
}

struct Outcome {
  Tokens tokens;
  std::vector<float> logits;  // of each token that was chosen
  Stats stats;                // of this generation alone
};

Outcome GenerateWhole(Session& session, const Tokens& prompt) {
  Outcome outcome;
  GenerateOptions options = Generating(5);
  options.whole_prompt = true;
  options.on_logits = [&](uint32_t position, absl::Span<float> logits) {
    CHECK(position == session.position());
    outcome.logits.insert(outcome.logits.end(), logits.begin(), logits.end());
    return true;
  };
  session.ResetStats();
  auto result = session.GenerateFromTokens(prompt, options);
  REQUIRE_OK(result);
  outcome.tokens = result->tokens;
  outcome.stats = session.stats();
  CHECK(session.position() == prompt.size() + 4);
  CHECK(std::equal(prompt.begin(), prompt.end(), session.tokens().begin()));
  return outcome;
}

TEST_CASE("of a whole prompt only what is new is computed and read", "[model]") {
  TinyModelOptions tiny;
  tiny.d_ffn = 2000;  // many more records than the floor has slots: each token reads
  const Fixture fixture(tiny);
  for (const ModelOptions& variant : Variants()) {
    INFO(Name(variant));
    ModelOptions options = variant;
    options.max_sessions = 2;
    options.prefill_chunk_tokens = 1;
    const auto model = fixture.Open(fixture.AtFloor(options));
    const auto check = [&](const Tokens& before, const Tokens& prompt, uint32_t reused) {
      const auto fresh = SessionOf(*model), session = SessionOf(*model);
      const Outcome expected = GenerateWhole(*fresh, prompt);
      CHECK(expected.stats.reused_tokens == 0);
      CHECK(expected.stats.prefill_tokens == prompt.size());
      const auto first = session->GenerateFromTokens(before, Generating(4));
      REQUIRE_OK(first);
      const Outcome outcome = GenerateWhole(*session, prompt);
      CHECK(outcome.tokens == expected.tokens);
      CHECK(outcome.logits == expected.logits);
      CHECK(outcome.stats.reused_tokens == reused);
      CHECK(outcome.stats.prefill_tokens == prompt.size() - reused);
      const double share = static_cast<double>(prompt.size() - reused) /
                           static_cast<double>(prompt.size());
      REQUIRE(expected.stats.prefill_bytes > 0);
      CHECK(static_cast<double>(outcome.stats.prefill_bytes) <
            1.5 * share * static_cast<double>(expected.stats.prefill_bytes));
    };
    const Tokens before = Part(fixture.tokens, 0, 12);
    Tokens longer = before, parted = before;
    longer.insert(longer.end(), {1, 2, 3});
    parted[8] = (parted[8] + 1) % static_cast<int32_t>(tiny.vocab_size);
    check(before, before, 11);                  // its last token is fed again
    check(before, Part(before, 0, 5), 4);       // a beginning of what is held
    check(before, parted, 8);                   // leaves it on the way
    check(before, Part(fixture.tokens, 20, 31), 0);
    // Goes on from the text: the prompt's 12 tokens and 3 of the 4 generated ones are held, the
    // fourth is only known.
    Tokens chat = before;
    {
      const auto session = SessionOf(*model);
      const auto first = session->GenerateFromTokens(before, Generating(4));
      REQUIRE_OK(first);
      chat.insert(chat.end(), first->tokens.begin(), first->tokens.end());
    }
    chat.insert(chat.end(), {7, 8});
    check(before, chat, 15);
    check(before, Part(chat, 0, 16), 15);  // ends with the token that waits
    check(longer, before, 11);
  }
}

TEST_CASE("a whole prompt that is refused changes nothing", "[model]") {
  const Fixture fixture;
  const auto model = fixture.Open(Variants()[0]);
  const auto session = SessionOf(*model);
  REQUIRE_OK(session->GenerateFromTokens(Part(fixture.tokens, 0, 9), Generating(2)));
  const Tokens held = Held(*session);
  GenerateOptions options = Generating(3);
  options.whole_prompt = true;
  CHECK(absl::IsInvalidArgument(session->GenerateFromTokens({}, options).status()));
  CHECK(absl::IsInvalidArgument(session->GenerateFromTokens({4, -1}, options).status()));
  options.max_tokens = 1000;
  CHECK(absl::IsInvalidArgument(session->GenerateFromTokens({4, 5}, options).status()));
  options.max_tokens = 3;
  options.top_logprobs = kMaxTopLogprobs + 1;
  CHECK(absl::IsInvalidArgument(session->GenerateFromTokens({4, 5}, options).status()));
  CHECK(Held(*session) == held);
  // The token that waits is still there: it is fed first.
  REQUIRE_OK(session->GenerateFromTokens({4}, Generating(1)));
  CHECK(session->position() == held.size() + 2);
}

TEST_CASE("storage that fails under a whole prompt leaves what it shared", "[model][fault]") {
  TinyModelOptions tiny;
  tiny.d_ffn = 2000;
  const Fixture fixture(tiny);
  ModelOptions options = Variants()[2];
  options.max_sessions = 1;
  options = fixture.AtFloor(options);
  const Tokens before = Part(fixture.tokens, 0, 12), prompt = [&] {
    Tokens parted = before;
    parted[8] = (parted[8] + 1) % static_cast<int32_t>(tiny.vocab_size);
    return parted;
  }();
  GenerateOptions whole = Generating(5);
  whole.whole_prompt = true;
  const auto content =
      std::make_shared<const std::string>(testing::ReadFileOrDie(fixture.path));
  // What is read up to here, and with the second generation.
  uint64_t reads_first = 0, reads_all = 0;
  Tokens expected;
  for (int attempt = 0; attempt < 2; ++attempt) {
    testing::FaultPlan plan;
    if (attempt == 1) {
      plan.script.push_back(
          {(reads_first + reads_all) / 2, false, {testing::FaultKind::kErrno, EBADF}});
    }
    std::shared_ptr<const testing::FaultCounts> counts;
    auto model = FlashModelImpl::Open(fixture.path, options,
                                      testing::FaultyEngines(content, plan, &counts));
    REQUIRE_OK(model);
    const auto session = SessionOf(**model);
    REQUIRE_OK(session->GenerateFromTokens(before, Generating(4)));
    if (attempt == 0) reads_first = counts->reads_seen;
    auto result = session->GenerateFromTokens(prompt, whole);
    if (attempt == 0) {
      REQUIRE_OK(result);
      expected = result->tokens;
      reads_all = counts->reads_seen;
      REQUIRE(reads_all > reads_first + 4);
      continue;
    }
    REQUIRE(!result.ok());
    CHECK(Held(*session) == Part(before, 0, 8));
    result = session->GenerateFromTokens(prompt, whole);
    REQUIRE_OK(result);
    CHECK(result->tokens == expected);
  }
}

}  // namespace
}  // namespace sluice
