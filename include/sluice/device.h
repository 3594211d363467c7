// What reads cost on a storage device. A model opens with a generic curve; with one measured on
// the device that its file lies on, reads are planned for that device.
#ifndef SLUICE_DEVICE_H_
#define SLUICE_DEVICE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sluice/options.h"

namespace sluice {

struct DevicePoint {
  uint64_t read_bytes = 0;
  uint32_t queue_depth = 0;  // reads in flight, always as many
  double gb_per_s = 0;       // 1e9 bytes
  double us_per_read = 0;    // elapsed time over reads, not latency
};

struct MeasureDeviceOptions {
  // For all points together; slow devices take longer. 0: 4.
  double seconds = 0;
  // Of the file that is made where the path is a folder. 0: 512 MiB.
  uint64_t temporary_bytes = 0;
  Engine engine = Engine::kAuto;
  // The share done; false stops with kCancelled.
  std::function<bool(double done)> on_progress;
};

struct DeviceReport {
  std::vector<DevicePoint> curve;  // by depth, then size
  DevicePoint best;                // of the largest throughput
  uint64_t file_bytes = 0;         // of the file that was read
  double seconds = 0;
  std::string engine;              // "uring", "pread"
};

// Reads the file `path` at random places with O_DIRECT; where `path` is a folder, a temporary file
// there that is removed again. kFailedPrecondition: storage refuses O_DIRECT or is memory (tmpfs),
// and figures of memory would be worthless. kInvalidArgument: the file is too small or has holes.
// kResourceExhausted: no room for the temporary file. Takes 64 MiB of memory; blocks.
absl::StatusOr<DeviceReport> MeasureDevice(const std::string& path,
                                           const MeasureDeviceOptions& options);

// As {"curve":[{"read_bytes","queue_depth","gb_per_s","us_per_read"},...]}, for
// ModelOptions::device_curve_path. The file appears complete or not at all.
absl::Status SaveDeviceCurve(const std::vector<DevicePoint>& curve, const std::string& path);
// kInvalidArgument: not such a file, or figures that cannot be.
absl::StatusOr<std::vector<DevicePoint>> LoadDeviceCurve(const std::string& path);

}  // namespace sluice

#endif  // SLUICE_DEVICE_H_
