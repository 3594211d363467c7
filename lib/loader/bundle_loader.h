// Requests in, filled slots out: turns the missing records of a layer into reads straight into
// their slots and checks what arrives.
#ifndef SLUICE_LIB_LOADER_BUNDLE_LOADER_H_
#define SLUICE_LIB_LOADER_BUNDLE_LOADER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "lib/base/thread_pool.h"
#include "lib/format/bundle_file.h"
#include "lib/io/batch_reader.h"
#include "lib/io/device_curve.h"
#include "lib/io/io_engine.h"
#include "lib/loader/layer_reads.h"

namespace sluice {

struct LoaderStats {
  uint64_t records = 0;      // delivered
  uint64_t reads = 0;        // requests to the engine
  uint64_t bytes = 0;        // asked of storage, gaps included
  uint64_t gap_bytes = 0;    // of those, read only because it was cheaper than another request
  int64_t planning_ns = 0;   // sorting, joining
  int64_t starting_ns = 0;   // handing reads to the engine, in Submit() and Poll()
  int64_t waiting_ns = 0;    // the caller waited for storage in Next()
  int64_t verifying_ns = 0;  // checksums
  int64_t busy_ns = 0;       // at least one read was in flight
};

// A record that could not be had: the error of its read, or kDataLoss naming path, layer, neurons,
// offset, expected and found checksum.
struct RecordFailure {
  uint32_t record = 0;
  absl::Status status;
};

// Reads for up to two layers at a time: the one that is computed, and the one that comes next and
// is read ahead. They are served in the order in which they were asked for. Owned by one session.
// Threads: one at a time.
class BundleLoader {
 public:
  struct Options {
    bool verify = true;                        // checksum of every record that is read
    uint64_t max_extent_bytes = 256 << 10;     // a longer run of records is split
    bool join = true;                          // adjacent records become one read
    // Up row and the rest of each record are read apart, as they would lie without bundling: for
    // measurements. Only where check `CanSplitBundles()`.
    bool split_bundles = false;
    // What reads cost on this storage: tells which gaps between records are read through. Corrected
    // by the reads that are made. nullptr: none.
    std::shared_ptr<const DeviceCurve> curve;
    ThreadPool* pool = nullptr;                // verifies with its threads; nullptr: with none
  };

  // `file` gives layout and checksums, `engine` reads that same file.
  BundleLoader(std::shared_ptr<const BundleFile> file, std::unique_ptr<IoEngine> engine,
               Options options);
  ~BundleLoader();  // cancels

  // Starts reading, behind what was submitted before. `reads` ascending by record. Adjacent records
  // become one extent, and so do those with a gap between them that is cheaper to read than
  // another request: a plain read where destinations are adjacent too, a vectored one otherwise.
  // May be called again for a layer that has reads pending, and for one other layer; a third, or
  // more records than the layer has: kFailedPrecondition. A record outside the layer:
  // kOutOfRange. When the engine fails, nothing of any layer is pending and no memory is in use.
  absl::Status Submit(uint32_t layer, absl::Span<const RecordRead> reads);

  // Appends records of the layer that have arrived and passed their checksum, and those that have
  // not; waits for `least` of them (at least one; all that are pending, where those are fewer). The
  // returned Status is about the engine itself: nothing of any layer is pending then.
  absl::Status Next(uint32_t layer, size_t least, std::vector<uint32_t>* arrived,
                    std::vector<RecordFailure>* failed);

  // Takes note of what has arrived and starts what is queued, without waiting: between pieces of
  // computing. What goes wrong is reported by the next call of the others.
  void Poll();

  // What a loader for layers of up to `max_records` records allocates, for the memory plan.
  static uint64_t BytesFor(uint32_t max_records);
  // Whether the halves of a record can be read apart: one neuron to a record, aligned halves.
  static bool CanSplitBundles(const RecordLayout& layout);

  // Records not yet delivered, of one layer and of all.
  size_t pending(uint32_t layer) const;
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
