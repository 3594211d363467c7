// io_uring against the thread pool. Skipped as a whole where the kernel refuses io_uring.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "lib/io/batch_reader.h"
#include "lib/io/storage_file.h"
#include "tests/support/catch.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

constexpr size_t kFileBytes = (size_t{1} << 20) + 777;
constexpr size_t kSlabBytes = size_t{4} << 20;

struct Fixture {
  Fixture() : content(RandomBytes(kFileBytes, Seed())) {
    WriteFileOrDie(dir.File("data"), content);
    auto opened = StorageFile::Open(dir.File("data"));
    REQUIRE_OK(opened);
    file = *opened;
    auto first = AlignedBuffer::Allocate(kSlabBytes);
    auto second = AlignedBuffer::Allocate(kSlabBytes);
    REQUIRE_OK(first);
    REQUIRE_OK(second);
    registered = *std::move(first);
    other = *std::move(second);
  }

  std::unique_ptr<IoEngine> Make(EngineChoice choice, size_t queue_depth) {
    const IoSegment buffer{registered.data(), registered.size()};
    auto engine = MakeIoEngine(file, choice, queue_depth, {&buffer, 1});
    if (absl::IsUnimplemented(engine.status())) {
      SkipProgram(std::string(engine.status().message()));
    }
    REQUIRE_OK(engine);
    return *std::move(engine);
  }

  TempDir dir;
  std::string content;
  std::shared_ptr<StorageFile> file;
  AlignedBuffer registered;
  AlignedBuffer other;
};

void CheckAll(const ReadSet& set, const std::vector<int64_t>& results) {
  for (size_t i = 0; i < set.size(); ++i) {
    REQUIRE(results[i] == static_cast<int64_t>(set.Available(i)));
    REQUIRE(set.Matches(i, set.Available(i)));
  }
}

}  // namespace

TEST_CASE("io_uring gives what pread gives, fixed, vectored and mixed", "[io]") {
  Fixture f;
  INFO("seed " << Seed());
  std::mt19937_64 random(Seed());
  for (const size_t queue_depth : {1, 3, 64}) {
    std::unique_ptr<IoEngine> uring = f.Make(EngineChoice::kUring, queue_depth);
    std::unique_ptr<IoEngine> pread = f.Make(EngineChoice::kPread, queue_depth);
    INFO(uring->capabilities().reason);
    for (const size_t max_segments : {1, 6}) {
      for (AlignedBuffer* memory : {&f.registered, &f.other}) {
        ReadSet set(f.content, memory->span());
        set.AddRandom(&random, 200, 4096, max_segments);
        for (IoEngine* engine : {uring.get(), pread.get()}) {
          std::memset(memory->data(), 0, memory->size());
          CheckAll(set, RunAll(engine, set.reads()));
        }
      }
    }
  }
}

TEST_CASE("io_uring reads 64 segments at once", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Make(EngineChoice::kUring, 4);
  ReadSet set(f.content, f.other.span());
  REQUIRE(set.Add(8192, IoEngine::kMaxSegments, 4096));
  CheckAll(set, RunAll(engine.get(), set.reads()));
}

TEST_CASE("a segment that only touches a slab is not read as fixed", "[io]") {
  Fixture f;
  // Registered is the lower half alone; the read spans the middle.
  const IoSegment half{f.registered.data(), kSlabBytes / 2};
  auto engine = MakeIoEngine(f.file, EngineChoice::kUring, 4, {&half, 1});
  REQUIRE_OK(engine);
  ReadSet set(f.content, f.registered.span().subspan(kSlabBytes / 2 - 4096));
  REQUIRE(set.Add(4096, 1, 8192));
  CheckAll(set, RunAll(engine->get(), set.reads()));
}

TEST_CASE("the submitting thread may exit before its reads are reaped", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Make(EngineChoice::kUring, 8);
  ReadSet set(f.content, f.registered.span());
  for (int i = 0; i < 8; ++i) REQUIRE(set.Add(4096u * static_cast<unsigned>(i), 1, 8192));
  const std::vector<IoRead> reads = set.reads();
  absl::Status submitted;
  std::thread([&] { submitted = engine->Submit(reads); }).join();
  REQUIRE_OK(submitted);
  std::vector<IoCompletion> completions;
  REQUIRE_OK(engine->Reap(8, std::chrono::seconds(20), &completions));
  REQUIRE(completions.size() == 8);
  for (const IoCompletion& completion : completions) CHECK(completion.result == 8192);
  for (size_t i = 0; i < 8; ++i) CHECK(set.Matches(i, 8192));
}

