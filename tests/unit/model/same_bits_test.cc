// Streamed == resident, bit for bit: logits depend on file, weights, predictor and tokens only.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lib/kernels/kernels.h"
#include "lib/model/flash_model_impl.h"
#include "tests/support/catch.h"
#include "tests/support/memory_engine.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::AllLogits;
using testing::RandomTokens;
using testing::TinyModelOptions;

const TinyModelOptions kTiny;

struct Fixture {
  testing::TempDir dir;
  std::string path = dir.File("tiny.flash");
  std::vector<int32_t> tokens = RandomTokens(testing::Seed(), 41, kTiny.vocab_size);

  explicit Fixture(const TinyModelOptions& tiny = kTiny) { testing::WriteTinyModel(path, tiny); }

  std::shared_ptr<FlashModelImpl> Open(const ModelOptions& options,
                                       const EngineFactory& engine = nullptr) const {
    auto model = FlashModelImpl::Open(path, options, engine);
    REQUIRE_OK(model);
    return *model;
  }
  std::vector<float> Logits(const ModelOptions& options,
                            const EngineFactory& engine = nullptr) const {
    auto session = Open(options, engine)->CreateSession();
    REQUIRE_OK(session);
    return AllLogits(**session, tokens);
  }
  uint64_t Floor(ModelOptions options) const {
    auto plan = PlanMemory(path, options);
    REQUIRE_OK(plan);
    return plan->floor_bytes;
  }
};

ModelOptions OptionsFor(Mode mode) {
  ModelOptions options;
  options.mode = mode;
  options.threads = 1;
  return options;
}

TEST_CASE("logits have the same bits under every option", "[model]") {
  const Fixture fixture;
  INFO("seed " << testing::Seed());
  for (Mode mode : {Mode::kDense, Mode::kSparse}) {
    const ModelOptions base = OptionsFor(mode);
    const std::vector<float> whole = fixture.Logits(base);
    REQUIRE(whole.size() == fixture.tokens.size() * kTiny.vocab_size);
    for (uint32_t threads : {1u, 2u, 3u}) {
      for (uint32_t chunk : {1u, 7u, 41u, 64u}) {
        for (uint32_t window : {0u, 1u, 3u}) {
          for (bool floor : {false, true}) {
            ModelOptions options = base;
            options.threads = threads;
            options.prefill_chunk_tokens = chunk;
            options.window_tokens = window;
            options.queue_depth = 1 + 5 * chunk;
            options.engine = threads == 2 ? Engine::kPread : Engine::kAuto;
            if (floor) options.dram_budget_bytes = fixture.Floor(options);
            INFO("threads " << threads << " chunk " << chunk << " window " << window << " floor "
                            << floor);
            REQUIRE(fixture.Logits(options) == whole);
          }
        }
      }
    }
  }
}

// Root of the mean square of the differences, against that of `a`.
double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double differences = 0, squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double off = static_cast<double>(a[i]) - b[i];
    differences += off * off;
    squares += static_cast<double>(a[i]) * a[i];
  }
  return std::sqrt(differences / squares);
}

TEST_CASE("q8 weights and an f16 KV cache have bits of their own, the same under every option",
          "[model]") {
  const Fixture fixture;
  const std::vector<float> plain = fixture.Logits(OptionsFor(Mode::kSparse));
  std::vector<std::vector<float>> seen = {plain};
  for (ResidentType resident : {ResidentType::kAuto, ResidentType::kQ8}) {
    for (KvType kv : {KvType::kF32, KvType::kF16}) {
      if (resident == ResidentType::kAuto && kv == KvType::kF32) continue;
      ModelOptions base = OptionsFor(Mode::kSparse);
      base.resident_type = resident;
      base.kv_type = kv;
      const std::vector<float> whole = fixture.Logits(base);
      INFO("resident " << static_cast<int>(resident) << " kv " << static_cast<int>(kv));
      REQUIRE(std::find(seen.begin(), seen.end(), whole) == seen.end());
      seen.push_back(whole);
      REQUIRE(Distance(whole, plain) < 0.05);
      for (uint32_t threads : {1u, 2u, 3u}) {
        for (uint32_t chunk : {1u, 7u, 64u}) {
          ModelOptions options = base;
          options.threads = threads;
          options.prefill_chunk_tokens = chunk;
          options.window_tokens = threads - 1;
          if (chunk != 7) options.dram_budget_bytes = fixture.Floor(options);
          INFO("threads " << threads << " chunk " << chunk);
          REQUIRE(fixture.Logits(options) == whole);
        }
      }
    }
  }
}

