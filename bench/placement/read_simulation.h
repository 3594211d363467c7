// Which reads a text's tokens would make: the real neuron window and read planner, no storage.
#ifndef SLUICE_BENCH_PLACEMENT_READ_SIMULATION_H_
#define SLUICE_BENCH_PLACEMENT_READ_SIMULATION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "bench/placement/predicted_sets.h"
#include "lib/cache/neuron_window.h"
#include "lib/loader/read_planner.h"

namespace sluice::bench {

// Sums over tokens.
struct Reads {
  uint64_t missing = 0;         // records
  uint64_t runs = 0;            // of adjacent missing records
  uint64_t reads = 0;           // requests: runs joined over gaps, or cut where they are too long
  uint64_t records_read = 0;    // gaps included
  uint64_t needed_bytes = 0;    // missing records
  uint64_t read_bytes = 0;
  // No order of these records has fewer runs of the same missing sets than this.
  double least_runs = 0;

  void Add(const Reads& other);
};

// One layer. Feed it the records of one token after another.
class LayerReads {
 public:
  LayerReads(uint32_t num_records, uint64_t record_bytes, uint32_t num_slots,
             const DeviceCurve& curve);

  // As FfnStep does: in batches where the token needs more records than there are slots.
  void Token(absl::Span<const uint32_t> records);
  const NeuronWindow& window() const { return window_; }
  // By token, what was missing.
  const Sets& missing() const { return missing_; }
  Reads Finish() const;

 private:
  void Plan(absl::Span<const uint32_t> records);

  NeuronWindow window_;
  const ReadCosts costs_;
  const uint64_t record_bytes_;
  Sets missing_;
  std::vector<SlotFill> fills_;
  std::vector<uint32_t> batch_missing_;
  std::vector<Extent> extents_;
  Reads sums_;
};

// Neurons of `sets` (as they lie in the file) to records of so many.
Sets ToRecords(const Sets& sets, uint32_t neurons_per_record);
// The same sets when place p of the file holds what is `order[p]` now.
Sets Reordered(const Sets& sets, absl::Span<const uint32_t> order);

// A bound from below on runs, whatever the order: every record can lie beside two others only.
double LeastRuns(const Sets& missing, uint32_t num_records);

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_PLACEMENT_READ_SIMULATION_H_
