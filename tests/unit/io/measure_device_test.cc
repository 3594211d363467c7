#include "lib/io/measure_device.h"

#include <filesystem>

#include "tests/support/catch.h"

namespace sluice {
namespace {

using ::Catch::Contains;

MeasureDeviceSettings Quick() {
  MeasureDeviceSettings settings;
  settings.read_bytes = {4096, 65536};
  settings.queue_depths = {1, 8};
  settings.seconds = 0.1;
  settings.temporary_bytes = MeasureDeviceSettings::kMinFileBytes;
  return settings;
}

// Where the folder for tests is in memory, or O_DIRECT is refused there.
void SkipWithoutDevice() {
  const testing::TempDir dir;
  const absl::Status status = MeasureDeviceCurve(dir.path(), Quick()).status();
  if (absl::IsFailedPrecondition(status)) testing::SkipProgram(std::string(status.message()));
}

TEST_CASE("a folder is measured and left as it was", "[io]") {
  SkipWithoutDevice();
  const testing::TempDir dir;
  for (EngineChoice engine : {EngineChoice::kAuto, EngineChoice::kPread}) {
    MeasureDeviceSettings settings = Quick();
    settings.engine = engine;
    double last = 0;
    settings.on_progress = [&](double done) {
      const bool forward = done > last && done <= 1;
      last = done;
      return forward;
    };
    const auto measured = MeasureDeviceCurve(dir.path(), settings);
    REQUIRE_OK(measured);
    CHECK(last == 1);
    CHECK(measured->capabilities.direct_io);
    CHECK(measured->file_bytes == settings.temporary_bytes);
    REQUIRE(measured->curve.points().size() == 4);
    for (const CurvePoint& point : measured->curve.points()) {
      CHECK(point.gb_per_s > 1e-5);
      CHECK(point.gb_per_s < 1000);
    }
    CHECK(std::filesystem::is_empty(dir.path()));
  }
}

TEST_CASE("memory is not measured", "[io]") {
  const std::string folder = "/dev/shm";
  if (!std::filesystem::is_directory(folder)) {
    WARN(folder << " is not there");
    return;
  }
  const absl::Status status = MeasureDeviceCurve(folder, Quick()).status();
  CHECK(absl::IsFailedPrecondition(status));
  CHECK_THAT(std::string(status.message()), Contains("in memory"));
}

TEST_CASE("what cannot be measured is refused", "[io]") {
  SkipWithoutDevice();
  const testing::TempDir dir;
  const auto error = [](const std::string& path, const MeasureDeviceSettings& settings) {
    return MeasureDeviceCurve(path, settings).status();
  };
  CHECK(absl::IsNotFound(error(dir.File("nothing"), Quick())));
  testing::WriteFileOrDie(dir.File("small"), std::string(8192, 'x'));
  CHECK(absl::IsInvalidArgument(error(dir.File("small"), Quick())));
  testing::WriteFileOrDie(dir.File("holes"), "x");
  std::filesystem::resize_file(dir.File("holes"), 128 << 20);
  const absl::Status holes = error(dir.File("holes"), Quick());
  CHECK(absl::IsInvalidArgument(holes));
  CHECK_THAT(std::string(holes.message()), Contains("holes"));

  MeasureDeviceSettings settings = Quick();
  settings.temporary_bytes = uint64_t{1} << 60;
  CHECK(!error(dir.path(), settings).ok());
  for (void (*spoil)(MeasureDeviceSettings*) :
       {+[](MeasureDeviceSettings* s) { s->read_bytes = {}; },
        +[](MeasureDeviceSettings* s) { s->read_bytes = {4096, 0}; },
        +[](MeasureDeviceSettings* s) { s->read_bytes = {4097}; },
        +[](MeasureDeviceSettings* s) { s->queue_depths = {}; },
        +[](MeasureDeviceSettings* s) { s->queue_depths = {0}; },
        +[](MeasureDeviceSettings* s) { s->seconds = 0; }}) {
    settings = Quick();
    spoil(&settings);
    CHECK(absl::IsInvalidArgument(error(dir.path(), settings)));
  }
  CHECK(std::filesystem::remove(dir.File("small")));
  CHECK(std::filesystem::remove(dir.File("holes")));
  CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("a measurement can be stopped, and leaves nothing", "[io]") {
  SkipWithoutDevice();
  const testing::TempDir dir;
  MeasureDeviceSettings settings = Quick();
  settings.on_progress = [](double done) { return done < 0.3; };
  CHECK(absl::IsCancelled(MeasureDeviceCurve(dir.path(), settings).status()));
  CHECK(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace sluice
