#include "lib/io/device_curve.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "lib/base/json_guard.h"
#include "lib/base/status_macros.h"
#include "lib/io/file.h"

namespace sluice {
namespace {

constexpr uint64_t kMinReadBytes = 512;
constexpr uint64_t kMaxReadBytes = uint64_t{1} << 30;
constexpr uint32_t kMaxQueueDepth = 4096;
// No storage is slower or faster; beyond these a figure is in the wrong unit.
constexpr double kMinGbPerS = 1e-6;
constexpr double kMaxGbPerS = 1e4;
// Files are written by people too, with few digits.
constexpr double kRounding = 0.05;

// The generic device: an NVMe drive behind a laptop's or a virtual machine's controller.
constexpr double kGenericLatencyUs = 90;
constexpr double kGenericRequestUs = 6;
constexpr double kGenericBytesPerUs = 2000;

double Microseconds(uint64_t read_bytes, double gb_per_s) {
  return static_cast<double>(read_bytes) / (gb_per_s * 1e3);
}

absl::Status CheckPoint(const CurvePoint& point) {
  if (point.read_bytes < kMinReadBytes || point.read_bytes > kMaxReadBytes) {
    return absl::InvalidArgumentError(absl::StrCat("read_bytes is ", point.read_bytes,
                                                   ", expected ", kMinReadBytes, " to ",
                                                   kMaxReadBytes));
  }
  if (point.queue_depth < 1 || point.queue_depth > kMaxQueueDepth) {
    return absl::InvalidArgumentError(absl::StrCat("queue_depth is ", point.queue_depth,
                                                   ", expected 1 to ", kMaxQueueDepth));
  }
  // Written so that what is not a number fails too.
  if (!(point.gb_per_s >= kMinGbPerS && point.gb_per_s <= kMaxGbPerS)) {
    return absl::InvalidArgumentError(absl::StrCat("gb_per_s is ", point.gb_per_s,
                                                   ", expected ", kMinGbPerS, " to ",
                                                   kMaxGbPerS));
  }
  const double us = Microseconds(point.read_bytes, point.gb_per_s);
  if (!(std::abs(point.us_per_read - us) <= kRounding * us)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "us_per_read is ", point.us_per_read, ", but ", point.read_bytes, " bytes at ",
        point.gb_per_s, " GB/s take ", us));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> UnsignedAt(const nlohmann::json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_number_unsigned()) {
    return absl::InvalidArgumentError(absl::StrCat("no whole number ", name));
  }
  return it->get<uint64_t>();
}

absl::StatusOr<double> NumberAt(const nlohmann::json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_number()) {
    return absl::InvalidArgumentError(absl::StrCat("no number ", name));
  }
  return it->get<double>();
}

absl::StatusOr<CurvePoint> PointFromJson(const nlohmann::json& value) {
  if (!value.is_object()) return absl::InvalidArgumentError("not an object");
  CurvePoint point;
  SLUICE_ASSIGN_OR_RETURN(point.read_bytes, UnsignedAt(value, "read_bytes"));
  SLUICE_ASSIGN_OR_RETURN(const uint64_t depth, UnsignedAt(value, "queue_depth"));
  // As any other depth that is too large; narrowing would make a small one of it.
  point.queue_depth = static_cast<uint32_t>(std::min<uint64_t>(depth, UINT32_MAX));
  SLUICE_ASSIGN_OR_RETURN(point.gb_per_s, NumberAt(value, "gb_per_s"));
  SLUICE_ASSIGN_OR_RETURN(point.us_per_read, NumberAt(value, "us_per_read"));
  return point;
}

auto PlaceOf(const CurvePoint& point) { return std::tie(point.queue_depth, point.read_bytes); }

}  // namespace

// `points` are checked, sorted, and not empty.
DeviceCurve::DeviceCurve(std::vector<CurvePoint> points) : points_(std::move(points)) {
  const uint32_t deepest = points_.back().queue_depth;
  for (const CurvePoint& point : points_) {
    if (point.queue_depth != deepest) continue;
    Cost cost{static_cast<double>(point.read_bytes),
              Microseconds(point.read_bytes, point.gb_per_s)};
    if (!costs_.empty()) {
      const Cost& before = costs_.back();
      cost.us = std::clamp(cost.us, before.us, before.us * cost.bytes / before.bytes);
    }
    costs_.push_back(cost);
  }
}

