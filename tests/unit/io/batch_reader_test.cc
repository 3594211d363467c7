// BatchReader on engines that work: order, queueing, the last block, draining.
#include <cstring>

#include "lib/io/batch_reader.h"
#include "tests/support/catch.h"
#include "tests/support/fault_engine.h"
#include "tests/support/memory_engine.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

constexpr size_t kFileBytes = 64 * 4096;

struct Fixture {
  Fixture() : content(std::make_shared<std::string>(RandomBytes(kFileBytes, Seed()))) {
    auto allocated = AlignedBuffer::Allocate(size_t{4} << 20);
    REQUIRE_OK(allocated);
    memory = *std::move(allocated);
  }
  std::unique_ptr<BatchReader> Reader(size_t queue_depth, FaultPlan plan = {}) {
    auto engine = std::make_unique<FaultEngine>(
        std::make_unique<MemoryEngine>(
            content, MemoryEngineOptions{.queue_depth = queue_depth, .alignment = 4096}),
        std::move(plan));
    counts = engine->counts();
    return std::make_unique<BatchReader>(std::move(engine), "/models/data.flash");
  }

  std::shared_ptr<std::string> content;
  AlignedBuffer memory;
  std::shared_ptr<const FaultCounts> counts;
};

}  // namespace

TEST_CASE("ErrnoStatus gives errno its code, name and text", "[io]") {
  const absl::Status eio = ErrnoStatus(EIO, "here");
  CHECK(absl::IsUnavailable(eio));
  CHECK(eio.message() == "here: EIO (Input/output error)");
  CHECK(absl::IsPermissionDenied(ErrnoStatus(EACCES, "")));
  CHECK(absl::IsPermissionDenied(ErrnoStatus(EPERM, "")));
  CHECK(absl::IsNotFound(ErrnoStatus(ENOENT, "")));
  CHECK(absl::IsUnavailable(ErrnoStatus(ECANCELED, "")));
  CHECK(absl::IsUnimplemented(ErrnoStatus(ENOSYS, "")));
  for (const int error : {ENOMEM, ENOSPC, EMFILE}) {
    CHECK(absl::IsResourceExhausted(ErrnoStatus(error, "")));
  }
  CHECK(absl::IsUnavailable(ErrnoStatus(4711, "")));
  CHECK_THAT(std::string(ErrnoStatus(4711, "").message()), Catch::Contains("4711"));
}

TEST_CASE("any number of reads goes through a queue of any depth", "[io]") {
  Fixture f;
  for (const size_t queue_depth : {1, 3, 64}) {
    for (const bool reorder : {false, true}) {
      FaultPlan plan;
      plan.reorder = reorder;
      plan.seed = Seed();
      std::unique_ptr<BatchReader> reader = f.Reader(queue_depth, plan);
      ReadSet set(*f.content, f.memory.span());
      for (unsigned i = 0; i < 60; ++i) REQUIRE(set.Add(4096u * i, 1 + i % 3, 4096));
      std::memset(f.memory.data(), 0, f.memory.size());
      REQUIRE_OK(reader->Start(set.reads()));
      CHECK(reader->outstanding() == set.size());
      std::vector<bool> seen(set.size());
      std::vector<FinishedRead> finished;
      while (reader->outstanding() > 0) {
        finished.clear();
        REQUIRE_OK(reader->Wait(&finished));
        REQUIRE_FALSE(finished.empty());
        for (const FinishedRead& read : finished) {
          REQUIRE_OK(read.status);
          REQUIRE_FALSE(seen.at(read.tag));
          seen[read.tag] = true;
          CHECK(set.Matches(read.tag, set.Available(read.tag)));
        }
      }
      CHECK(f.counts->reads_seen == set.size());
    }
  }
}

TEST_CASE("Wait with nothing to wait for returns at once", "[io]") {
  Fixture f;
  std::unique_ptr<BatchReader> reader = f.Reader(4);
  std::vector<FinishedRead> finished;
  REQUIRE_OK(reader->Wait(&finished));
  REQUIRE_OK(reader->Poll(&finished));
  CHECK(finished.empty());
  CHECK(reader->busy_ns() == 0);
}

