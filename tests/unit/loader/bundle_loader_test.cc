#include "lib/loader/bundle_loader.h"

#include <algorithm>
#include <random>
#include <utility>

#include "tests/support/catch.h"
#include "tests/unit/loader/loader_rig.h"

namespace sluice {
namespace {

using testing::Destination;
using testing::FirstRecords;
using testing::SmallLayouts;
using testing::TestBundle;

// Notes the shape of the reads that pass through it.
class NotingEngine : public IoEngine {
 public:
  struct Note {
    uint64_t offset;
    uint64_t bytes;
    size_t num_segments;
  };
  NotingEngine(std::unique_ptr<IoEngine> inner, std::vector<Note>* notes)
      : inner_(std::move(inner)), notes_(notes) {}
  const IoCapabilities& capabilities() const override { return inner_->capabilities(); }
  size_t queue_depth() const override { return inner_->queue_depth(); }
  size_t in_flight() const override { return inner_->in_flight(); }
  absl::Status Submit(absl::Span<const IoRead> reads) override {
    for (const IoRead& read : reads) {
      uint64_t bytes = 0;
      for (const IoSegment& segment : read.segments) bytes += segment.bytes;
      notes_->push_back({read.offset, bytes, read.segments.size()});
    }
    return inner_->Submit(reads);
  }
  absl::Status Reap(size_t min_complete, std::chrono::milliseconds timeout,
                    std::vector<IoCompletion>* out) override {
    return inner_->Reap(min_complete, timeout, out);
  }

 private:
  std::unique_ptr<IoEngine> inner_;
  std::vector<Note>* notes_;
};

std::vector<RecordLayout> RandomLayouts(std::mt19937_64& rng) {
  std::vector<RecordLayout> layouts;
  const size_t num_layers = 1 + rng() % 3;
  while (layouts.size() < num_layers) {
    const auto num_neurons = static_cast<uint32_t>(1 + rng() % 300);
    const auto row_elements = static_cast<uint32_t>(8 + rng() % 1200);
    const auto rows = static_cast<uint32_t>(2 + rng() % 2);
    auto layout = MakeRecordLayout(num_neurons, row_elements, rows,
                                   static_cast<ElementType>(rng() % 3));
    REQUIRE_OK(layout);
    layouts.push_back(*layout);
  }
  return layouts;
}

TEST_CASE("any records of any layout come as they lie in the file", "[loader]") {
  const uint64_t seed = testing::Seed();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 25; ++round) {
    const TestBundle bundle(RandomLayouts(rng), rng());
    BundleLoader::Options options;
    options.max_extent_bytes = 4096u << rng() % 9;
    if (rng() % 2 == 0) options.curve = testing::SlowRequests();
    BundleLoader loader(bundle.file(), bundle.Engine(1 + rng() % 8, 4096), options);
    for (int token = 0; token < 12; ++token) {
      const auto layer = static_cast<uint32_t>(rng() % bundle.file()->layers().size());
      const uint64_t tenths = rng() % 11;
      std::vector<uint32_t> records;
      for (uint32_t r = 0; r < bundle.layout(layer).num_records; ++r) {
        if (rng() % 10 < tenths) records.push_back(r);
      }
      std::vector<uint32_t> slots = FirstRecords(static_cast<uint32_t>(records.size()));
      if (rng() % 2 == 0) std::shuffle(slots.begin(), slots.end(), rng);
      Destination destination(bundle, layer, records, slots);
      REQUIRE_OK(destination.LoadAll(loader));
    }
  }
}

TEST_CASE("adjacent records are one read, vectored only where it must be", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 1);
  std::vector<NotingEngine::Note> notes;
  BundleLoader loader(bundle.file(), std::make_unique<NotingEngine>(bundle.Engine(), &notes), {});
  const RecordLayout& layout = bundle.layout(0);

  Destination plain(bundle, 0, {3, 4, 5, 9});
  REQUIRE_OK(plain.LoadAll(loader));
  REQUIRE(notes.size() == 2);
  CHECK(notes[0].offset == layout.record_offset(3));
  CHECK(notes[0].bytes == 3 * layout.record_bytes);
  CHECK(notes[0].num_segments == 1);
  CHECK(notes[1].offset == layout.record_offset(9));
  CHECK(notes[1].num_segments == 1);

  notes.clear();
  Destination vectored(bundle, 0, {3, 4, 5, 6}, {2, 3, 1, 0});
  REQUIRE_OK(vectored.LoadAll(loader));
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].bytes == 4 * layout.record_bytes);
  CHECK(notes[0].num_segments == 3);
}

