// BatchReader against everything that storage does wrong.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/io/batch_reader.h"
#include "tests/support/catch.h"
#include "tests/support/fault_engine.h"
#include "tests/support/memory_engine.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

constexpr size_t kUnit = 4096;
constexpr size_t kNumReads = 24;
constexpr size_t kFileBytes = 4 * kUnit * kNumReads;

struct Outcome {
  size_t num_ok = 0;
  size_t num_failed = 0;
  absl::Status first_failure;
  uint64_t reads_seen = 0;
  uint64_t faults = 0;
  bool bytes_ok = true;  // of the reads that succeeded
};

// 24 reads of 4 units, two segments each, over a memory engine that `plan` spoils.
class Runner {
 public:
  Runner() : content_(std::make_shared<std::string>(RandomBytes(kFileBytes, Seed()))) {
    auto allocated = AlignedBuffer::Allocate(2 * kFileBytes);
    REQUIRE_OK(allocated);
    memory_ = *std::move(allocated);
  }

  Outcome Run(const FaultPlan& plan, size_t alignment = kUnit, size_t queue_depth = 4) {
    auto engine = std::make_unique<FaultEngine>(
        std::make_unique<MemoryEngine>(
            content_, MemoryEngineOptions{.queue_depth = queue_depth, .alignment = alignment}),
        plan);
    const std::shared_ptr<const FaultCounts> counts = engine->counts();
    BatchReader reader(std::move(engine), "/models/data.flash");
    ReadSet set(*content_, memory_.span());
    for (size_t i = 0; i < kNumReads; ++i) REQUIRE(set.Add(4 * kUnit * i, 2, 2 * kUnit));
    std::memset(memory_.data(), 0, memory_.size());
    REQUIRE_OK(reader.Start(set.reads()));
    std::vector<FinishedRead> finished;
    while (reader.outstanding() > 0) REQUIRE_OK(reader.Wait(&finished));
    REQUIRE(finished.size() == kNumReads);
    Outcome outcome;
    for (const FinishedRead& read : finished) {
      if (read.status.ok()) {
        ++outcome.num_ok;
        outcome.bytes_ok &= set.Matches(read.tag, 4 * kUnit);
      } else {
        if (outcome.num_failed++ == 0) outcome.first_failure = read.status;
      }
    }
    outcome.reads_seen = counts->reads_seen;
    outcome.faults = counts->faults;
    return outcome;
  }

 private:
  std::shared_ptr<std::string> content_;
  AlignedBuffer memory_;
};

FaultPlan Once(uint64_t read_index, Fault fault) {
  FaultPlan plan;
  plan.script = {{read_index, false, fault}};
  return plan;
}

FaultPlan Always(Fault fault) {
  FaultPlan plan;
  plan.script = {{0, true, fault}};
  return plan;
}

}  // namespace

TEST_CASE("a fault that passes leaves no trace", "[io][fault]") {
  Runner runner;
  const Fault faults[] = {{FaultKind::kErrno, EINTR},     {FaultKind::kErrno, EAGAIN},
                          {FaultKind::kErrno, ENOMEM},    {FaultKind::kErrno, ECANCELED},
                          {FaultKind::kErrno, EBUSY},     {FaultKind::kErrno, EIO},
                          {FaultKind::kErrno, ETIMEDOUT}, {FaultKind::kShortAligned},
                          {FaultKind::kShortOdd},         {FaultKind::kZero},
                          {FaultKind::kLate}};
  for (const Fault& fault : faults) {
    for (const uint64_t index : {uint64_t{0}, uint64_t{kNumReads / 2}, uint64_t{kNumReads - 1}}) {
      for (const size_t alignment : {size_t{1}, kUnit}) {
        INFO("kind " << static_cast<int>(fault.kind) << " errno " << fault.error_number
                     << " read " << index << " alignment " << alignment);
        const Outcome outcome = runner.Run(Once(index, fault), alignment);
        CHECK(outcome.num_ok == kNumReads);
        CHECK(outcome.bytes_ok);
        CHECK(outcome.faults == 1);
      }
    }
  }
}

TEST_CASE("short reads without end still get there, in bounded rounds", "[io][fault]") {
  Runner runner;
  for (const size_t alignment : {size_t{1}, kUnit}) {
    const Outcome outcome = runner.Run(Always({FaultKind::kShortOdd}), alignment);
    if (alignment == 1) {
      CHECK(outcome.num_ok == kNumReads);
      CHECK(outcome.bytes_ok);
    } else {
      // At the last unit an odd half is no progress: direct I/O cannot go on from there.
      CHECK(outcome.num_failed == kNumReads);
      CHECK(absl::IsDataLoss(outcome.first_failure));
    }
    CHECK(outcome.reads_seen < 20 * kNumReads);
  }
}

TEST_CASE("EIO that stays is reported after two retries, with path and offset", "[io][fault]") {
  Runner runner;
  const Outcome outcome = runner.Run(Always({FaultKind::kErrno, EIO}), kUnit, 1);
  CHECK(outcome.num_failed == kNumReads);
  CHECK(outcome.reads_seen == 3 * kNumReads);
  CHECK(absl::IsUnavailable(outcome.first_failure));
  CHECK_THAT(std::string(outcome.first_failure.message()),
             Catch::StartsWith("/models/data.flash: read of 16384 bytes at offset 0 failed") &&
                 Catch::Contains("after 2 retries") && Catch::Contains("EIO"));
}

