// The engine that reads through a function of the host's.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "lib/io/batch_reader.h"
#include "lib/io/host_reader.h"
#include "lib/io/storage_file.h"
#include "tests/support/catch.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

constexpr size_t kBytes = (size_t{2} << 20) + 777;

// A host: bytes in memory, and what its function does wrong.
struct Host {
  Host() : content(RandomBytes(kBytes, Seed())) {}

  int64_t Read(uint64_t offset, void* buffer, size_t bytes) {
    const int now = ++running;
    for (int most = most_at_once; now > most && !most_at_once.compare_exchange_weak(most, now);) {
    }
    const int call = calls++;
    const int64_t result =
        answer ? answer(call, offset, buffer, bytes) : Fill(offset, buffer, bytes);
    --running;
    return result;
  }
  int64_t Fill(uint64_t offset, void* buffer, size_t bytes) const {
    if (offset >= content.size()) return 0;
    const size_t count = std::min<size_t>(bytes, content.size() - offset);
    std::memcpy(buffer, content.data() + offset, count);
    return static_cast<int64_t>(count);
  }

  std::shared_ptr<StorageFile> Open(uint32_t threads) {
    HostReader::Settings settings;
    settings.read = [this](uint64_t offset, void* buffer, size_t bytes) {
      return Read(offset, buffer, bytes);
    };
    settings.release = [this] {
      CHECK(running == 0);
      ++releases;
    };
    settings.bytes = content.size();
    settings.threads = threads;
    settings.name = "host";
    return StorageFile::FromHost(std::make_shared<HostReader>(std::move(settings)), "host");
  }

  const std::string content;
  std::function<int64_t(int call, uint64_t offset, void* buffer, size_t bytes)> answer;
  std::atomic<int> calls{0}, running{0}, most_at_once{0}, releases{0};
};

std::unique_ptr<IoEngine> EngineOn(const std::shared_ptr<StorageFile>& file, size_t depth = 16) {
  auto engine = MakeIoEngine(file, EngineChoice::kAuto, depth, {});
  REQUIRE_OK(engine);
  return *std::move(engine);
}

struct Memory {
  Memory() {
    auto allocated = AlignedBuffer::Allocate(size_t{8} << 20);
    REQUIRE_OK(allocated);
    buffer = *std::move(allocated);
  }
  AlignedBuffer buffer;
};

// All reads, through BatchReader; their statuses by tag.
std::vector<absl::Status> ReadBatch(std::unique_ptr<IoEngine> engine, const ReadSet& set) {
  BatchReader reader(std::move(engine), "host");
  const std::vector<IoRead> reads = set.reads();
  REQUIRE_OK(reader.Start(reads));
  std::vector<FinishedRead> finished;
  while (reader.outstanding() > 0) REQUIRE_OK(reader.Wait(&finished));
  std::vector<absl::Status> statuses(reads.size());
  for (FinishedRead& read : finished) statuses[read.tag] = std::move(read.status);
  return statuses;
}

}  // namespace

TEST_CASE("the host's function gives what it holds", "[io]") {
  INFO("seed " << Seed());
  Host host;
  Memory memory;
  std::mt19937_64 random(Seed());
  for (const uint32_t threads : {1, 4, 64}) {
    host.most_at_once = 0;
    const auto file = host.Open(threads);
    CHECK(file->size() == kBytes);
    ReadSet set(host.content, memory.buffer.span());
    set.AddRandom(&random, 200, 512, 6);
    std::unique_ptr<IoEngine> engine = EngineOn(file);
    CHECK(engine->capabilities().engine == "host");
    CHECK(engine->capabilities().alignment == 1);
    const std::vector<int64_t> results = RunAll(engine.get(), set.reads());
    for (size_t i = 0; i < set.size(); ++i) {
      REQUIRE(results[i] == static_cast<int64_t>(set.Available(i)));
      REQUIRE(set.Matches(i, set.Available(i)));
    }
    CHECK(host.most_at_once <= static_cast<int>(threads));
  }
  CHECK(host.releases == 3);
}

