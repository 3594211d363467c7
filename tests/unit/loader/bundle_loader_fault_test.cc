// What the loader makes of storage that fails: for each k the k-th I/O goes wrong, and what is
// then read again is right.
#include <cerrno>
#include <utility>

#include "lib/loader/bundle_loader.h"
#include "tests/support/catch.h"
#include "tests/unit/loader/loader_rig.h"

namespace sluice {
namespace {

using testing::Destination;
using testing::Fault;
using testing::FaultCounts;
using testing::FaultEngine;
using testing::FaultKind;
using testing::FaultPlan;
using testing::FirstRecords;
using testing::SmallLayouts;
using testing::TestBundle;

using ::Catch::Contains;

// Scattered and adjacent records, plain and vectored reads.
const std::vector<uint32_t> kRecords = {0, 1, 2, 5, 6, 8, 9, 10, 11, 14, 15};
const std::vector<uint32_t> kSlots = {3, 4, 5, 0, 2, 1, 6, 7, 8, 10, 9};
constexpr int kNumReads = 6;  // with SmallExtents()

BundleLoader::Options SmallExtents() {
  BundleLoader::Options options;
  options.max_extent_bytes = 2 * 4096;
  return options;
}

// A loader over an engine with faults.
struct FaultyLoader {
  FaultyLoader(const TestBundle& bundle, FaultPlan plan, BundleLoader::Options options) {
    std::unique_ptr<FaultEngine> faulty = bundle.FaultyEngine(std::move(plan), 3);
    engine = faulty.get();
    counts = faulty->counts();
    loader = std::make_unique<BundleLoader>(bundle.file(), std::move(faulty), options);
  }
  const IoEngine* engine;  // the loader's
  std::shared_ptr<const FaultCounts> counts;
  std::unique_ptr<BundleLoader> loader;
};

FaultPlan OnceAt(uint64_t k, Fault fault) {
  FaultPlan plan;
  plan.script.push_back({k, false, fault});
  return plan;
}

// After a failure nothing is in flight, and the same records can be read.
void RequireRecovered(FaultyLoader& faulty, Destination& destination) {
  REQUIRE(faulty.loader->pending() == 0);
  REQUIRE(faulty.engine->in_flight() == 0);
  REQUIRE_OK(destination.LoadAll(*faulty.loader));
}

// Fails the k-th read for each k until a run meets no fault; `check` sees each failure.
template <typename Check>
int FailEachRead(const TestBundle& bundle, Fault fault, Check check) {
  int num_failures = 0;
  for (uint64_t k = 0; k < 1000; ++k) {
    INFO("fault in read " << k);
    FaultyLoader faulty(bundle, OnceAt(k, fault), SmallExtents());
    Destination destination(bundle, 0, kRecords, kSlots);
    const absl::Status status = destination.LoadAll(*faulty.loader);
    if (faulty.counts->faults == 0) {
      REQUIRE_OK(status);
      return num_failures;
    }
    if (!status.ok()) ++num_failures;
    check(status);
    RequireRecovered(faulty, destination);
  }
  FAIL("each run met a fault");
  return num_failures;
}

TEST_CASE("the k-th read fails for good", "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 11);
  const int num_failures = FailEachRead(bundle, {FaultKind::kErrno, ENXIO},
                                        [&](const absl::Status& status) {
    REQUIRE(!status.ok());
    REQUIRE_THAT(std::string(status.message()), Contains("layer 0, neurons "));
    REQUIRE_THAT(std::string(status.message()), Contains(bundle.file()->path()));
  });
  CHECK(num_failures == kNumReads);
}

TEST_CASE("what a retry mends is not an error", "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 12);
  const Fault faults[] = {
      {FaultKind::kErrno, EINTR},     {FaultKind::kErrno, EAGAIN}, {FaultKind::kErrno, EIO},
      {FaultKind::kErrno, ECANCELED}, {FaultKind::kErrno, ENOMEM}, {FaultKind::kShortAligned, 0},
      {FaultKind::kShortOdd, 0},      {FaultKind::kZero, 0},       {FaultKind::kLate, 0}};
  for (const Fault& fault : faults) {
    INFO("fault " << static_cast<int>(fault.kind) << ", errno " << fault.error_number);
    const int num_failures =
        FailEachRead(bundle, fault, [](const absl::Status& status) { REQUIRE_OK(status); });
    CHECK(num_failures == 0);
  }
}

TEST_CASE("wrong bytes are found and named", "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 13);
  for (FaultKind kind : {FaultKind::kFlippedByte, FaultKind::kWrongOffset}) {
    INFO("fault " << static_cast<int>(kind));
    const int num_failures = FailEachRead(bundle, {kind, 0}, [&](const absl::Status& status) {
      REQUIRE(absl::IsDataLoss(status));
      const std::string message(status.message());
      REQUIRE_THAT(message, Contains(bundle.file()->path()));
      REQUIRE_THAT(message, Contains("layer 0"));
      REQUIRE_THAT(message, Contains("neurons "));
    });
    CHECK(num_failures == kNumReads);
  }
}

TEST_CASE("without verification wrong bytes pass", "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 14);
  BundleLoader::Options options;
  options.verify = false;
  FaultyLoader faulty(bundle, OnceAt(0, {FaultKind::kFlippedByte, 0}), options);
  Destination destination(bundle, 0, {0, 1});
  REQUIRE_OK(faulty.loader->Submit(0, destination.reads()));
  std::vector<uint32_t> arrived;
  std::vector<RecordFailure> failed;
  REQUIRE_OK(faulty.loader->Next(0, 1, &arrived, &failed));
  CHECK(failed.empty());
  CHECK(arrived == std::vector<uint32_t>{0, 1});
  CHECK(faulty.loader->stats().verifying_ns == 0);
}

TEST_CASE("the error of a read names the neurons that it was for", "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 15);
  const uint32_t last = bundle.layout(0).num_records - 1;
  REQUIRE(bundle.layout(0).neurons_per_record == 4);
  FaultyLoader faulty(bundle, OnceAt(0, {FaultKind::kErrno, ENXIO}), {});
  Destination destination(bundle, 0, {last - 1, last});
  const absl::Status status = destination.LoadAll(*faulty.loader);
  // 78 neurons, four to a record: the last record has two.
  CHECK_THAT(std::string(status.message()), Contains("layer 0, neurons 72 to 77: "));
  CHECK(faulty.loader->stats().records == 0);
}

TEST_CASE("the error of a read across a gap names the neurons from first to last",
          "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 20);
  BundleLoader::Options options;
  options.curve = testing::SlowRequests();
  FaultyLoader faulty(bundle, OnceAt(0, {FaultKind::kErrno, ENXIO}), options);
  Destination destination(bundle, 0, {3, 6, 8});
  const absl::Status status = destination.LoadAll(*faulty.loader);
  CHECK_THAT(std::string(status.message()), Contains("layer 0, neurons 12 to 35: "));
  RequireRecovered(faulty, destination);
}

TEST_CASE("a device that is gone is an error, and the loader can go", "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 16);
  for (int k = 0; k < kNumReads; ++k) {
    FaultPlan plan;
    plan.script.push_back({static_cast<uint64_t>(k), true, {FaultKind::kErrno, EIO}});
    FaultyLoader faulty(bundle, plan, SmallExtents());
    Destination destination(bundle, 0, kRecords, kSlots);
    for (int attempt = 0; attempt < 2; ++attempt) {
      CHECK(absl::IsUnavailable(destination.LoadAll(*faulty.loader)));
      CHECK(faulty.loader->pending() == 0);
      CHECK(faulty.engine->in_flight() == 0);
    }
    CHECK(faulty.counts->reads_seen < 60);
  }
}

TEST_CASE("a file that was cut short is data loss", "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 17);
  FaultPlan plan;
  plan.file_bytes = bundle.layout(0).record_offset(9) + 100;
  FaultyLoader faulty(bundle, plan, SmallExtents());
  Destination destination(bundle, 0, kRecords, kSlots);
  CHECK(absl::IsDataLoss(destination.LoadAll(*faulty.loader)));
  CHECK(faulty.loader->pending() == 0);
  Destination before_the_cut(bundle, 0, FirstRecords(9));
  REQUIRE_OK(before_the_cut.LoadAll(*faulty.loader));
}

// Fails the k-th call of Submit() or Reap() itself.
void FailEachCall(const TestBundle& bundle, uint64_t FaultPlan::*failing_call) {
  int num_failures = 0;
  for (uint64_t k = 0; k < 1000; ++k) {
    INFO("failing call " << k);
    FaultPlan plan;
    plan.*failing_call = k;
    FaultyLoader faulty(bundle, plan, SmallExtents());
    Destination destination(bundle, 0, kRecords, kSlots);
    const absl::Status status = destination.LoadAll(*faulty.loader);
    if (faulty.counts->faults == 0) {
      REQUIRE_OK(status);
      CHECK(num_failures >= 2);
      return;
    }
    ++num_failures;
    REQUIRE(absl::IsUnavailable(status));
    REQUIRE_THAT(std::string(status.message()), Contains("layer 0: "));
    RequireRecovered(faulty, destination);
  }
  FAIL("each run met a fault");
}

TEST_CASE("the engine itself fails", "[loader][fault]") {
  const TestBundle bundle(SmallLayouts(), 18);
  FailEachCall(bundle, &FaultPlan::failing_submit);
  FailEachCall(bundle, &FaultPlan::failing_reap);
}

TEST_CASE("late and reordered completions with random faults never give wrong bytes",
          "[loader][fault]") {
  const uint64_t first_seed = testing::Seed() * 1000;
  const TestBundle bundle(SmallLayouts(), 19);
  int num_failures = 0;
  int num_tokens = 0;
  for (uint64_t seed = first_seed; seed < first_seed + 20; ++seed) {
    INFO("seed " << seed);
    FaultPlan plan;
    plan.seed = seed;
    plan.reorder = true;
    plan.random_one_in = 12;
    plan.random_faults = {{FaultKind::kLate, 0},         {FaultKind::kShortAligned, 0},
                          {FaultKind::kShortOdd, 0},     {FaultKind::kErrno, EINTR},
                          {FaultKind::kFlippedByte, 0},  {FaultKind::kWrongOffset, 0},
                          {FaultKind::kErrno, ENXIO},    {FaultKind::kZero, 0}};
    BundleLoader::Options options = SmallExtents();
    if (seed % 2 == 0) {
      options.max_extent_bytes = 4 * 4096;
      options.curve = testing::SlowRequests();
    }
    FaultyLoader faulty(bundle, plan, options);
    Destination destination(bundle, 0, kRecords, kSlots);
    for (int token = 0; token < 30; ++token, ++num_tokens) {
      const absl::Status status = destination.LoadAll(*faulty.loader);
      if (status.ok()) continue;
      ++num_failures;
      REQUIRE(faulty.loader->pending() == 0);
      REQUIRE(faulty.engine->in_flight() == 0);
    }
  }
  CHECK(num_failures > 20);
  CHECK(num_failures < num_tokens);
}

}  // namespace
}  // namespace sluice
