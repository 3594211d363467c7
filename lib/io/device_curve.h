// What reads cost on a storage device: throughput and time per request by read size and queue
// depth. The read planner asks it whether fewer, larger reads pay.
#ifndef SLUICE_LIB_IO_DEVICE_CURVE_H_
#define SLUICE_LIB_IO_DEVICE_CURVE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

struct CurvePoint {
  uint64_t read_bytes = 0;
  uint32_t queue_depth = 0;  // reads in flight, always as many
  double gb_per_s = 0;       // 1e9 bytes
  double us_per_read = 0;    // elapsed time over reads, not latency: read_bytes over throughput
};

// Copyable. Threads: const methods may overlap.
class DeviceCurve {
 public:
  static constexpr size_t kMaxPoints = 1024;
  static constexpr uint64_t kMaxFileBytes = 1 << 20;

  // A device in the middle of what is sold: for files that are planned without a measurement.
  static DeviceCurve Generic();

  // kInvalidArgument, beginning with `what`: no points or more than kMaxPoints, a size or depth
  // out of range or there twice, a figure that is not positive and finite, a time per read that
  // does not fit the throughput (beyond rounding).
  static absl::StatusOr<DeviceCurve> FromPoints(std::vector<CurvePoint> points,
                                                absl::string_view what);
  // {"curve":[{"read_bytes","queue_depth","gb_per_s","us_per_read"},...]}; other keys are ignored.
  // As FromPoints(), and for text that is not such JSON.
  static absl::StatusOr<DeviceCurve> FromJson(absl::string_view text, absl::string_view what);
  static absl::StatusOr<DeviceCurve> Load(const std::string& path);

  std::string ToJson() const;
  // The file appears complete or not at all.
  absl::Status Save(const std::string& path) const;

  // By depth, then size.
  const std::vector<CurvePoint>& points() const { return points_; }
  // The point of the largest throughput.
  const CurvePoint& Best() const;

  // Microseconds that one more read of this size costs when the queue is full (at the deepest
  // queue of the curve). Never falls as reads grow; per byte never rises: measured points that
  // say otherwise are taken for noise. So joining reads whose bytes touch never costs more.
  // Between sizes linear, below the smallest as that, above the largest in proportion.
  double CostUs(uint64_t read_bytes) const;

 private:
  struct Cost {
    double bytes;
    double us;
  };

  explicit DeviceCurve(std::vector<CurvePoint> points);

  std::vector<CurvePoint> points_;
  std::vector<Cost> costs_;  // at the deepest queue, by size
};

}  // namespace sluice

#endif  // SLUICE_LIB_IO_DEVICE_CURVE_H_