// A neuron to a record, and the floor of slots: every token has scattered records to read.
TEST_CASE("gaps that are read through change no bits", "[model]") {
  TinyModelOptions wide = kTiny;
  wide.d_model = 512;
  const Fixture fixture(wide);
  const std::vector<float> whole = fixture.Logits(OptionsFor(Mode::kSparse));
  const std::string path = fixture.dir.File("curve.json");
  testing::WriteFileOrDie(path,
                          R"({"curve":[{"read_bytes":4096,"queue_depth":1,"gb_per_s":0.004096,
                                        "us_per_read":1000},
                                       {"read_bytes":1048576,"queue_depth":1,"gb_per_s":1.048576,
                                        "us_per_read":1000}]})");
  for (Engine engine : {Engine::kAuto, Engine::kPread}) {
    ModelOptions options = OptionsFor(Mode::kSparse);
    options.engine = engine;
    options.device_curve_path = path;
    options.window_tokens = 1;
    options.dram_budget_bytes = fixture.Floor(options);
    auto session = fixture.Open(options)->CreateSession();
    REQUIRE_OK(session);
    std::vector<float> row(kTiny.vocab_size);
    for (size_t t = 0; t < fixture.tokens.size(); ++t) {
      REQUIRE_OK((*session)->Decode(fixture.tokens[t], absl::MakeSpan(row)));
      REQUIRE(std::equal(row.begin(), row.end(),
                         whole.begin() + static_cast<ptrdiff_t>(t * row.size())));
    }
    CHECK((*session)->stats().gap_bytes_per_token > 0);
  }
  ModelOptions options = OptionsFor(Mode::kSparse);
  options.device_curve_path = fixture.path;
  CHECK(absl::IsInvalidArgument(FlashModelImpl::Open(fixture.path, options, nullptr).status()));
  CHECK(absl::IsInvalidArgument(PlanMemory(fixture.path, options).status()));
}

TEST_CASE("techniques change no bits, and looking ahead reads ahead", "[model]") {
  TinyModelOptions wide = kTiny;
  wide.d_model = 2048;  // a neuron to a record, halves of a page
  const Fixture fixture(wide);
  const std::vector<float> whole = fixture.Logits(OptionsFor(Mode::kSparse));
  for (int off = 0; off < 6; ++off) {
    ModelOptions options = OptionsFor(Mode::kSparse);
    options.threads = 2;
    options.techniques.window = off != 1;
    options.techniques.bundles = off != 2;
    options.techniques.join = off != 3;
    options.techniques.overlap = off != 4;
    options.techniques.lookahead = off != 5;
    options.window_tokens = 1;  // slots enough for guesses, and reads for every token
    auto session = fixture.Open(options)->CreateSession();
    REQUIRE_OK(session);
    std::vector<float> row(kTiny.vocab_size);
    for (size_t t = 0; t < fixture.tokens.size(); ++t) {
      INFO("without technique " << off << ", token " << t);
      REQUIRE_OK((*session)->Decode(fixture.tokens[t], absl::MakeSpan(row)));
      REQUIRE(std::equal(row.begin(), row.end(),
                         whole.begin() + static_cast<ptrdiff_t>(t * row.size())));
    }
    const Stats stats = (*session)->stats();
    const bool ahead = off == 0 || off == 2 || off == 3;
    CHECK((stats.lookahead != "none") == ahead);
    CHECK((stats.lookahead_hit_rate > 0) == ahead);
    CHECK((stats.lookahead_wasted_bytes_per_token > 0) == ahead);
    CHECK(stats.needed_bytes_per_token > 0);
  }
  // Four neurons to a record cannot be read by halves.
  ModelOptions options = OptionsFor(Mode::kSparse);
  options.techniques.bundles = false;
  const Fixture narrow;
  CHECK(absl::IsInvalidArgument(FlashModelImpl::Open(narrow.path, options, nullptr).status()));
}

TEST_CASE("sparse logits differ from dense ones", "[model]") {
  // Otherwise the test above would compare nothing.
  const Fixture fixture;
  CHECK(fixture.Logits(OptionsFor(Mode::kDense)) != fixture.Logits(OptionsFor(Mode::kSparse)));
}

TEST_CASE("an engine in memory gives the same bits", "[model]") {
  const Fixture fixture;
  auto content = std::make_shared<const std::string>(testing::ReadFileOrDie(fixture.path));
  const EngineFactory memory = [&](std::shared_ptr<StorageFile>, absl::Span<const IoSegment>) {
    return std::make_unique<testing::MemoryEngine>(content);
  };
  for (Mode mode : {Mode::kDense, Mode::kSparse}) {
    CHECK(fixture.Logits(OptionsFor(mode), memory) == fixture.Logits(OptionsFor(mode)));
  }
}

TEST_CASE("each dispatch target keeps its bits", "[model]") {
  const Fixture fixture;
  for (const std::string& target : kernels::AvailableTargets()) {
    for (bool small : {false, true}) {
      INFO("target " << target << ", q8 and f16 KV " << small);
      REQUIRE(kernels::ForceTarget(target));
      ModelOptions options = OptionsFor(Mode::kSparse);
      options.resident_type = small ? ResidentType::kQ8 : ResidentType::kAuto;
      options.kv_type = small ? KvType::kF16 : KvType::kF32;
      const std::vector<float> whole = fixture.Logits(options);
      options.prefill_chunk_tokens = 5;
      options.threads = 2;
      options.window_tokens = 1;
      CHECK(fixture.Logits(options) == whole);
    }
  }
  REQUIRE(kernels::ForceTarget(""));
}