TEST_CASE("a gap is read into the sink, between slots", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 7);
  std::vector<NotingEngine::Note> notes;
  BundleLoader::Options options;
  options.curve = testing::SlowRequests();
  BundleLoader loader(bundle.file(), std::make_unique<NotingEngine>(bundle.Engine(), &notes),
                      options);
  const RecordLayout& layout = bundle.layout(0);
  Destination destination(bundle, 0, {3, 4, 6, 9});
  REQUIRE_OK(destination.LoadAll(loader));
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].offset == layout.record_offset(3));
  CHECK(notes[0].bytes == 7 * layout.record_bytes);
  CHECK(notes[0].num_segments == 5);
  CHECK(loader.stats().records == 4);
  CHECK(loader.stats().reads == 1);
  CHECK(loader.stats().bytes == 7 * layout.record_bytes);
  CHECK(loader.stats().gap_bytes == 3 * layout.record_bytes);
  // The other size of record.
  Destination larger(bundle, 2, {0, 2});
  REQUIRE_OK(larger.LoadAll(loader));
  CHECK(loader.stats().reads == 2);
  CHECK(loader.stats().gap_bytes == 3 * layout.record_bytes + bundle.layout(2).record_bytes);
}

TEST_CASE("a long run is split, and adjacent reads do not share a segment", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 2);
  std::vector<NotingEngine::Note> notes;
  BundleLoader::Options options;
  options.max_extent_bytes = 4 * bundle.layout(0).record_bytes;
  BundleLoader loader(bundle.file(), std::make_unique<NotingEngine>(bundle.Engine(), &notes),
                      options);
  Destination destination(bundle, 0, FirstRecords(10));
  REQUIRE_OK(destination.LoadAll(loader));
  REQUIRE(notes.size() == 3);
  for (const NotingEngine::Note& note : notes) CHECK(note.num_segments == 1);
  CHECK(notes[2].bytes == 2 * bundle.layout(0).record_bytes);
}

TEST_CASE("what cannot be read is refused and nothing is pending", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 3);
  BundleLoader loader(bundle.file(), bundle.Engine(), {});
  Destination good(bundle, 0, {0, 1, 2});
  std::vector<uint32_t> arrived;
  std::byte* memory = good.reads()[0].destination;
  using Reads = std::vector<RecordRead>;

  CHECK(absl::IsOutOfRange(loader.Submit(3, good.reads())));
  CHECK(absl::IsOutOfRange(loader.Submit(0, Reads{{bundle.layout(0).num_records, memory}})));
  CHECK(absl::IsInvalidArgument(loader.Submit(0, Reads{{2, memory}, {1, memory}})));
  CHECK(absl::IsInvalidArgument(loader.Submit(0, Reads{{2, memory}, {2, memory}})));
  CHECK(absl::IsInvalidArgument(loader.Submit(0, Reads{{2, nullptr}})));
  CHECK(loader.pending() == 0);
  REQUIRE_OK(loader.Submit(0, {}));
  CHECK(loader.pending() == 0);
  std::vector<RecordFailure> failed;
  REQUIRE_OK(loader.Next(0, 1, &arrived, &failed));
  CHECK(arrived.empty());
  CHECK(failed.empty());

  REQUIRE_OK(loader.Submit(0, good.reads()));
  Destination ahead(bundle, 1, {2, 3});
  REQUIRE_OK(loader.Submit(1, ahead.reads()));
  CHECK(absl::IsFailedPrecondition(loader.Submit(2, Reads{{0, memory}})));
  CHECK(loader.pending() == 5);
  CHECK(loader.pending(0) == 3);
  REQUIRE_OK(ahead.LoadNext(loader));
  CHECK(loader.pending(1) == 0);
  REQUIRE_OK(good.LoadNext(loader));
  CHECK(loader.pending() == 0);
  CHECK(good.num_arrived() == 3);
}

