// device
#include <cstdio>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "output.h"
#include "sluice/device.h"

namespace sluice::cli {
namespace {

struct DeviceArguments {
  std::string path, out;
  MeasureDeviceOptions options;
  bool json = false;
};

nlohmann::json PointJson(const DevicePoint& point) {
  return {{"read_bytes", point.read_bytes},
          {"queue_depth", point.queue_depth},
          {"gb_per_s", point.gb_per_s},
          {"us_per_read", point.us_per_read}};
}

absl::Status RunDevice(const DeviceArguments& arguments) {
  absl::StatusOr<DeviceReport> report;
  {
    ProgressBar bar(true);
    MeasureDeviceOptions options = arguments.options;
    options.on_progress = [&](double done) {
      bar.Update("device", done);
      return true;
    };
    report = MeasureDevice(arguments.path, options);
  }
  if (!report.ok()) return report.status();
  if (!arguments.out.empty()) {
    const absl::Status saved = SaveDeviceCurve(report->curve, arguments.out);
    if (!saved.ok()) return saved;
  }
  if (arguments.json) {
    nlohmann::json curve = nlohmann::json::array();
    for (const DevicePoint& point : report->curve) curve.push_back(PointJson(point));
    PrintJson({{"curve", curve},
               {"best", PointJson(report->best)},
               {"file_bytes", report->file_bytes},
               {"seconds", report->seconds},
               {"engine", report->engine}});
    return absl::OkStatus();
  }
  std::printf("%12s %12s %10s %12s\n", "read", "queue depth", "GB/s", "us per read");
  for (const DevicePoint& point : report->curve) {
    std::printf("%12s %12u %10.3f %12.2f\n", Size(static_cast<double>(point.read_bytes)).c_str(),
                point.queue_depth, point.gb_per_s, point.us_per_read);
  }
  return absl::OkStatus();
}

}  // namespace

void AddDevice(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<DeviceArguments>();
  CLI::App* command = app->add_subcommand(
      "device", "measure what reads cost on a storage device (O_DIRECT, some seconds)");
  command->add_option("PATH", arguments->path,
                      "a large file on the device, which is only read; or a folder, where a "
                      "temporary file of 512 MiB is made and removed")
      ->required();
  command->add_option("--out", arguments->out, "write the curve here, for --device-curve");
  AddEngine(command, &arguments->options.engine);
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunDevice(*arguments); }; });
}

}  // namespace sluice::cli
