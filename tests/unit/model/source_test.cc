// Wherever a model's bytes are, its logits have the same bits; what fails there is an error, and a
// reader is released once.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <thread>

#include "lib/format/part_set.h"
#include "sluice/flash_model.h"
#include "sluice/inspect.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::AllLogits;
using testing::RandomTokens;
using testing::ReadFileOrDie;
using testing::TempDir;
using testing::TinyModelOptions;
using testing::WriteFileOrDie;

// Wide enough for more records than the floor of slots holds: tokens have something to read.
TinyModelOptions Wide() {
  TinyModelOptions options;
  options.d_model = 256;
  return options;
}
const TinyModelOptions kTiny = Wide();

ModelOptions OptionsFor(Engine engine) {
  ModelOptions options;
  options.threads = 1;
  options.engine = engine;
  options.queue_depth = 8;
  options.window_tokens = 1;
  return options;
}

struct Fixture {
  TempDir dir;
  std::string path = dir.File("tiny.flash");
  std::vector<int32_t> tokens = RandomTokens(testing::Seed(), 23, kTiny.vocab_size);

  explicit Fixture(const TinyModelOptions& tiny = kTiny) { testing::WriteTinyModel(path, tiny); }
};

// At the least budget, so that every token has records to read.
absl::StatusOr<std::shared_ptr<FlashModel>> OpenAtFloor(const ModelSource& source,
                                                        ModelOptions options,
                                                        const OpenProgress& progress = nullptr) {
  const absl::StatusOr<MemoryPlan> plan = PlanMemory(source, options);
  if (plan.ok()) options.dram_budget_bytes = plan->floor_bytes;
  return FlashModel::Open(source, options, progress);
}

std::vector<float> Logits(const ModelSource& source, const ModelOptions& options,
                          const std::vector<int32_t>& tokens, Stats* stats = nullptr) {
  auto model = OpenAtFloor(source, options);
  REQUIRE_OK(model);
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  std::vector<float> logits = AllLogits(**session, tokens);
  if (stats != nullptr) {
    std::vector<float> row(kTiny.vocab_size);
    REQUIRE_OK((*session)->Decode(1, absl::MakeSpan(row)));
    *stats = (*session)->stats();
  }
  return logits;
}

// A host's store: the file with every byte turned over.
struct Store {
  explicit Store(const std::string& path) : content(ReadFileOrDie(path)) {
    for (char& c : content) c = static_cast<char>(c ^ 0x5a);
  }

  int64_t Read(uint64_t offset, void* buffer, size_t bytes) {
    const int call = calls++;
    if (call == failing_call) return failure;
    if (offset >= content.size()) return 0;
    size_t count = std::min<size_t>(bytes, content.size() - offset);
    if (short_reads) count = std::min<size_t>(count, 1000 + call % 5000);
    for (size_t i = 0; i < count; ++i) {
      static_cast<char*>(buffer)[i] = static_cast<char>(content[offset + i] ^ 0x5a);
    }
    return static_cast<int64_t>(count);
  }

  ModelSource Source() {
    ModelSource source = ModelSource::Reader(
        [this](uint64_t offset, void* buffer, size_t bytes) { return Read(offset, buffer, bytes); },
        content.size());
    source.release = [this] { ++releases; };
    source.read_threads = 3;
    return source;
  }

  std::string content;
  std::atomic<int> calls{0}, releases{0};
  int failing_call = -1;
  int64_t failure = -EIO;
  bool short_reads = false;
};

}  // namespace

TEST_CASE("a descriptor and an offset give the same bits as the path", "[model]") {
  const Fixture f;
  INFO("seed " << testing::Seed());
  const std::vector<float> whole =
      Logits(ModelSource::Path(f.path), OptionsFor(Engine::kAuto), f.tokens);
  const std::string bundle = ReadFileOrDie(f.path);
  for (const size_t offset : {size_t{0}, size_t{8192}, size_t{8193}}) {
    const std::string archive = f.dir.File("archive");
    WriteFileOrDie(archive, std::string(offset, 'a') + bundle + std::string(5000, 'z'));
    for (const Engine engine : {Engine::kAuto, Engine::kPread}) {
      const int fd = open(archive.c_str(), O_RDONLY | O_CLOEXEC);
      REQUIRE(fd >= 0);
      REQUIRE(lseek(fd, 99, SEEK_SET) == 99);
      Stats stats;
      INFO("offset " << offset);
      CHECK(Logits(ModelSource::Descriptor(fd, offset, bundle.size()), OptionsFor(engine),
                   f.tokens, &stats) == whole);
      if (offset % 4096 != 0) {
        CHECK_FALSE(stats.direct_io);
        CHECK_THAT(stats.engine_reason, Catch::Contains("no multiple of 4096"));
      }
      CHECK(lseek(fd, 0, SEEK_CUR) == 99);
      // To the end there is more than the file: refused, with both numbers.
      const auto more = PlanMemory(ModelSource::Descriptor(fd, offset), OptionsFor(engine));
      CHECK(absl::IsDataLoss(more.status()));
      CHECK_THAT(std::string(more.status().message()),
                 Catch::Contains(std::to_string(bundle.size() + 5000)) &&
                     Catch::StartsWith("descriptor "));
      close(fd);
    }
  }
}