TEST_CASE("a layer may be asked for more while its reads fly, behind another layer's", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 8);
  BundleLoader loader(bundle.file(), bundle.Engine(2), {});
  Destination ahead(bundle, 1, {0, 3, 5});
  Destination demand(bundle, 1, {1, 4});
  Destination current(bundle, 0, FirstRecords(9));
  REQUIRE_OK(loader.Submit(1, ahead.reads()));
  REQUIRE_OK(loader.Submit(0, current.reads()));
  while (loader.pending(0) > 0) REQUIRE_OK(current.LoadNext(loader));
  REQUIRE_OK(loader.Submit(1, demand.reads()));
  loader.Poll();
  CHECK(loader.pending(1) == 5);
  std::vector<uint32_t> arrived;
  std::vector<RecordFailure> failed;
  REQUIRE_OK(loader.Next(1, 4, &arrived, &failed));
  CHECK(arrived.size() >= 4);
  while (loader.pending() > 0) REQUIRE_OK(loader.Next(1, SIZE_MAX, &arrived, &failed));
  std::sort(arrived.begin(), arrived.end());
  CHECK(arrived == std::vector<uint32_t>{0, 1, 3, 4, 5});
  CHECK(failed.empty());
}

TEST_CASE("bundles can be read in halves", "[loader]") {
  auto layout = MakeRecordLayout(20, 2048, 2, ElementType::kF16);
  REQUIRE_OK(layout);
  REQUIRE(BundleLoader::CanSplitBundles(*layout));
  const TestBundle bundle({*layout}, 9);
  CHECK(!BundleLoader::CanSplitBundles(SmallLayouts()[0]));
  std::vector<NotingEngine::Note> notes;
  BundleLoader::Options options;
  options.split_bundles = true;
  BundleLoader loader(bundle.file(), std::make_unique<NotingEngine>(bundle.Engine(), &notes),
                      options);
  Destination destination(bundle, 0, {3, 4, 9}, {2, 0, 1});
  REQUIRE_OK(destination.LoadAll(loader));
  REQUIRE(notes.size() == 6);
  for (const NotingEngine::Note& note : notes) CHECK(note.bytes == 4096);
}

TEST_CASE("without joining each record is a read", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 10);
  std::vector<NotingEngine::Note> notes;
  BundleLoader::Options options;
  options.join = false;
  options.curve = testing::SlowRequests();
  BundleLoader loader(bundle.file(), std::make_unique<NotingEngine>(bundle.Engine(), &notes),
                      options);
  Destination destination(bundle, 0, {3, 4, 5, 7});
  REQUIRE_OK(destination.LoadAll(loader));
  CHECK(notes.size() == 4);
}

TEST_CASE("statistics count what was asked and what came", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 4);
  BundleLoader loader(bundle.file(), bundle.Engine(), {});
  CHECK(loader.capabilities().engine == "memory");
  Destination destination(bundle, 2, {0, 1, 4, 6});
  REQUIRE_OK(destination.LoadAll(loader));
  const LoaderStats& stats = loader.stats();
  CHECK(stats.records == 4);
  CHECK(stats.reads == 3);
  CHECK(stats.bytes == 4 * bundle.layout(2).record_bytes);
  CHECK(stats.gap_bytes == 0);
  CHECK(stats.planning_ns > 0);
  CHECK(stats.waiting_ns > 0);
  CHECK(stats.verifying_ns > 0);
  CHECK(stats.busy_ns > 0);
  loader.ResetStats();
  CHECK(loader.stats().records == 0);
  CHECK(loader.stats().bytes == 0);
  CHECK(loader.stats().busy_ns == 0);
}

TEST_CASE("Cancel stops reads in flight and leaves the loader usable", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 5);
  std::unique_ptr<IoEngine> engine = bundle.Engine(2);
  const IoEngine* in_use = engine.get();
  BundleLoader::Options options;
  options.max_extent_bytes = 1;
  BundleLoader loader(bundle.file(), std::move(engine), options);
  for (const bool after_some : {false, true}) {
    {
      Destination dropped(bundle, 0, FirstRecords(12));
      REQUIRE_OK(loader.Submit(0, dropped.reads()));
      if (after_some) REQUIRE_OK(dropped.LoadNext(loader));
      REQUIRE(in_use->in_flight() > 0);
      loader.Cancel();
      CHECK(loader.pending() == 0);
      CHECK(in_use->in_flight() == 0);
    }
    Destination destination(bundle, 1, FirstRecords(8));
    REQUIRE_OK(destination.LoadAll(loader));
  }
}

TEST_CASE("a loader that goes waits for its reads", "[loader]") {
  const TestBundle bundle(SmallLayouts(), 6);
  Destination destination(bundle, 0, FirstRecords(12));
  BundleLoader loader(bundle.file(), bundle.Engine(2), {});
  REQUIRE_OK(loader.Submit(0, destination.reads()));
}

}  // namespace
}  // namespace sluice
