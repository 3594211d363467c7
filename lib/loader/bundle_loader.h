// Requests in, filled slots out: turns the missing records of a layer into reads straight into
// their slots and checks what arrives.
#ifndef SLUICE_LIB_LOADER_BUNDLE_LOADER_H_
#define SLUICE_LIB_LOADER_BUNDLE_LOADER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "lib/format/bundle_file.h"
#include "lib/io/batch_reader.h"
#include "lib/io/device_curve.h"
#include "lib/io/io_engine.h"

namespace sluice {

// A record of a layer and the memory (record_bytes long, aligned) that it is to fill.
struct RecordRead {
  uint32_t record = 0;
  std::byte* destination = nullptr;
};

struct LoaderStats {
  uint64_t records = 0;      // delivered
  uint64_t reads = 0;        // requests to the engine
  uint64_t bytes = 0;        // asked of storage, gaps included
  uint64_t gap_bytes = 0;    // of those, read only because it was cheaper than another request
  int64_t planning_ns = 0;   // sorting, joining, starting
  int64_t waiting_ns = 0;    // the caller waited for storage in Next()
  int64_t verifying_ns = 0;  // checksums
  int64_t busy_ns = 0;       // at least one read was in flight
};

// Owned by one session. Threads: one at a time.
class BundleLoader {
 public:
  struct Options {
    bool verify = true;                        // checksum of every record that is read
    uint64_t max_extent_bytes = 256 << 10;     // a longer run of records is split
    // What reads cost on this storage: tells which gaps between records are read through.
    // nullptr: none.
    std::shared_ptr<const DeviceCurve> curve;
  };

  // `file` gives layout and checksums, `engine` reads that same file.
  BundleLoader(std::shared_ptr<const BundleFile> file, std::unique_ptr<IoEngine> engine,
               Options options);
  ~BundleLoader();  // cancels

  // Starts reading. `reads` ascending by record. Adjacent records become one extent, and so do
  // those with a gap between them that is cheaper to read than another request: a plain read
  // where destinations are adjacent too, a vectored one otherwise. Only when nothing is pending
  // (kFailedPrecondition otherwise). A record outside the layer: kOutOfRange.
  absl::Status Submit(uint32_t layer, absl::Span<const RecordRead> reads);

  // Appends positions (in `reads`) of records that have arrived and passed their checksum; waits
  // for at least one while any is pending. On the first failure returns it (kDataLoss naming
  // path, layer, neurons, offset, expected and found checksum; or the read's own error with layer
  // and neurons), having drained: nothing is pending then and no memory is in use.
  absl::Status Next(std::vector<uint32_t>* arrived);

  // What a loader for layers of up to `max_records` records allocates, for the memory plan.
  static uint64_t BytesFor(uint32_t max_records);

  // Records not yet delivered.
  size_t pending() const;

  // Stops and waits for the reads in flight; nothing is pending afterwards.
  void Cancel();

  const IoCapabilities& capabilities() const;
  const LoaderStats& stats() const;  // since construction or ResetStats()
  void ResetStats();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_LOADER_BUNDLE_LOADER_H_