TEST_CASE("Poll alone finishes reads, late ones too", "[io]") {
  Fixture f;
  FaultPlan plan;
  plan.script = {{1, true, {FaultKind::kLate}}};
  std::unique_ptr<BatchReader> reader = f.Reader(2, plan);
  ReadSet set(*f.content, f.memory.span());
  for (unsigned i = 0; i < 5; ++i) REQUIRE(set.Add(4096u * i, 1, 4096));
  REQUIRE_OK(reader->Start(set.reads()));
  std::vector<FinishedRead> finished;
  for (int i = 0; i < 100 && reader->outstanding() > 0; ++i) REQUIRE_OK(reader->Poll(&finished));
  CHECK(finished.size() == 5);
  CHECK(reader->busy_ns() > 0);
}

TEST_CASE("what is no read is refused, and nothing starts", "[io]") {
  Fixture f;
  std::unique_ptr<BatchReader> reader = f.Reader(4);
  const IoSegment segment{f.memory.data(), 4096};
  const IoSegment empty{f.memory.data(), 0};
  const IoSegment huge{f.memory.data(), ~size_t{0}};
  const std::vector<IoSegment> many(IoEngine::kMaxSegments + 1, segment);
  const IoRead good{0, absl::MakeConstSpan(&segment, 1), 0};
  for (const IoRead& bad : {IoRead{0, {}, 1}, IoRead{0, many, 1},
                            IoRead{0, absl::MakeConstSpan(&empty, 1), 1},
                            IoRead{4096, absl::MakeConstSpan(&huge, 1), 1},
                            IoRead{~uint64_t{0}, absl::MakeConstSpan(&segment, 1), 1}}) {
    const IoRead both[] = {good, bad};
    CHECK(absl::IsInvalidArgument(reader->Start(both)));
    CHECK(reader->outstanding() == 0);
  }
}

TEST_CASE("draining drops what waits and ends what runs", "[io]") {
  Fixture f;
  FaultPlan plan;
  plan.script = {{0, true, {FaultKind::kLate}}};
  std::unique_ptr<BatchReader> reader = f.Reader(2, plan);
  ReadSet set(*f.content, f.memory.span());
  for (unsigned i = 0; i < 10; ++i) REQUIRE(set.Add(4096u * i, 1, 4096));
  REQUIRE_OK(reader->Start(set.reads()));
  reader->Drain();
  CHECK(reader->outstanding() == 0);
  CHECK(f.counts->reads_seen == 2);
  // And it goes on working.
  REQUIRE_OK(reader->Start(set.reads()));
  std::vector<FinishedRead> finished;
  while (reader->outstanding() > 0) REQUIRE_OK(reader->Wait(&finished));
  CHECK(finished.size() == 10);
}

TEST_CASE("an engine that starts nothing is an error with the path", "[io][fault]") {
  Fixture f;
  FaultPlan plan;
  plan.failing_submit = 0;
  plan.submit_stays_broken = true;
  std::unique_ptr<BatchReader> reader = f.Reader(4, plan);
  ReadSet set(*f.content, f.memory.span());
  REQUIRE(set.Add(0, 1, 4096));
  const absl::Status started = reader->Start(set.reads());
  CHECK(absl::IsUnavailable(started));
  CHECK_THAT(std::string(started.message()), Catch::StartsWith("/models/data.flash"));
  std::vector<FinishedRead> finished;
  CHECK(absl::IsUnavailable(reader->Wait(&finished)));
  CHECK(finished.empty());
  reader->Drain();
  CHECK(reader->outstanding() == 0);
}

TEST_CASE("a failing Reap is reported, and the reads are not lost", "[io][fault]") {
  Fixture f;
  FaultPlan plan;
  plan.failing_reap = 0;
  std::unique_ptr<BatchReader> reader = f.Reader(4, plan);
  ReadSet set(*f.content, f.memory.span());
  REQUIRE(set.Add(0, 1, 4096));
  REQUIRE_OK(reader->Start(set.reads()));
  std::vector<FinishedRead> finished;
  CHECK(absl::IsUnavailable(reader->Wait(&finished)));
  REQUIRE_OK(reader->Wait(&finished));
  REQUIRE(finished.size() == 1);
  REQUIRE_OK(finished[0].status);
  CHECK(set.Matches(0, 4096));
}

}  // namespace sluice::testing
