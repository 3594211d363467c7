// A small bundle file, an engine that serves its bytes from memory, and a check that what a
// loader delivers is what lies in the file.
#ifndef SLUICE_TESTS_UNIT_LOADER_LOADER_RIG_H_
#define SLUICE_TESTS_UNIT_LOADER_LOADER_RIG_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/aligned_buffer.h"
#include "lib/format/bundle_file.h"
#include "lib/loader/bundle_loader.h"
#include "tests/support/catch.h"
#include "tests/support/fault_engine.h"
#include "tests/support/memory_engine.h"

namespace sluice::testing {

// A file whose layers are laid out as `layouts` say, full of random bytes.
class TestBundle {
 public:
  TestBundle(const std::vector<RecordLayout>& layouts, uint64_t seed);

  const std::shared_ptr<BundleFile>& file() const { return file_; }
  const std::shared_ptr<const std::string>& content() const { return content_; }
  const RecordLayout& layout(uint32_t layer) const { return file_->layers()[layer]; }

  std::unique_ptr<MemoryEngine> Engine(size_t queue_depth = 4, size_t alignment = 4096) const;
  std::unique_ptr<FaultEngine> FaultyEngine(FaultPlan plan, size_t queue_depth = 4) const;

 private:
  TempDir dir_;
  std::shared_ptr<BundleFile> file_;
  std::shared_ptr<const std::string> content_;
};

// Two layers of 4 KiB records (four neurons each, the last record not full) and one of 8 KiB.
std::vector<RecordLayout> SmallLayouts();

// The memory of some records of one layer, and what has been delivered into it.
class Destination {
 public:
  // Record i of `records` goes to slot slots[i]; there are as many slots as records.
  Destination(const TestBundle& bundle, uint32_t layer, std::vector<uint32_t> records,
              std::vector<uint32_t> slots);
  // Records in consecutive slots.
  Destination(const TestBundle& bundle, uint32_t layer, std::vector<uint32_t> records);

  const std::vector<RecordRead>& reads() const { return reads_; }

  // Submits everything and takes delivery; each record once, with the bytes of the file.
  absl::Status LoadAll(BundleLoader& loader);
  // One call of Next(), whose records are checked. The first failure of a record is returned,
  // everything cancelled.
  absl::Status LoadNext(BundleLoader& loader);
  size_t num_arrived() const { return num_arrived_; }

 private:
  uint32_t PositionOf(uint32_t record) const;

  const TestBundle& bundle_;
  uint32_t layer_;
  AlignedBuffer memory_;
  std::vector<RecordRead> reads_;
  std::vector<bool> arrived_;
  size_t num_arrived_ = 0;
};

// A device where a request costs far more than the bytes of any gap.
std::shared_ptr<const DeviceCurve> SlowRequests();

// 0, 1, ..., count - 1.
std::vector<uint32_t> FirstRecords(uint32_t count);

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_LOADER_LOADER_RIG_H_
