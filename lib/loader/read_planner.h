// Turns records into extents. Pure: no I/O.
#ifndef SLUICE_LIB_LOADER_READ_PLANNER_H_
#define SLUICE_LIB_LOADER_READ_PLANNER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lib/io/io_engine.h"

namespace sluice {

// A run of adjacent records, [first, first + count) of the list given to PlanExtents().
struct Extent {
  uint32_t first = 0;
  uint32_t count = 0;
};

// Joins adjacent records, at most `max_extent_bytes` (at least one record) and
// IoEngine::kMaxSegments of them to an extent.
//   records  strictly ascending
//   extents  out, cleared first; no allocation once it has capacity records.size()
void PlanExtents(absl::Span<const uint32_t> records, uint64_t record_bytes,
                 uint64_t max_extent_bytes, std::vector<Extent>* extents);

}  // namespace sluice

#endif  // SLUICE_LIB_LOADER_READ_PLANNER_H_
