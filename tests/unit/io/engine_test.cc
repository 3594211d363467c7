// What every engine promises, on the thread pool and in memory; uring_test.cc has io_uring's own.
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cerrno>
#include <thread>

#include "lib/io/storage_file.h"
#include "tests/support/catch.h"
#include "tests/support/memory_engine.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

constexpr size_t kFileBytes = (size_t{1} << 20) + 777;

struct Fixture {
  Fixture() : content(RandomBytes(kFileBytes, Seed())) {
    WriteFileOrDie(dir.File("data"), content);
    auto opened = StorageFile::Open(dir.File("data"));
    REQUIRE_OK(opened);
    file = *opened;
    auto allocated = AlignedBuffer::Allocate(size_t{8} << 20);
    REQUIRE_OK(allocated);
    memory = *std::move(allocated);
  }

  std::unique_ptr<IoEngine> Pread(size_t queue_depth) {
    auto engine = MakeIoEngine(file, EngineChoice::kPread, queue_depth, {});
    REQUIRE_OK(engine);
    return *std::move(engine);
  }

  TempDir dir;
  std::string content;
  std::shared_ptr<StorageFile> file;
  AlignedBuffer memory;
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

}  // namespace

TEST_CASE("pread and memory give the file's bytes", "[io]") {
  Fixture f;
  INFO("seed " << Seed());
  std::mt19937_64 random(Seed());
  for (const size_t queue_depth : {1, 7, 64}) {
    ReadSet set(f.content, f.memory.span());
    set.AddRandom(&random, 300, 4096, 6);
    auto shared = std::make_shared<const std::string>(f.content);
    MemoryEngine memory(shared, {.queue_depth = queue_depth, .alignment = 4096});
    std::unique_ptr<IoEngine> pread = f.Pread(queue_depth);
    for (IoEngine* engine : {static_cast<IoEngine*>(&memory), pread.get()}) {
      std::memset(f.memory.data(), 0, f.memory.size());
      const std::vector<int64_t> results = RunAll(engine, set.reads());
      for (size_t i = 0; i < set.size(); ++i) {
        REQUIRE(results[i] == static_cast<int64_t>(set.Available(i)));
        REQUIRE(set.Matches(i, set.Available(i)));
      }
    }
  }
}

TEST_CASE("an engine refuses what its contract excludes", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Pread(2);
  const IoSegment segment{f.memory.data(), 4096};
  const std::vector<IoSegment> many(IoEngine::kMaxSegments + 1, segment);
  const IoRead good{0, absl::MakeConstSpan(&segment, 1), 1};
  const std::vector<IoRead> three(3, good);
  const IoRead no_segments{0, {}, 1};
  const IoRead too_many{0, many, 1};
  CHECK(absl::IsInvalidArgument(engine->Submit(three)));
  CHECK(absl::IsInvalidArgument(engine->Submit({&no_segments, 1})));
  CHECK(absl::IsInvalidArgument(engine->Submit({&too_many, 1})));
  CHECK(engine->in_flight() == 0);

  for (const size_t depth : {0, 4097}) {
    CHECK(absl::IsInvalidArgument(
        MakeIoEngine(f.file, EngineChoice::kPread, depth, {}).status()));
  }
  CHECK(absl::IsInvalidArgument(
      MakeIoEngine(nullptr, EngineChoice::kPread, 1, {}).status()));
}

TEST_CASE("reaping an idle engine returns at once", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Pread(4);
  std::vector<IoCompletion> completions;
  REQUIRE_OK(engine->Reap(4, std::chrono::hours(10), &completions));
  CHECK(completions.empty());
}

TEST_CASE("one thread submits, another reaps", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Pread(8);
  ReadSet set(f.content, f.memory.span());
  for (int i = 0; i < 8; ++i) REQUIRE(set.Add(4096u * static_cast<unsigned>(i), 1, 8192));
  const std::vector<IoRead> reads = set.reads();
  absl::Status submitted;
  std::thread([&] { submitted = engine->Submit(reads); }).join();
  REQUIRE_OK(submitted);
  std::vector<IoCompletion> completions;
  REQUIRE_OK(engine->Reap(8, std::chrono::seconds(20), &completions));
  REQUIRE(completions.size() == 8);
  for (size_t i = 0; i < 8; ++i) CHECK(set.Matches(i, 8192));
}

TEST_CASE("destroying an engine waits for its reads", "[io]") {
  Fixture f;
  ReadSet set(f.content, f.memory.span());
  for (int i = 0; i < 32; ++i) REQUIRE(set.Add(8192u * static_cast<unsigned>(i), 1, 65536));
  std::unique_ptr<IoEngine> engine = f.Pread(32);
  REQUIRE_OK(engine->Submit(set.reads()));
  engine.reset();
  for (size_t i = 0; i < set.size(); ++i) CHECK(set.Matches(i, 65536));
}

TEST_CASE("an idle pool uses no CPU", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Pread(64);
  const double before = CpuSeconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(CpuSeconds() - before < 0.02);
}

TEST_CASE("a forked child gets an error from its parent's pool, and does not hang", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Pread(4);
  ReadSet set(f.content, f.memory.span());
  REQUIRE(set.Add(0, 1, 4096));
  const ChildResult child = RunInChild([&] {
    const absl::Status status = engine->Submit(set.reads());
    engine.reset();
    return status.ToString();
  });
  CHECK(child.exited);
  CHECK_THAT(child.output, Catch::Contains("FAILED_PRECONDITION"));
  CHECK_THAT(child.output, Catch::Contains("forked child"));
  CHECK(RunAll(engine.get(), set.reads())[0] == 4096);
}

TEST_CASE("no thread at all is an error, not a crash", "[io]") {
  Fixture f;
  const ChildResult child = RunInChild([&]() -> std::string {
    if (!DenySyscalls({SYS_clone, SYS_clone3}, EAGAIN)) return "no seccomp";
    return MakeIoEngine(f.file, EngineChoice::kPread, 4, {}).status().ToString();
  });
  CHECK(child.exited);
  CHECK_THAT(child.output, Catch::Contains("RESOURCE_EXHAUSTED"));
  CHECK_THAT(child.output, Catch::Contains(f.file->path()));
}

TEST_CASE("the memory plan's figure grows with depth", "[io]") {
  CHECK(IoEngineBytes(1) > 0);
  CHECK(IoEngineBytes(4096) > IoEngineBytes(64));
  CHECK(IoEngineBytes(4096) < (uint64_t{8} << 20));
}

}  // namespace sluice::testing