// Any number of slots from 1 on, below what a plan would ever give: the FFN in batches.
TEST_CASE("the FFN has the same bits with any number of slots", "[model]") {
  const Fixture fixture;
  for (Mode mode : {Mode::kDense, Mode::kSparse}) {
    ModelOptions options = OptionsFor(mode);
    options.max_sessions = 1;
    const auto model = fixture.Open(options);
    const uint32_t records = model->file().layers()[0].num_records;
    const size_t count = 5;
    std::vector<float> x(count * kTiny.d_model);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 37) % 23) / 11 - 1;
    std::vector<float> expected;
    for (uint32_t slots = records; slots >= 1; --slots) {
      INFO("slots " << slots << " of " << records);
      auto cache = NeuronCache::Create(model->file().layers(),
                                       std::vector<uint32_t>(kTiny.num_layers, slots), 0);
      REQUIRE_OK(cache);
      auto file = BundleFile::Open(fixture.path);
      REQUIRE_OK(file);
      auto engine = MakeIoEngine((*file)->storage(), EngineChoice::kPread, 4, {});
      REQUIRE_OK(engine);
      BundleLoader loader(*file, *std::move(engine), {});
      const std::atomic<bool> cancelled{false};
      FfnStep::Shape shape{kTiny.d_model, kTiny.d_ffn, count, records,
                           mode == Mode::kSparse ? kTiny.predictor_rank : 0};
      FfnStep step(shape, cache->get(), &model->weights(), &loader, &model->pool(), &cancelled);
      std::vector<float> y(x.size());
      for (int repeat = 0; repeat < 2; ++repeat) {
        REQUIRE_OK(step.Run(1, count, x.data(), y.data()));
        if (expected.empty()) expected = y;
        REQUIRE(y == expected);
      }
    }
  }
}

TEST_CASE("decoding token by token equals feeding them together", "[model]") {
  const Fixture fixture;
  for (Mode mode : {Mode::kDense, Mode::kSparse}) {
    const std::vector<float> whole = fixture.Logits(OptionsFor(mode));
    auto session = fixture.Open(OptionsFor(mode))->CreateSession();
    REQUIRE_OK(session);
    std::vector<float> row(kTiny.vocab_size);
    for (size_t t = 0; t < fixture.tokens.size(); ++t) {
      REQUIRE_OK((*session)->Decode(fixture.tokens[t], absl::MakeSpan(row)));
      REQUIRE(std::equal(row.begin(), row.end(),
                         whole.begin() + static_cast<ptrdiff_t>(t * row.size())));
    }
  }
}

TEST_CASE("sessions do not touch each other's bits", "[model]") {
  const Fixture fixture;
  ModelOptions options = OptionsFor(Mode::kSparse);
  options.max_sessions = 3;
  options.window_tokens = 2;
  options.threads = 2;
  const std::vector<int32_t> other = RandomTokens(99, 33, kTiny.vocab_size);
  const auto solo = [&](const std::vector<int32_t>& tokens) {
    auto session = fixture.Open(options)->CreateSession();
    REQUIRE_OK(session);
    return AllLogits(**session, tokens);
  };
  const std::vector<float> first_solo = solo(fixture.tokens), second_solo = solo(other);
  options.dram_budget_bytes = fixture.Floor(options);
  const auto model = fixture.Open(options);
  auto first = model->CreateSession(), second = model->CreateSession();
  REQUIRE_OK(first);
  REQUIRE_OK(second);

  SECTION("interleaved") {
    std::vector<float> row(kTiny.vocab_size), first_all, second_all;
    for (size_t t = 0; t < fixture.tokens.size(); ++t) {
      REQUIRE_OK((*first)->Decode(fixture.tokens[t], absl::MakeSpan(row)));
      first_all.insert(first_all.end(), row.begin(), row.end());
      if (t >= other.size()) continue;
      REQUIRE_OK((*second)->Decode(other[t], absl::MakeSpan(row)));
      second_all.insert(second_all.end(), row.begin(), row.end());
    }
    CHECK(first_all == first_solo);
    CHECK(second_all == second_solo);
  }
  SECTION("at the same time") {
    for (int round = 0; round < 5; ++round) {
      std::vector<float> results[2];
      Session* sessions[2] = {first->get(), second->get()};
      const std::vector<int32_t>* tokens[2] = {&fixture.tokens, &other};
      std::vector<std::thread> threads;
      for (int i = 0; i < 2; ++i) {
        sessions[i]->Reset();
        threads.emplace_back([&, i] {
          PrefillOptions prefill;
          prefill.on_logits = [&, i](uint32_t, absl::Span<const float> logits) {
            results[i].insert(results[i].end(), logits.begin(), logits.end());
          };
          const absl::Status status = sessions[i]->Prefill(*tokens[i], {}, prefill);
          if (!status.ok()) results[i].clear();
        });
      }
      for (std::thread& thread : threads) thread.join();
      REQUIRE(results[0] == first_solo);
      REQUIRE(results[1] == second_solo);
    }
  }
}

}  // namespace
}  // namespace sluice
