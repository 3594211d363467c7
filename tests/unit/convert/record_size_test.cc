#include "lib/convert/record_size.h"

#include "lib/format/bundle_file.h"
#include "sluice/convert.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

constexpr uint64_t kKiB = 1024;

// A read costs `request_us`, and a microsecond for each `bytes_per_us`.
DeviceCurve Curve(double request_us, double bytes_per_us) {
  std::vector<CurvePoint> points;
  for (uint64_t bytes = 4 * kKiB; bytes <= 1024 * kKiB; bytes *= 2) {
    CurvePoint point{bytes, 32, 0, request_us + static_cast<double>(bytes) / bytes_per_us};
    point.gb_per_s = static_cast<double>(bytes) / (point.us_per_read * 1e3);
    points.push_back(point);
  }
  const auto curve = DeviceCurve::FromPoints(points, "test");
  REQUIRE_OK(curve);
  return *curve;
}

TEST_CASE("Where bytes are all that a read costs, a record is no larger than it must be",
          "[convert]") {
  const DeviceCurve bytes_only = Curve(0.001, 1000);
  CHECK(NeuronsPerRecordFor(bytes_only, 16 * kKiB, false) == 1);
  CHECK(NeuronsPerRecordFor(bytes_only, 16 * kKiB, true) == 1);
  CHECK(NeuronsPerRecordFor(bytes_only, 4 * kKiB, true) == 1);
  // Smaller ones are padded to 4 KiB.
  CHECK(NeuronsPerRecordFor(bytes_only, 1 * kKiB, false) == 4);
}

TEST_CASE("Where requests cost most, placed neurons share a record", "[convert]") {
  const DeviceCurve requests_only = Curve(10, 1e6);
  CHECK(NeuronsPerRecordFor(requests_only, 4 * kKiB, true) > 8);
  CHECK(NeuronsPerRecordFor(requests_only, 512, true) > 8);
  // Some of both: neighbours that are needed together are worth reading together.
  const DeviceCurve both = Curve(20, 3000);
  CHECK(NeuronsPerRecordFor(both, 4 * kKiB, true) > NeuronsPerRecordFor(both, 4 * kKiB, false));
}

TEST_CASE("More costly requests never make smaller records", "[convert]") {
  for (const uint64_t bundle : {512ul, 1536ul, 4096ul, 9088ul, 16384ul, 65536ul}) {
    uint32_t before = 0;
    for (const double request_us : {0.01, 1.0, 4.0, 16.0, 64.0}) {
      const uint32_t neurons = NeuronsPerRecordFor(Curve(request_us, 3000), bundle, true);
      INFO(bundle << " bytes, " << request_us << " us");
      CHECK(neurons >= before);
      CHECK(neurons <= 16);
      before = neurons;
    }
  }
  // The largest bundle that there may be still has a record.
  CHECK(NeuronsPerRecordFor(Curve(100, 3000), 64 << 20, true) == 1);
}

TEST_CASE("Convert takes the record size from a device curve", "[convert]") {
  const testing::TempDir dir;
  const std::string model = SLUICE_TEST_SOURCE_DIR "/examples/models/tales-7m";
  ConvertOptions options;
  const auto generic = Convert(model, dir.File("generic.flash"), options);
  REQUIRE_OK(generic);
  CHECK(generic->record_bytes == 4096);
  REQUIRE_OK(Curve(100, 1e6).Save(dir.File("curve.json")));
  options.device_curve_path = dir.File("curve.json");
  const auto measured = Convert(model, dir.File("measured.flash"), options);
  REQUIRE_OK(measured);
  CHECK(measured->record_bytes > 8 * 1024);
  CHECK(measured->records < generic->records / 2);
  const auto a = BundleFile::Open(dir.File("generic.flash"));
  const auto b = BundleFile::Open(dir.File("measured.flash"));
  REQUIRE_OK(a);
  REQUIRE_OK(b);
  CHECK((*a)->uuid() != (*b)->uuid());
  options.device_curve_path = dir.File("none.json");
  CHECK(absl::IsNotFound(Convert(model, dir.File("x.flash"), options).status()));
}

}  // namespace
}  // namespace sluice