TEST_CASE("scattered segments cost one call", "[io]") {
  Host host;
  Memory memory;
  const auto file = host.Open(2);
  ReadSet set(host.content, memory.buffer.span());
  REQUIRE(set.Add(1000, IoEngine::kMaxSegments, 4096));
  std::unique_ptr<IoEngine> engine = EngineOn(file);
  CHECK(RunAll(engine.get(), set.reads())[0] == IoEngine::kMaxSegments * 4096);
  CHECK(set.Matches(0, IoEngine::kMaxSegments * 4096));
  CHECK(host.calls == 1);
}

TEST_CASE("sessions share the threads", "[io]") {
  Host host;
  host.answer = [&](int, uint64_t offset, void* buffer, size_t bytes) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return host.Fill(offset, buffer, bytes);
  };
  const auto file = host.Open(3);
  std::vector<std::thread> sessions;
  std::vector<Memory> memories(4);
  std::atomic<int> wrong{0};
  for (Memory& memory : memories) {
    sessions.emplace_back([&] {
      ReadSet set(host.content, memory.buffer.span());
      for (unsigned i = 0; i < 40; ++i) set.Add(4096u * i, 2, 8192);
      auto engine = MakeIoEngine(file, EngineChoice::kAuto, 8, {});
      if (!engine.ok()) {
        ++wrong;
        return;
      }
      // Nothing of Catch's on this thread.
      BatchReader reader(*std::move(engine), "host");
      const std::vector<IoRead> reads = set.reads();
      std::vector<FinishedRead> finished;
      wrong += reader.Start(reads).ok() ? 0 : 1;
      while (reader.outstanding() > 0) wrong += reader.Wait(&finished).ok() ? 0 : 1;
      for (size_t i = 0; i < set.size(); ++i) wrong += set.Matches(i, 16384) ? 0 : 1;
    });
  }
  for (std::thread& session : sessions) session.join();
  CHECK(wrong == 0);
  CHECK(host.most_at_once <= 3);
}

TEST_CASE("short reads go on where they stopped", "[io][fault]") {
  Host host;
  Memory memory;
  host.answer = [&](int call, uint64_t offset, void* buffer, size_t bytes) {
    return host.Fill(offset, buffer, std::max<size_t>(1, bytes * (call % 7) / 9));
  };
  const auto file = host.Open(4);
  ReadSet set(host.content, memory.buffer.span());
  for (unsigned i = 0; i < 30; ++i) REQUIRE(set.Add(5000u * i, 1 + i % 5, 4096));
  const std::vector<absl::Status> statuses = ReadBatch(EngineOn(file), set);
  for (size_t i = 0; i < set.size(); ++i) {
    REQUIRE_OK(statuses[i]);
    CHECK(set.Matches(i, set.Available(i)));
  }
  std::string got(300000, '\0');
  REQUIRE_OK(file->ReadAt(
      11, absl::MakeSpan(reinterpret_cast<std::byte*>(got.data()), got.size())));
  CHECK(got == host.content.substr(11, got.size()));
}

TEST_CASE("every wrong answer is an error of that read alone", "[io][fault]") {
  const struct {
    const char* what;
    std::function<int64_t(size_t bytes)> answer;
    absl::StatusCode code;
    const char* text;
  } cases[] = {
      {"EIO", [](size_t) { return -EIO; }, absl::StatusCode::kUnavailable, "EIO"},
      {"EACCES", [](size_t) { return -EACCES; }, absl::StatusCode::kPermissionDenied, "EACCES"},
      {"no errno", [](size_t) { return -123456; }, absl::StatusCode::kUnavailable, "EPROTO"},
      {"the least number", [](size_t) { return std::numeric_limits<int64_t>::min(); },
       absl::StatusCode::kUnavailable, "EPROTO"},
      {"the largest number", [](size_t) { return std::numeric_limits<int64_t>::max(); },
       absl::StatusCode::kUnavailable, "EPROTO"},
      {"one byte too many", [](size_t bytes) { return static_cast<int64_t>(bytes) + 1; },
       absl::StatusCode::kUnavailable, "EPROTO"},
      {"an exception", [](size_t) -> int64_t { throw std::runtime_error("no"); },
       absl::StatusCode::kUnavailable, "EPROTO"},
      {"another exception", [](size_t) -> int64_t { throw 7; }, absl::StatusCode::kUnavailable,
       "EPROTO"},
      {"an early end", [](size_t) { return 0; }, absl::StatusCode::kDataLoss, "ends early"}};
  for (const auto& c : cases) {
    INFO(c.what);
    Host host;
    Memory memory;
    constexpr uint64_t kBad = 3 * 65536;
    host.answer = [&](int, uint64_t offset, void* buffer, size_t bytes) {
      struct Leave {  // the counter, past an exception
        std::atomic<int>* running;
        bool thrown = true;
        ~Leave() { if (thrown) --*running; }
      } leave{&host.running};
      const int64_t result =
          offset == kBad ? c.answer(bytes) : host.Fill(offset, buffer, bytes);
      leave.thrown = false;
      return result;
    };
    {
      const auto file = host.Open(4);
      ReadSet set(host.content, memory.buffer.span());
      for (unsigned i = 0; i < 8; ++i) REQUIRE(set.Add(65536u * i, 2, 4096));
      const std::vector<absl::Status> statuses = ReadBatch(EngineOn(file), set);
      for (size_t i = 0; i < set.size(); ++i) {
        if (i == 3) {
          CHECK(statuses[i].code() == c.code);
          CHECK_THAT(std::string(statuses[i].message()),
                     Catch::StartsWith("host: ") && Catch::Contains(c.text));
        } else {
          REQUIRE_OK(statuses[i]);
          CHECK(set.Matches(i, 8192));
        }
      }
      std::byte one;
      CHECK(file->ReadAt(kBad, {&one, 1}).code() == c.code);
    }
    CHECK(host.releases == 1);
  }
}