TEST_CASE("parts of every size give the same bits as the one file", "[model]") {
  const Fixture f;
  const auto one = InspectJson(f.path);
  REQUIRE_OK(one);
  const std::vector<float> whole =
      Logits(ModelSource::Path(f.path), OptionsFor(Engine::kAuto), f.tokens);
  for (const uint64_t bytes : {kMinPartBytes, kMinPartBytes + 4096, kMinPartBytes + 8192,
                               3 * kMinPartBytes}) {
    TinyModelOptions tiny = kTiny;
    tiny.part_bytes = bytes;
    const Fixture parted(tiny);
    REQUIRE(std::ifstream(PartPath(parted.path, 2)).good());
    for (const Engine engine : {Engine::kAuto, Engine::kPread}) {
      INFO("parts of " << bytes);
      CHECK(Logits(ModelSource::Path(parted.path), OptionsFor(engine), f.tokens) == whole);
    }
    const auto inspected = InspectJson(parted.path);
    REQUIRE_OK(inspected);
    CHECK_THAT(*inspected, Catch::Contains("\"parts\":"));
    const auto verified = VerifyFile(parted.path, {});
    REQUIRE_OK(verified);
    CHECK(verified->bad.empty());
  }
}

TEST_CASE("the host's function gives the same bits", "[model]") {
  const Fixture f;
  const std::vector<float> whole =
      Logits(ModelSource::Path(f.path), OptionsFor(Engine::kAuto), f.tokens);
  for (const bool short_reads : {false, true}) {
    Store store(f.path);
    store.short_reads = short_reads;
    Stats stats;
    CHECK(Logits(store.Source(), OptionsFor(Engine::kAuto), f.tokens, &stats) == whole);
    CHECK(stats.engine == "host");
    CHECK_THAT(stats.engine_reason, Catch::Contains("up to 3 calls"));
    CHECK(stats.reads_per_token > 0);
    CHECK(store.releases == 1);
  }
}

// The k-th call fails, once: opening says so or everything is right, and no release is lost.
TEST_CASE("whichever call of the host's fails, it is an error or the same bits", "[model][fault]") {
  const Fixture f;
  const std::vector<float> whole =
      Logits(ModelSource::Path(f.path), OptionsFor(Engine::kAuto), f.tokens);
  for (const int64_t failure : {int64_t{-EIO}, std::numeric_limits<int64_t>::min(),
                                std::numeric_limits<int64_t>::max()}) {
    int failed = 0, passed = 0;
    // Few enough calls open the model to try them all; decoding has many of the same kind.
    for (int k = 0; k < 400; k += k < 120 ? 1 : 13) {
      Store store(f.path);
      store.failing_call = k;
      store.failure = failure;
      {
        auto model = OpenAtFloor(store.Source(), OptionsFor(Engine::kAuto));
        if (!model.ok()) {
          ++failed;
          INFO("call " << k << ": " << model.status());
          CHECK(absl::IsUnavailable(model.status()));
          CHECK(store.releases == 1);
          continue;
        }
        auto session = (*model)->CreateSession();
        REQUIRE_OK(session);
        std::vector<float> row(kTiny.vocab_size), all;
        for (int32_t token : f.tokens) {
          absl::Status status = (*session)->Decode(token, absl::MakeSpan(row));
          if (!status.ok()) {
            INFO("call " << k << ": " << status);
            CHECK(absl::IsUnavailable(status));
            ++failed;
            status = (*session)->Decode(token, absl::MakeSpan(row));  // the position has stayed
          }
          REQUIRE_OK(status);
          all.insert(all.end(), row.begin(), row.end());
        }
        CHECK(all == whole);
        ++passed;
        CHECK(store.releases == 0);
      }
      CHECK(store.releases == 1);
    }
    CHECK(failed > 0);
    CHECK(passed > 0);
  }
}

