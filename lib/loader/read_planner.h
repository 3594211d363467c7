// Turns records into extents. Pure: no I/O.
#ifndef SLUICE_LIB_LOADER_READ_PLANNER_H_
#define SLUICE_LIB_LOADER_READ_PLANNER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lib/io/device_curve.h"
#include "lib/io/io_engine.h"

namespace sluice {

// One read: records [first, first + count) of the list that was planned, and what lies between
// them in the file.
struct Extent {
  uint32_t first = 0;
  uint32_t count = 0;
};

// Records of the file from the first to the last of an extent, those between included.
inline uint32_t SpanOf(const Extent& extent, absl::Span<const uint32_t> records) {
  return records[extent.first + extent.count - 1] - records[extent.first] + 1;
}

// The most records that an extent may span: `max_extent_bytes` (but at least one record) and
// IoEngine::kMaxSegments, since each record and each gap may be a segment of its own.
uint32_t MaxSpan(uint64_t record_bytes, uint64_t max_extent_bytes);

// Joins adjacent records, at most MaxSpan() of them to an extent.
//   records  strictly ascending
//   extents  out, cleared first; no allocation once it has capacity records.size()
void PlanExtents(absl::Span<const uint32_t> records, uint64_t record_bytes,
                 uint64_t max_extent_bytes, std::vector<Extent>* extents);

// The device curve in units of one layer's records.
class ReadCosts {
 public:
  // A larger gap is never read through; also what the sink of a loader needs at most.
  static constexpr uint64_t kMaxGapBytes = 128 << 10;

  ReadCosts(const DeviceCurve& curve, uint64_t record_bytes, uint64_t max_extent_bytes);

  uint64_t record_bytes() const { return record_bytes_; }
  // Microseconds of a read of 1..max_span() records.
  double us(uint32_t records) const { return us_[records]; }
  uint32_t max_span() const { return static_cast<uint32_t>(us_.size()) - 1; }
  // Records of the largest gap that it can ever pay to read through; 0: none.
  uint32_t max_gap() const { return max_gap_; }
  // Whether one read pays in place of two, of `left` and `right` records with `gap` between them,
  // together at most max_span().
  bool Pays(uint32_t left, uint32_t gap, uint32_t right) const;

 private:
  uint64_t record_bytes_;
  std::vector<double> us_;  // [0] is not used
  uint32_t max_gap_ = 0;
};

// A request must cost this many times what the bytes of a gap do. A curve is that of another hour,
// and devices that are throttled give bytes faster to a short measurement than for long.
inline constexpr double kGapMargin = 1.5;

// Bytes read over bytes needed stay within this for a request as a whole: bytes that nobody needs
// take memory bandwidth and other sessions' share of the device, which no curve shows...
inline constexpr double kMaxReadRatio = 1.15;
// ...except where one read saves at least this share of what the two apart would cost.
inline constexpr double kLargeGain = 0.4;

// Makes one extent of neighbours where reading through the gap between them costs less than
// another request (see kGapMargin), the smallest gaps first. Only `costs` that were made with the
// limits of `extents` fit. Returns the records in all gaps. O(extents x max_gap); no allocation.
uint64_t BridgeGaps(absl::Span<const uint32_t> records, const ReadCosts& costs,
                    std::vector<Extent>* extents);

}  // namespace sluice

#endif  // SLUICE_LIB_LOADER_READ_PLANNER_H_
