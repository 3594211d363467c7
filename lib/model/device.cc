#include "sluice/device.h"

#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/io/device_curve.h"
#include "lib/io/measure_device.h"
#include "lib/model/engine_choice.h"

namespace sluice {
namespace {

DevicePoint Public(const CurvePoint& point) {
  return {point.read_bytes, point.queue_depth, point.gb_per_s, point.us_per_read};
}

std::vector<DevicePoint> Public(const std::vector<CurvePoint>& points) {
  std::vector<DevicePoint> out;
  for (const CurvePoint& point : points) out.push_back(Public(point));
  return out;
}

}  // namespace

absl::StatusOr<DeviceReport> MeasureDevice(const std::string& path,
                                           const MeasureDeviceOptions& options) {
  MeasureDeviceSettings settings;
  if (options.seconds != 0) settings.seconds = options.seconds;
  if (options.temporary_bytes != 0) settings.temporary_bytes = options.temporary_bytes;
  settings.engine = ChoiceOf(options.engine);
  settings.on_progress = options.on_progress;
  const int64_t start = NowNs();
  try {
    SLUICE_ASSIGN_OR_RETURN(const MeasuredDevice measured, MeasureDeviceCurve(path, settings));
    DeviceReport report;
    report.curve = Public(measured.curve.points());
    report.best = Public(measured.curve.Best());
    report.file_bytes = measured.file_bytes;
    report.seconds = static_cast<double>(NowNs() - start) * 1e-9;
    report.engine = measured.capabilities.engine;
    return report;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(path, ": out of memory while measuring"));
  }
}

absl::Status SaveDeviceCurve(const std::vector<DevicePoint>& curve, const std::string& path) {
  std::vector<CurvePoint> points;
  for (const DevicePoint& point : curve) {
    points.push_back({point.read_bytes, point.queue_depth, point.gb_per_s, point.us_per_read});
  }
  SLUICE_ASSIGN_OR_RETURN(const DeviceCurve checked,
                          DeviceCurve::FromPoints(std::move(points), path));
  return checked.Save(path);
}

absl::StatusOr<std::vector<DevicePoint>> LoadDeviceCurve(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const DeviceCurve curve, DeviceCurve::Load(path));
  return Public(curve.points());
}

}  // namespace sluice