TEST_CASE("a reader is released once, by whoever holds it last", "[model]") {
  const Fixture f;
  Store store(f.path);
  std::unique_ptr<Session> session;
  {
    auto model = FlashModel::Open(store.Source(), OptionsFor(Engine::kAuto));
    REQUIRE_OK(model);
    auto created = (*model)->CreateSession();
    REQUIRE_OK(created);
    session = *std::move(created);
  }
  CHECK(store.releases == 0);
  std::vector<float> row(kTiny.vocab_size);
  REQUIRE_OK(session->Decode(1, absl::MakeSpan(row)));
  session.reset();
  CHECK(store.releases == 1);
  // Planning reads and is over; the source may be opened afterwards.
  REQUIRE_OK(PlanMemory(store.Source(), OptionsFor(Engine::kAuto)));
  CHECK(store.releases == 1);
}

TEST_CASE("sources that make no sense are refused, and released", "[model]") {
  const Fixture f;
  Store store(f.path);
  int releases = 0;
  const auto refuse = [&](ModelSource source, const ModelOptions& options, const char* text) {
    const absl::Status status = FlashModel::Open(source, options).status();
    INFO(status.ToString());
    CHECK(absl::IsInvalidArgument(status));
    CHECK_THAT(std::string(status.message()), Catch::Contains(text));
    CHECK(store.releases == ++releases);
  };
  const ModelOptions options = OptionsFor(Engine::kAuto);
  ModelSource source = store.Source();
  source.read = nullptr;
  refuse(source, options, "no read function");
  source = store.Source();
  source.bytes = 0;
  refuse(source, options, "needs the length");
  source = store.Source();
  source.read_threads = 65;
  refuse(source, options, "at most 64");
  source.read_threads = 64;
  refuse(source, OptionsFor(Engine::kPread), "engine of its own");
  source.path = "my store";
  ModelOptions large = options;
  large.context_tokens = 1 << 20;
  refuse(source, large, "context");
  store.content = std::string(10000, 'x');
  refuse(store.Source(), options, "not a Sluice bundle file");
  CHECK(absl::IsInvalidArgument(
      FlashModel::Open(ModelSource::Descriptor(-1), options).status()));
  CHECK(absl::IsNotFound(
      FlashModel::Open(ModelSource::Path(f.dir.File("none")), options).status()));
}

TEST_CASE("opening tells what it has read, and can be stopped", "[model]") {
  const Fixture f;
  std::vector<double> shares;
  const OpenProgress note = [&](const std::string& stage, double done) {
    CHECK(stage == "read");
    shares.push_back(done);
    return true;
  };
  REQUIRE_OK(OpenAtFloor(ModelSource::Path(f.path), OptionsFor(Engine::kAuto), note));
  REQUIRE(shares.size() > 3);
  CHECK(std::is_sorted(shares.begin(), shares.end()));
  CHECK(shares.front() > 0);
  CHECK(shares.back() == 1);
  for (size_t stop = 1; stop <= shares.size(); stop += 7) {
    Store store(f.path);
    size_t calls = 0;
    const auto stopped =
        OpenAtFloor(store.Source(), OptionsFor(Engine::kAuto),
                    [&](const std::string&, double) { return ++calls < stop; });
    CHECK(absl::IsCancelled(stopped.status()));
    CHECK(calls == stop);
    CHECK(store.releases == 1);
  }
}

TEST_CASE("cancelling waits for the host's calls", "[model]") {
  const Fixture f;
  Store store(f.path);
  std::atomic<int> running{0};
  std::atomic<bool> slow{false};
  ModelSource source = store.Source();
  source.read = [&](uint64_t offset, void* buffer, size_t bytes) {
    ++running;
    if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const int64_t result = store.Read(offset, buffer, bytes);
    --running;
    return result;
  };
  auto model = OpenAtFloor(source, OptionsFor(Engine::kAuto));
  REQUIRE_OK(model);
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  slow = true;
  std::thread canceller([&] {
    while (running == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    (*session)->Cancel();
  });
  const absl::Status status = (*session)->Prefill(f.tokens, {}, {});
  CHECK(running == 0);
  canceller.join();
  CHECK(absl::IsCancelled(status));
  slow = false;
  CHECK(AllLogits(**session, f.tokens) ==
        Logits(ModelSource::Path(f.path), OptionsFor(Engine::kAuto), f.tokens));
}

}  // namespace sluice