TEST_CASE("draining waits for the calls that run, and no others begin", "[io][fault]") {
  Host host;
  Memory memory;
  std::atomic<bool> go{false};
  host.answer = [&](int, uint64_t offset, void* buffer, size_t bytes) {
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return host.Fill(offset, buffer, bytes);
  };
  const auto file = host.Open(2);
  ReadSet set(host.content, memory.buffer.span());
  for (unsigned i = 0; i < 12; ++i) REQUIRE(set.Add(4096u * i, 1, 4096));
  BatchReader reader(EngineOn(file, 12), "host");
  const std::vector<IoRead> reads = set.reads();
  REQUIRE_OK(reader.Start(reads));
  while (host.running < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    go = true;
  });
  reader.Drain();
  CHECK(go);
  CHECK(host.running == 0);
  CHECK(host.calls == 2);
  later.join();
  REQUIRE_OK(reader.Start(reads));
  std::vector<FinishedRead> finished;
  while (reader.outstanding() > 0) REQUIRE_OK(reader.Wait(&finished));
  for (size_t i = 0; i < set.size(); ++i) CHECK(set.Matches(i, 4096));
}

TEST_CASE("the threads take no signals, and another engine is not to be had", "[io]") {
  Host host;
  std::atomic<int> unblocked{0};
  host.answer = [&](int, uint64_t offset, void* buffer, size_t bytes) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    unblocked += sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1 ? 0 : 1;
    return host.Fill(offset, buffer, bytes);
  };
  Memory memory;
  const auto file = host.Open(4);
  ReadSet set(host.content, memory.buffer.span());
  for (unsigned i = 0; i < 20; ++i) REQUIRE(set.Add(4096u * i, 1, 4096));
  std::unique_ptr<IoEngine> engine = EngineOn(file);
  RunAll(engine.get(), set.reads());
  CHECK(unblocked == 0);
  for (const EngineChoice choice : {EngineChoice::kUring, EngineChoice::kPread}) {
    CHECK(absl::IsInvalidArgument(MakeIoEngine(file, choice, 4, {}).status()));
  }
}

TEST_CASE("a forked child gets an error, does not hang, and releases nothing", "[io]") {
  Host host;
  Memory memory;
  auto file = host.Open(2);
  std::unique_ptr<IoEngine> engine = EngineOn(file);
  ReadSet set(host.content, memory.buffer.span());
  REQUIRE(set.Add(0, 1, 4096));
  const ChildResult child = RunInChild([&] {
    const absl::Status status = engine->Submit(set.reads());
    engine.reset();
    file.reset();
    return status.ToString() + "|" + std::to_string(host.releases);
  });
  CHECK(child.exited);
  CHECK_THAT(child.output, Catch::Contains("forked child") && Catch::EndsWith("|0"));
  CHECK(RunAll(engine.get(), set.reads())[0] == 4096);
}

}  // namespace sluice::testing