TEST_CASE("EIO after a short read names where it went wrong", "[io][fault]") {
  Runner runner;
  FaultPlan plan = Once(0, {FaultKind::kShortAligned});
  plan.script.push_back({1, true, {FaultKind::kErrno, EIO}});
  const Outcome outcome = runner.Run(plan, kUnit, 1);
  CHECK_THAT(std::string(outcome.first_failure.message()),
             Catch::Contains("read of 8192 bytes at offset 8192 failed"));
}

TEST_CASE("transient errors that stay end after eight retries", "[io][fault]") {
  Runner runner;
  for (const int error : {EINTR, EAGAIN, ENOMEM, ECANCELED, EBUSY}) {
    const Outcome outcome = runner.Run(Always({FaultKind::kErrno, error}));
    CHECK(outcome.num_failed == kNumReads);
    CHECK(outcome.reads_seen == 9 * kNumReads);
    CHECK_THAT(std::string(outcome.first_failure.message()),
               Catch::Contains("after 8 retries"));
  }
}

TEST_CASE("errors that no retry helps are reported at once", "[io][fault]") {
  Runner runner;
  for (const int error : {EINVAL, EACCES, EBADF, EFAULT}) {
    const Outcome outcome = runner.Run(Always({FaultKind::kErrno, error}));
    CHECK(outcome.num_failed == kNumReads);
    CHECK(outcome.reads_seen == kNumReads);
  }
  const Outcome outcome = runner.Run(Always({FaultKind::kErrno, EINVAL}));
  CHECK_THAT(std::string(outcome.first_failure.message()), Catch::Contains("multiples of 4096"));
}

TEST_CASE("a file cut while open is truncation, never zeros", "[io][fault]") {
  Runner runner;
  for (const size_t alignment : {size_t{1}, kUnit}) {
    for (const uint64_t cut : {uint64_t{0}, uint64_t{6 * kUnit}, uint64_t{6 * kUnit + 100}}) {
      FaultPlan plan;
      plan.file_bytes = cut;
      const Outcome outcome = runner.Run(plan, alignment, 1);
      CHECK(outcome.num_ok == cut / (4 * kUnit));
      CHECK(outcome.bytes_ok);
      CHECK(absl::IsDataLoss(outcome.first_failure));
      const uint64_t offset = cut / (4 * kUnit) * (4 * kUnit);
      CHECK_THAT(std::string(outcome.first_failure.message()),
                 Catch::Contains("/models/data.flash: file ends early") &&
                     Catch::Contains(absl::StrCat("wanted 16384 bytes at offset ", offset)) &&
                     Catch::Contains(absl::StrCat("got ", cut - offset, ";")));
      CHECK(outcome.reads_seen <= 4 * kNumReads);
    }
  }
}

TEST_CASE("wrong bytes pass here: checksums are for them", "[io][fault]") {
  Runner runner;
  for (const FaultKind kind : {FaultKind::kFlippedByte, FaultKind::kWrongOffset}) {
    const Outcome outcome = runner.Run(Once(3, {kind}));
    CHECK(outcome.num_ok == kNumReads);
    CHECK_FALSE(outcome.bytes_ok);
  }
}

TEST_CASE("for every k, failing the k-th I/O fails one read and no other", "[io][fault]") {
  Runner runner;
  size_t num_failures = 0;
  uint64_t k = 0;
  for (;; ++k) {
    // EACCES: no retry hides it.
    const Outcome outcome = runner.Run(Once(k, {FaultKind::kErrno, EACCES}));
    CHECK(outcome.bytes_ok);
    CHECK(outcome.num_failed == outcome.faults);
    num_failures += outcome.num_failed;
    if (outcome.faults == 0) break;
    REQUIRE(k < 1000);
  }
  CHECK(k == kNumReads);
  CHECK(num_failures == kNumReads);
}

TEST_CASE("for every k, failing all I/O from the k-th on is bounded", "[io][fault]") {
  Runner runner;
  for (uint64_t k = 0; k <= kNumReads; ++k) {
    FaultPlan plan;
    plan.script = {{k, true, {FaultKind::kErrno, EIO}}};
    const Outcome outcome = runner.Run(plan);
    CHECK(outcome.num_ok == k);
    CHECK(outcome.bytes_ok);
    CHECK(outcome.reads_seen == k + 3 * (kNumReads - k));
  }
}

TEST_CASE("random faults: right bytes or a status, never wrong bytes", "[io][fault]") {
  Runner runner;
  uint64_t faults = 0;
  for (uint64_t round = 0; round < 300; ++round) {
    FaultPlan plan;
    plan.seed = Seed() * 1000 + round;
    plan.random_one_in = 1 + round % 32;
    plan.random_faults = {{FaultKind::kErrno, EIO},       {FaultKind::kErrno, EINTR},
                          {FaultKind::kErrno, EAGAIN},    {FaultKind::kErrno, ENOMEM},
                          {FaultKind::kErrno, ECANCELED}, {FaultKind::kShortAligned},
                          {FaultKind::kShortOdd},         {FaultKind::kZero},
                          {FaultKind::kLate}};
    plan.reorder = round % 2 == 0;
    INFO("seed " << plan.seed);
    const Outcome outcome = runner.Run(plan, round % 3 == 0 ? 1 : kUnit, 1 + round % 9);
    CHECK(outcome.bytes_ok);
    CHECK(outcome.num_ok + outcome.num_failed == kNumReads);
    faults += outcome.faults;
  }
  CHECK(faults > 1000);
}

}  // namespace sluice::testing
