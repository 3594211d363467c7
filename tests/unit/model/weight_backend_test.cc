// The FFN layers alone: the bits of a session, in any order, by rows too.
#include "sluice/weight_backend.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "tests/unit/model/backend_fixture.h"

namespace sluice {
namespace {

using testing::BackendFixture;
using testing::BackendOf;
using testing::ForwardByRows;
using testing::Near;
using testing::TinyModelOptions;
using testing::Token;

ModelOptions OptionsFor(Mode mode, uint32_t window = 0) {
  ModelOptions options;
  options.mode = mode;
  options.threads = 1;
  options.window_tokens = window;
  return options;
}

// A neuron to a record, so that active sets are far smaller than layers.
TinyModelOptions Wide() {
  TinyModelOptions tiny;
  tiny.d_model = 1024;
  tiny.num_layers = 4;
  return tiny;
}
// As examples/models/tales-7m.
TinyModelOptions Tales() {
  TinyModelOptions tiny;
  tiny.d_model = 256;
  tiny.d_ffn = 1024;
  tiny.num_layers = 8;
  tiny.predictor_rank = 24;
  return tiny;
}

enum class Order { kInTurn, kBackwards, kTogether };

void CheckForward(const BackendFixture& fixture, WeightBackend& backend, Order order,
                  std::vector<float> x, const std::vector<std::vector<float>>& expected) {
  const size_t d = fixture.tiny.d_model, count = x.size() / d;
  const uint32_t layers = fixture.tiny.num_layers;
  std::vector<float> y(x.size());
  if (order == Order::kTogether) {
    for (uint32_t layer = 0; layer < layers; ++layer) {
      REQUIRE_OK(backend.Forward(layer, x, absl::MakeSpan(y)));
      REQUIRE(y == expected[layer]);
    }
    return;
  }
  std::vector<std::vector<float>> got(layers, y);
  for (size_t t = 0; t < count; ++t) {
    for (uint32_t i = 0; i < layers; ++i) {
      const uint32_t layer = order == Order::kInTurn ? i : layers - 1 - i;
      REQUIRE_OK(backend.Forward(layer, Token(x, t, d), Token(got[layer], t, d)));
    }
  }
  REQUIRE(got == expected);
}

TEST_CASE("a layer has the same bits under every option and in any order", "[model]") {
  for (const TinyModelOptions& tiny : {TinyModelOptions(), Wide(), Tales()}) {
    const BackendFixture fixture(tiny);
    const std::vector<float> x = fixture.Inputs(9);
    for (Mode mode : {Mode::kDense, Mode::kSparse}) {
      const auto expected = fixture.Expected(mode, x);
      for (uint32_t variant = 0; variant < 5; ++variant) {
        ModelOptions options = OptionsFor(mode, variant);
        options.threads = 1 + variant % 2;
        options.ffn_only = variant >= 2;
        options.techniques.window = variant != 3;
        options.techniques.overlap = variant != 4;
        options.prefill_chunk_tokens = variant == 1 ? 4 : 0;
        if (variant != 0) options.dram_budget_bytes = fixture.Floor(options);
        const auto model = fixture.Open(options);
        const auto backend = BackendOf(*model);
        for (Order order : {Order::kTogether, Order::kInTurn, Order::kBackwards}) {
          INFO("d_model " << tiny.d_model << " variant " << variant << " order "
                          << static_cast<int>(order));
          CheckForward(fixture, *backend, order, x, expected);
        }
        CHECK(backend->stats().tokens == 3 * 9 * tiny.num_layers);
      }
    }
  }
}

// What goes into a session's FFN layers and what is left after them.
class Recorder : public FfnObserver {
 public:
  void OnInput(uint32_t layer, size_t num_tokens, const float* x) override {
    inputs[layer].assign(x, x + num_tokens * d_model);
  }
  void OnNeurons(uint32_t, size_t, absl::Span<const uint32_t>, const float*,
                 const NeuronMasks&) override {}
  void OnResidual(uint32_t layer, size_t num_tokens, const float* hidden) override {
    residuals[layer].assign(hidden, hidden + num_tokens * d_model);
  }
  size_t d_model = 0;
  std::map<uint32_t, std::vector<float>> inputs, residuals;
};

// With attention that adds nothing the residual stream is the sum of the FFN's outputs.
TEST_CASE("a layer has the bits of a session", "[model]") {
  TinyModelOptions tiny;
  tiny.edit = [](const std::string& name, std::vector<float>* values) {
    if (absl::StrContains(name, "attn.out")) std::fill(values->begin(), values->end(), 0.0f);
  };
  const BackendFixture fixture(tiny);
  const auto tokens = testing::RandomTokens(testing::Seed(), 21, tiny.vocab_size);
  for (Mode mode : {Mode::kDense, Mode::kSparse}) {
    ModelOptions options = OptionsFor(mode);
    options.max_sessions = 2;
    const auto model = fixture.Open(options);
    auto session = model->CreateSessionImpl();
    REQUIRE_OK(session);
    Recorder seen;
    seen.d_model = tiny.d_model;
    (*session)->set_observer(&seen);
    REQUIRE_OK((*session)->Prefill(tokens, {}, PrefillOptions()));
    const auto backend = BackendOf(*model);
    for (uint32_t layer = 1; layer < tiny.num_layers; ++layer) {
      std::vector<float> y(seen.inputs[layer].size());
      REQUIRE_OK(backend->Forward(layer, seen.inputs[layer], absl::MakeSpan(y)));
      std::vector<float> after = seen.residuals[layer - 1];
      for (size_t i = 0; i < y.size(); ++i) after[i] += y[i];
      REQUIRE(after == seen.residuals[layer]);
    }
  }
}

TEST_CASE("rows acquired in parts give what Forward gives", "[model]") {
  for (const TinyModelOptions& tiny : {TinyModelOptions(), Wide(), Tales()}) {
    const BackendFixture fixture(tiny);
    const std::vector<float> x = fixture.Inputs(5);
    for (Mode mode : {Mode::kDense, Mode::kSparse}) {
      const auto expected = fixture.Expected(mode, x);
      for (bool hint : {false, true}) {
        ModelOptions options = OptionsFor(mode, 2);
        options.ffn_only = true;
        if (!hint) options.dram_budget_bytes = fixture.Floor(options);
        const auto model = fixture.Open(options);
        const auto backend = BackendOf(*model);
        std::vector<float> y;
        for (size_t t = 0; t < 5; ++t) {
          const auto token = Token(x, t, tiny.d_model);
          for (uint32_t layer = 0; layer < tiny.num_layers; ++layer) {
            REQUIRE_OK(ForwardByRows(*backend, layer, token, &y));
            REQUIRE(Near(y, Token(expected[layer], t, tiny.d_model)));
            if (hint && layer + 1 < tiny.num_layers) REQUIRE_OK(backend->Hint(layer + 1, token));
          }
        }
        const BackendStats stats = backend->stats();
        CHECK(stats.tokens == 5 * tiny.num_layers);
        CHECK(stats.bytes > 0);
        CHECK(stats.total_ns > 0);
        const bool ahead = hint && mode == Mode::kSparse;
        CHECK((stats.records_ahead > 0) == ahead);
        CHECK((stats.records_ahead_used > 0) == ahead);
      }
    }
  }
}

TEST_CASE("parts of a token are one token for the window", "[model]") {
  const BackendFixture fixture(Wide());
  const auto model = fixture.Open(OptionsFor(Mode::kDense, 1));
  const auto backend = BackendOf(*model);
  for (bool parts : {true, false}) {
    const BackendStats before = backend->stats();
    bool first = true;
    for (const uint32_t neuron : {5u, 9u, 5u}) {
      const void *up = nullptr, *down = nullptr;
      REQUIRE_OK(backend->Acquire(parts ? 1 : 2, {neuron}, parts && !first, {&up, 1}, {&down, 1}));
      REQUIRE_OK(backend->Release(parts ? 1 : 2));
      first = false;
    }
    // By the third token the first one's neuron has left a window of one.
    const BackendStats after = backend->stats();
    CHECK(after.tokens - before.tokens == (parts ? 1u : 3u));
    CHECK(after.records_needed - before.records_needed == 3);
    CHECK(after.records_missing - before.records_missing == (parts ? 2u : 3u));
  }
}

TEST_CASE("acquired rows are the file's", "[model]") {
  const BackendFixture fixture;
  const auto model = fixture.Open(OptionsFor(Mode::kDense));
  const auto backend = BackendOf(*model);
  const RecordLayout& layout = model->file().layers()[1];
  const std::string content = testing::ReadFileOrDie(fixture.path);
  const std::vector<uint32_t> neurons = {0, 3, 7, 100, 202};
  std::vector<const void*> up(5), down(5);
  REQUIRE_OK(backend->Acquire(1, neurons, false, absl::MakeSpan(up), absl::MakeSpan(down)));
  for (size_t i = 0; i < neurons.size(); ++i) {
    const char* record = content.data() + layout.record_offset(layout.record_of(neurons[i]));
    CHECK(std::memcmp(up[i], record + layout.up_offset(neurons[i]), layout.row_bytes()) == 0);
    CHECK(std::memcmp(down[i], record + layout.down_offset(neurons[i]), layout.row_bytes()) == 0);
  }
  REQUIRE_OK(backend->Release(1));
  // None at all is a token that needs nothing.
  REQUIRE_OK(backend->Acquire(1, {}, false, {}, {}));
  REQUIRE_OK(backend->Release(1));
}

TEST_CASE("what makes no sense is refused, with its numbers", "[model]") {
  TinyModelOptions tiny;
  tiny.d_ffn = 2000;  // more records than slots
  const BackendFixture fixture(tiny);
  ModelOptions options = OptionsFor(Mode::kDense);
  options.dram_budget_bytes = fixture.Floor(options);
  const auto model = fixture.Open(options);
  const auto backend = BackendOf(*model);
  const size_t d = fixture.tiny.d_model;
  std::vector<float> x = fixture.Inputs(2), y(2 * d);
  CHECK(absl::IsInvalidArgument(backend->layer(3).status()));
  CHECK(absl::IsInvalidArgument(backend->Forward(3, x, absl::MakeSpan(y))));
  CHECK(absl::IsInvalidArgument(
      backend->Forward(0, absl::MakeSpan(x).first(d + 1), absl::MakeSpan(y).first(d + 1))));
  CHECK(absl::IsInvalidArgument(backend->Forward(0, x, absl::MakeSpan(y).first(d))));
  CHECK(absl::IsInvalidArgument(
      backend->Forward(0, absl::MakeSpan(x).first(d), absl::MakeSpan(x).subspan(d / 2, d))));
  REQUIRE_OK(backend->Forward(0, {}, {}));
  CHECK(absl::IsInvalidArgument(backend->Predict(0, x).status()));
  CHECK(absl::IsInvalidArgument(backend->Hint(0, {})));

  std::vector<const void*> up(2000), down(2000);
  const auto acquire = [&](const std::vector<uint32_t>& neurons) {
    return backend->Acquire(1, neurons, false, absl::MakeSpan(up).first(neurons.size()),
                            absl::MakeSpan(down).first(neurons.size()));
  };
  CHECK(absl::IsInvalidArgument(acquire({4, 4})));
  CHECK(absl::IsInvalidArgument(acquire({4, 3})));
  CHECK(absl::IsInvalidArgument(acquire({4, 2000})));
  CHECK(absl::IsInvalidArgument(
      backend->Acquire(1, {1, 2}, false, absl::MakeSpan(up).first(2), absl::MakeSpan(down))));
  CHECK(absl::IsFailedPrecondition(backend->Release(1)));
  const BackendLayer info = *backend->layer(1);
  CHECK(info.d_ffn == 2000);
  CHECK(info.num_slots < info.num_records);
  std::vector<uint32_t> all(2000);
  std::iota(all.begin(), all.end(), 0u);
  const absl::Status many = acquire(all);
  CHECK(absl::IsInvalidArgument(many));
  CHECK(absl::StrContains(many.message(), absl::StrCat(info.num_records)));
  CHECK(absl::StrContains(many.message(), absl::StrCat(info.num_slots)));
  CHECK(absl::IsFailedPrecondition(backend->Release(1)));

  REQUIRE_OK(acquire({1, 2}));
  CHECK(absl::IsFailedPrecondition(acquire({1, 2})));
  CHECK(absl::IsFailedPrecondition(backend->Forward(1, x, absl::MakeSpan(y))));
  REQUIRE_OK(backend->Forward(0, x, absl::MakeSpan(y)));
  REQUIRE_OK(backend->Forward(2, x, absl::MakeSpan(y)));
  REQUIRE_OK(backend->Release(1));
  REQUIRE_OK(backend->Forward(1, x, absl::MakeSpan(y)));
}

TEST_CASE("layers in turn are read ahead, others are not", "[model]") {
  const BackendFixture fixture(Wide());
  const std::vector<float> x = fixture.Inputs(9);
  const auto expected = fixture.Expected(Mode::kSparse, x);
  const auto model = fixture.Open(OptionsFor(Mode::kSparse, 1));
  {
    const auto backend = BackendOf(*model);
    CHECK(backend->layer(1)->has_lookahead);
    CHECK(!backend->layer(0)->has_lookahead);
    CHECK(backend->layer(0)->has_predictor);
    CheckForward(fixture, *backend, Order::kBackwards, x, expected);
    CHECK(backend->stats().records_ahead_used == 0);
    CheckForward(fixture, *backend, Order::kInTurn, x, expected);
    CHECK(backend->stats().records_ahead_used > 0);
  }
  // A pass that is given up in the middle, and a host that has the last layers only.
  const auto backend = BackendOf(*model);
  const size_t d = fixture.tiny.d_model;
  std::vector<float> y(d);
  for (size_t t = 0; t < 9; ++t) {
    for (uint32_t layer : {0, 1, 0, 2, 3, 1, 2, 3, 0}) {
      REQUIRE_OK(backend->Forward(layer, Token(x, t, d), absl::MakeSpan(y)));
      REQUIRE(absl::MakeSpan(y) == Token(expected[layer], t, d));
    }
  }
  CHECK(backend->stats().records_ahead > backend->stats().records_ahead_used);
}

TEST_CASE("a hint is taken over by its layer and abandoned by others", "[model]") {
  const BackendFixture fixture(Wide());
  const std::vector<float> x = fixture.Inputs(6);
  const auto expected = fixture.Expected(Mode::kSparse, x);
  const size_t d = fixture.tiny.d_model;
  ModelOptions options = OptionsFor(Mode::kSparse, 1);
  options.max_sessions = 2;
  const auto model = fixture.Open(options);
  const auto backend = BackendOf(*model);
  std::vector<float> y(d);
  const auto forward = [&](WeightBackend& by, uint32_t layer, size_t t) {
    REQUIRE_OK(by.Forward(layer, Token(x, t, d), absl::MakeSpan(y)));
    REQUIRE(absl::MakeSpan(y) == Token(expected[layer], t, d));
  };
  REQUIRE_OK(backend->Hint(0, Token(x, 0, d)));
  CHECK(backend->stats().records_ahead == 0);
  SECTION("taken over") {
    for (size_t t = 0; t < 6; ++t) {
      REQUIRE_OK(backend->Hint(2, Token(x, t, d)));
      const uint64_t reads = backend->stats().reads;
      CHECK(reads > 0);
      REQUIRE_OK(backend->Hint(2, Token(x, t, d)));  // the same again
      CHECK(backend->stats().reads == reads);
      forward(*backend, 2, t);
    }
    CHECK(backend->stats().records_ahead_used > 0);
  }
  SECTION("abandoned") {
    for (size_t t = 0; t < 6; ++t) {
      REQUIRE_OK(backend->Hint(1, Token(x, t, d)));
      REQUIRE_OK(backend->Hint(3, Token(x, t, d)));
      forward(*backend, 2, t);
      forward(*backend, 3, t);
      forward(*backend, 1, t);
    }
    CHECK(backend->stats().records_ahead > 0);
    CHECK(backend->stats().records_ahead_used == 0);
  }
  SECTION("given up to another backend on the same thread") {
    const auto other = BackendOf(*model);
    for (size_t t = 0; t < 6; ++t) {
      REQUIRE_OK(backend->Hint(2, Token(x, t, d)));
      forward(*other, 2, t);
      forward(*backend, 0, t);  // reads layer 1 ahead
      forward(*other, 1, t);
      forward(*backend, 2, t);
    }
    CHECK(backend->stats().records_ahead_used == 0);
  }
  SECTION("left behind") {
    REQUIRE_OK(backend->Hint(2, Token(x, 0, d)));
  }
}

TEST_CASE("rows go back with their backend, and waiting for them can be cancelled", "[model]") {
  const BackendFixture fixture;
  ModelOptions options = OptionsFor(Mode::kDense);
  options.max_sessions = 2;
  auto model = fixture.Open(options);
  auto holder = BackendOf(*model);
  const auto other = BackendOf(*model);
  CHECK(absl::IsFailedPrecondition(model->CreateWeightBackend().status()));
  CHECK(absl::IsFailedPrecondition(model->CreateSession().status()));
  const std::vector<float> x = fixture.Inputs(1);
  std::vector<float> y(x.size());
  const void *up = nullptr, *down = nullptr;
  REQUIRE_OK(holder->Acquire(1, {5}, false, {&up, 1}, {&down, 1}));
  absl::Status status;
  std::thread waiter([&] { status = other->Forward(1, x, absl::MakeSpan(y)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  other->Cancel();
  waiter.join();
  CHECK(absl::IsCancelled(status));
  REQUIRE_OK(other->Forward(0, x, absl::MakeSpan(y)));
  other->Cancel();
  REQUIRE_OK(other->Predict(0, x));  // too short to be cancelled
  CHECK(absl::IsCancelled(other->Acquire(0, {5}, false, {&up, 1}, {&down, 1})));
  holder.reset();
  REQUIRE_OK(other->Forward(1, x, absl::MakeSpan(y)));
  const auto next = BackendOf(*model);
  CHECK(next->stats().tokens == 0);
  CHECK(next->stats().reads == 0);
  model.reset();  // a backend keeps it alive
  REQUIRE_OK(next->Forward(2, x, absl::MakeSpan(y)));
}

TEST_CASE("ffn_only leaves attention out of plan and memory", "[model]") {
  const BackendFixture fixture;
  ModelOptions options = OptionsFor(Mode::kSparse);
  options.max_sessions = 2;
  auto whole = PlanMemory(fixture.path, options);
  options.ffn_only = true;
  auto ffn = PlanMemory(fixture.path, options);
  REQUIRE_OK(whole);
  REQUIRE_OK(ffn);
  CHECK(ffn->kv == 0);
  CHECK(ffn->context_tokens == 0);
  CHECK(ffn->resident < whole->resident);
  CHECK(ffn->scratch < whole->scratch);
  CHECK(ffn->predictor == whole->predictor);
  CHECK(ffn->floor_bytes < whole->floor_bytes);
  options.dram_budget_bytes = ffn->floor_bytes;
  const auto model = fixture.Open(options);
  CHECK(model->plan().resident + model->plan().predictor + model->plan().slots +
            model->plan().scratch + model->plan().io <= ffn->floor_bytes);
  const absl::Status status = model->CreateSession().status();
  CHECK(absl::IsFailedPrecondition(status));
  CHECK(absl::StrContains(status.message(), "ffn_only"));
  const auto first = BackendOf(*model), second = BackendOf(*model);
  CHECK(absl::IsFailedPrecondition(model->CreateWeightBackend().status()));
  // What is loaded is what was planned: biases and predictors.
  uint64_t loaded = 0;
  for (const Weights::Loaded& each : model->weights().loaded()) {
    loaded += RoundUp(each.memory.size(), kIoAlignment);
  }
  CHECK(loaded == Weights::ResidentBytes(model->file(), ResidentType::kAuto, true) +
                      Weights::PredictorBytes(model->file()));
  options.context_tokens = 1 << 30;  // the host's own matter
  options.prefill_chunk_tokens = 512;
  options.dram_budget_bytes = 0;
  REQUIRE_OK(PlanMemory(fixture.path, options));
  options.techniques.keep_resident = false;
  options.max_sessions = 1;
  CHECK(absl::IsInvalidArgument(PlanMemory(fixture.path, options).status()));
}

}  // namespace
}  // namespace sluice