DeviceCurve DeviceCurve::Generic() {
  std::vector<CurvePoint> points;
  for (uint32_t depth : {1, 4, 16, 64}) {
    for (uint64_t bytes = 4 << 10; bytes <= 1 << 20; bytes *= 2) {
      CurvePoint point{bytes, depth, 0, 0};
      point.us_per_read = std::max(kGenericRequestUs, kGenericLatencyUs / depth) +
                          static_cast<double>(bytes) / kGenericBytesPerUs;
      point.gb_per_s = static_cast<double>(bytes) / (point.us_per_read * 1e3);
      points.push_back(point);
    }
  }
  return DeviceCurve(std::move(points));
}

absl::StatusOr<DeviceCurve> DeviceCurve::FromPoints(std::vector<CurvePoint> points,
                                                    absl::string_view what) {
  if (points.empty() || points.size() > kMaxPoints) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": a device curve of ", points.size(),
                                                   " points, expected 1 to ", kMaxPoints));
  }
  for (size_t i = 0; i < points.size(); ++i) {
    SLUICE_RETURN_IF_ERROR(Annotate(CheckPoint(points[i]), absl::StrCat(what, ": point ", i)));
  }
  std::sort(points.begin(), points.end(), [](const CurvePoint& a, const CurvePoint& b) {
    return PlaceOf(a) < PlaceOf(b);
  });
  for (size_t i = 1; i < points.size(); ++i) {
    if (PlaceOf(points[i]) != PlaceOf(points[i - 1])) continue;
    return absl::InvalidArgumentError(absl::StrCat(what, ": reads of ", points[i].read_bytes,
                                                   " bytes at queue depth ",
                                                   points[i].queue_depth, " are there twice"));
  }
  return DeviceCurve(std::move(points));
}

absl::StatusOr<DeviceCurve> DeviceCurve::FromJson(absl::string_view text,
                                                  absl::string_view what) {
  SLUICE_ASSIGN_OR_RETURN(const nlohmann::json value, ParseJson(text, what));
  const auto curve = value.find("curve");
  if (!value.is_object() || curve == value.end() || !curve->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": not a device curve: no array \"curve\" in it"));
  }
  if (curve->size() > kMaxPoints) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": a device curve of ", curve->size(),
                                                   " points, at most ", kMaxPoints));
  }
  std::vector<CurvePoint> points;
  for (const nlohmann::json& entry : *curve) {
    absl::StatusOr<CurvePoint> point = PointFromJson(entry);
    if (!point.ok()) {
      return Annotate(point.status(), absl::StrCat(what, ": point ", points.size()));
    }
    points.push_back(*point);
  }
  return FromPoints(std::move(points), what);
}

absl::StatusOr<DeviceCurve> DeviceCurve::Load(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxFileBytes));
  return FromJson(text, path);
}

std::string DeviceCurve::ToJson() const {
  nlohmann::json curve = nlohmann::json::array();
  for (const CurvePoint& point : points_) {
    curve.push_back({{"read_bytes", point.read_bytes},
                     {"queue_depth", point.queue_depth},
                     {"gb_per_s", point.gb_per_s},
                     {"us_per_read", point.us_per_read}});
  }
  return nlohmann::json({{"curve", curve}}).dump(1) + "\n";
}

absl::Status DeviceCurve::Save(const std::string& path) const {
  const std::string text = ToJson();
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file, AtomicFile::Create(path));
  SLUICE_RETURN_IF_ERROR(file->WriteAt(
      0, absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()), text.size())));
  return file->Commit();
}

const CurvePoint& DeviceCurve::Best() const {
  return *std::max_element(points_.begin(), points_.end(),
                           [](const CurvePoint& a, const CurvePoint& b) {
                             return a.gb_per_s < b.gb_per_s;
                           });
}

double DeviceCurve::CostUs(uint64_t read_bytes) const {
  const double bytes = static_cast<double>(read_bytes);
  const Cost& largest = costs_.back();
  if (bytes <= costs_.front().bytes) return costs_.front().us;
  if (bytes >= largest.bytes) return largest.us * bytes / largest.bytes;
  const auto above = std::upper_bound(costs_.begin(), costs_.end(), bytes,
                                      [](double b, const Cost& cost) { return b < cost.bytes; });
  const Cost& a = *(above - 1);
  const Cost& b = *above;
  return a.us + (b.us - a.us) * (bytes - a.bytes) / (b.bytes - a.bytes);
}

}  // namespace sluice
