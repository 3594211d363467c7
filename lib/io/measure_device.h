// Measures the device curve of the storage under a path.
#ifndef SLUICE_LIB_IO_MEASURE_DEVICE_H_
#define SLUICE_LIB_IO_MEASURE_DEVICE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/io/device_curve.h"
#include "lib/io/io_engine.h"

namespace sluice {

struct MeasureDeviceSettings {
  // A file smaller than this fits the caches of the devices themselves.
  static constexpr uint64_t kMinFileBytes = 64 << 20;

  std::vector<uint64_t> read_bytes = {4 << 10,  8 << 10,   16 << 10,  32 << 10, 64 << 10,
                                      128 << 10, 256 << 10, 512 << 10, 1 << 20};
  std::vector<uint32_t> queue_depths = {1, 4, 16, 64};
  double seconds = 4;                      // for all points together; slow devices take longer
  uint64_t temporary_bytes = 512 << 20;    // of the file made where the path is a folder
  EngineChoice engine = EngineChoice::kAuto;
  std::function<bool(double done)> on_progress;  // false stops with kCancelled
};

struct MeasuredDevice {
  DeviceCurve curve;
  IoCapabilities capabilities;  // of the engine that read
  uint64_t file_bytes = 0;      // of the file that was read
};

// Random aligned reads of the file `path`; of a temporary one, which is removed again, where
// `path` is a folder. Only with O_DIRECT, so that no figure is that of the page cache:
// kFailedPrecondition where storage refuses it, or is memory (tmpfs). kInvalidArgument: a file
// that is smaller than kMinFileBytes or has holes, which no device is asked for.
// kResourceExhausted: no room for the temporary file (with need and free). Takes queue depth x
// read size of memory, at the largest. Blocks for some `seconds`. Each point is visited several
// times, at some distance; its figure is the median.
absl::StatusOr<MeasuredDevice> MeasureDeviceCurve(const std::string& path,
                                                  const MeasureDeviceSettings& settings);

}  // namespace sluice

#endif  // SLUICE_LIB_IO_MEASURE_DEVICE_H_