TEST_CASE("destroying a ring waits for its reads", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Make(EngineChoice::kUring, 16);
  ReadSet set(f.content, f.registered.span());
  for (int i = 0; i < 16; ++i) REQUIRE(set.Add(8192u * static_cast<unsigned>(i), 1, 65536));
  REQUIRE_OK(engine->Submit(set.reads()));
  engine.reset();
  for (size_t i = 0; i < set.size(); ++i) CHECK(set.Matches(i, 65536));
}

TEST_CASE("a forked child gets an error from its parent's ring, and does not fault", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Make(EngineChoice::kUring, 4);
  ReadSet set(f.content, f.registered.span());
  REQUIRE(set.Add(0, 1, 4096));
  const ChildResult child = RunInChild([&] {
    const absl::Status status = engine->Submit(set.reads());
    engine.reset();
    return status.ToString();
  });
  CHECK(child.exited);
  CHECK(child.signal == 0);
  CHECK_THAT(child.output, Catch::Contains("FAILED_PRECONDITION"));
  // The child's exit has not unregistered the parent's buffers.
  CheckAll(set, RunAll(engine.get(), set.reads()));
}

TEST_CASE("a misaligned direct read fails by itself", "[io]") {
  Fixture f;
  std::unique_ptr<IoEngine> engine = f.Make(EngineChoice::kUring, 4);
  if (!engine->capabilities().direct_io) {
    WARN("not tested: " << f.file->direct_reason());
    return;
  }
  const IoSegment segment{f.other.data() + 1, 4095};
  const std::vector<IoRead> reads{{0, absl::MakeConstSpan(&segment, 1), 0}};
  CHECK(RunAll(engine.get(), reads)[0] == -EINVAL);
}

TEST_CASE("a kernel that takes no reads is an error in bounded time, and nothing has started",
          "[io][fault]") {
  for (const int error : {EAGAIN, EBUSY, EINTR, EPERM}) {
    Fixture f;
    std::unique_ptr<IoEngine> engine = f.Make(EngineChoice::kUring, 4);
    ReadSet set(f.content, f.registered.span());
    for (unsigned i = 0; i < 4; ++i) REQUIRE(set.Add(4096u * i, 1, 4096));
    const ChildResult child = RunInChild([&] {
      // The ring must be the child's own.
      std::unique_ptr<IoEngine> own = f.Make(EngineChoice::kUring, 4);
      if (!DenySyscalls({SYS_io_uring_enter}, error)) return std::string("no seccomp");
      std::string report = absl::StrCat(own->Submit(set.reads()).ToString(), "|");
      absl::StrAppend(&report, own->in_flight(), "|", own->Submit(set.reads()).ok());
      return report;
    });
    INFO(child.output);
    CHECK(child.exited);
    CHECK_THAT(child.output, Catch::Contains("io_uring_enter, submitting reads"));
    CHECK_THAT(child.output, Catch::EndsWith("|0|0"));
  }
}

TEST_CASE("a file cut while open is truncation with every engine", "[io][fault]") {
  for (const EngineChoice choice : {EngineChoice::kUring, EngineChoice::kPread}) {
    Fixture f;
    BatchReader reader(f.Make(choice, 8), f.file->path());
    ReadSet set(f.content, f.registered.span());
    for (unsigned i = 0; i < 20; ++i) REQUIRE(set.Add(16384u * i, 1, 16384));
    constexpr off_t kCut = 5 * 16384 + 5000;
    REQUIRE(truncate(f.file->path().c_str(), kCut) == 0);
    REQUIRE_OK(reader.Start(set.reads()));
    std::vector<FinishedRead> finished;
    while (reader.outstanding() > 0) REQUIRE_OK(reader.Wait(&finished));
    REQUIRE(finished.size() == 20);
    for (const FinishedRead& read : finished) {
      if (read.tag < 5) {
        REQUIRE_OK(read.status);
        CHECK(set.Matches(read.tag, 16384));
      } else {
        CHECK(absl::IsDataLoss(read.status));
        CHECK_THAT(std::string(read.status.message()), Catch::StartsWith(f.file->path()));
      }
    }
  }
}

TEST_CASE("opening and closing leaves no descriptors behind", "[io]") {
  Fixture f;
  const auto count_fds = [] {
    int count = 0;
    for (int fd = 0; fd < 256; ++fd) {
      count += std::ifstream("/proc/self/fd/" + std::to_string(fd)).good() ? 1 : 0;
    }
    return count;
  };
  const int before = count_fds();
  for (int i = 0; i < 50; ++i) f.Make(EngineChoice::kUring, 32);
  CHECK(count_fds() == before);
}

}  // namespace sluice::testing
