// sluice_tools.h but for its structs.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "capi/src/handles.h"
#include "capi/src/stage_callback.h"
#include "capi/src/status.h"
#include "capi/src/structs.h"
#include "capi/src/tool_options.h"
#include "lib/base/status_macros.h"
#include "sluice/device.h"
#include "sluice/inspect.h"

namespace sluice::capi {
namespace {

// As many of `made` as there is room for; `count` gets how many there are.
template <typename Made, typename Struct, typename Translate>
void CopyOut(const std::vector<Made>& made, absl::Span<Struct> room, size_t* count,
             Translate translate) {
  const size_t fitting = std::min(made.size(), room.size());
  std::transform(made.begin(), made.begin() + static_cast<ptrdiff_t>(fitting), room.begin(),
                 translate);
  if (count != nullptr) *count = made.size();
}

absl::Status ConvertFolder(const char* source, const char* output,
                           const sluice_convert_options* c_options,
                           sluice_convert_report* report, StageCallback progress) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(source, "source"));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(output, "output"));
  // Before the work of minutes, not after it.
  if (report != nullptr) SLUICE_RETURN_IF_ERROR(CheckOutput(report, "sluice_convert_report"));
  SLUICE_ASSIGN_OR_RETURN(ConvertOptions options, ReadConvertOptions(c_options));
  options.on_progress = progress;
  SLUICE_ASSIGN_OR_RETURN(const ConvertReport made, Convert(source, output, options));
  return report == nullptr ? absl::OkStatus() : WriteConvertReport(made, report);
}

absl::Status Train(const char* path, const char* calibration_path,
                   const sluice_train_options* c_options, absl::Span<sluice_layer_quality> layers,
                   size_t* layer_count, StageCallback progress) {
  if (layer_count != nullptr) *layer_count = 0;
  SLUICE_RETURN_IF_ERROR(CheckNotNull(path, "path"));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(calibration_path, "calibration_path"));
  SLUICE_RETURN_IF_ERROR(
      CheckArray(layers.data(), layers.size(), sizeof(sluice_layer_quality), "layers"));
  SLUICE_ASSIGN_OR_RETURN(TrainOptions options, ReadTrainOptions(c_options));
  options.on_progress = progress;
  SLUICE_ASSIGN_OR_RETURN(const std::vector<LayerQuality> made,
                          TrainPredictors(path, calibration_path, options));
  CopyOut(made, layers, layer_count, ToC);
  return absl::OkStatus();
}

absl::Status Inspect(const char* path, absl::Span<char> json, size_t* json_bytes) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(json_bytes, "json_bytes"));
  *json_bytes = 0;
  SLUICE_RETURN_IF_ERROR(CheckNotNull(path, "path"));
  SLUICE_RETURN_IF_ERROR(CheckArray(json.data(), json.size(), 1, "json"));
  SLUICE_ASSIGN_OR_RETURN(const std::string made, InspectJson(path));
  *json_bytes = made.size();
  if (made.size() >= json.size()) {
    return TooLittleRoom(json.size(), "bytes", made.size() + 1);
  }
  std::copy_n(made.c_str(), made.size() + 1, json.begin());
  return absl::OkStatus();
}

struct DamageCallback {
  sluice_damage_fn function;
  void* user_data;
};

absl::Status Verify(const char* path, uint64_t* records, DamageCallback on_damage,
                    StageCallback progress) {
  if (records != nullptr) *records = 0;
  SLUICE_RETURN_IF_ERROR(CheckNotNull(path, "path"));
  absl::StatusOr<VerifyResult> result = VerifyFile(path, [&](uint64_t done, uint64_t total) {
    return progress("verify", done, total);
  });
  // A file too damaged to be opened: that place is the only one to be told.
  absl::Status status = result.status();
  std::vector<std::string> bad;
  if (result.ok()) {
    if (records != nullptr) *records = result->records;
    bad = std::move(result->bad);
    if (!bad.empty()) {
      status = absl::DataLossError(
          absl::StrCat(path, ": ", bad.size(), " damaged places, the first: ", bad[0]));
    }
  } else if (absl::IsDataLoss(status)) {
    bad.emplace_back(status.message());
  }
  if (on_damage.function == nullptr) return status;
  for (const std::string& line : bad) {
    if (on_damage.function(line.c_str(), on_damage.user_data) != 0) break;
  }
  return status;
}

absl::Status EvaluateText(const sluice_model* handle, absl::Span<const char> text,
                          EvaluateOptions options, sluice_evaluation* evaluation,
                          StageCallback progress) {
  SLUICE_ASSIGN_OR_RETURN(const auto model, FindModel(handle));
  SLUICE_RETURN_IF_ERROR(CheckArray(text.data(), text.size(), 1, "text"));
  SLUICE_RETURN_IF_ERROR(CheckOutput(evaluation, "sluice_evaluation"));
  options.on_progress = [progress](uint64_t done, uint64_t total) {
    return progress("evaluate", done, total);
  };
  SLUICE_ASSIGN_OR_RETURN(const EvaluateReport report,
                          Evaluate(*model, std::string(text.begin(), text.end()), options));
  return WriteEvaluation(report, evaluation);
}

sluice_device_point ToC(const DevicePoint& point) {
  sluice_device_point c = {};
  c.read_bytes = point.read_bytes;
  c.queue_depth = point.queue_depth;
  c.gb_per_s = point.gb_per_s;
  c.us_per_read = point.us_per_read;
  return c;
}

absl::Status Measure(const char* path, double seconds, const char* curve_path,
                     absl::Span<sluice_device_point> points, size_t* point_count,
                     StageCallback progress) {
  if (point_count != nullptr) *point_count = 0;
  SLUICE_RETURN_IF_ERROR(CheckNotNull(path, "path"));
  SLUICE_RETURN_IF_ERROR(
      CheckArray(points.data(), points.size(), sizeof(sluice_device_point), "points"));
  MeasureDeviceOptions options;
  options.seconds = seconds;
  options.on_progress = [progress](double done) { return progress("measure", done); };
  SLUICE_ASSIGN_OR_RETURN(const DeviceReport report, MeasureDevice(path, options));
  if (curve_path != nullptr) SLUICE_RETURN_IF_ERROR(SaveDeviceCurve(report.curve, curve_path));
  CopyOut(report.curve, points, point_count, [](const DevicePoint& point) { return ToC(point); });
  return absl::OkStatus();
}

}  // namespace
}  // namespace sluice::capi

using sluice::capi::Enter;

sluice_status sluice_convert(const char* source, const char* output,
                             const sluice_convert_options* options, sluice_convert_report* report,
                             sluice_stage_fn progress, void* user_data) {
  return Enter([&] {
    return sluice::capi::ConvertFolder(source, output, options, report, {progress, user_data});
  });
}

sluice_status sluice_train(const char* path, const char* calibration_path,
                           const sluice_train_options* options, sluice_layer_quality* layers,
                           size_t layer_capacity, size_t* layer_count, sluice_stage_fn progress,
                           void* user_data) {
  return Enter([&] {
    return sluice::capi::Train(path, calibration_path, options, {layers, layer_capacity},
                               layer_count, {progress, user_data});
  });
}

sluice_status sluice_inspect(const char* path, char* json, size_t json_capacity,
                             size_t* json_bytes) {
  return Enter([&] { return sluice::capi::Inspect(path, {json, json_capacity}, json_bytes); });
}

sluice_status sluice_verify(const char* path, uint64_t* records, sluice_damage_fn on_damage,
                            sluice_stage_fn progress, void* user_data) {
  return Enter([&] {
    return sluice::capi::Verify(path, records, {on_damage, user_data}, {progress, user_data});
  });
}

sluice_status sluice_evaluate(sluice_model* model, const char* text, size_t text_bytes,
                              uint32_t window_tokens, uint64_t max_tokens,
                              sluice_evaluation* evaluation, sluice_stage_fn progress,
                              void* user_data) {
  return Enter([&] {
    sluice::EvaluateOptions options;
    options.window_tokens = window_tokens;
    options.max_tokens = max_tokens;
    return sluice::capi::EvaluateText(model, {text, text_bytes}, options, evaluation,
                                      {progress, user_data});
  });
}

sluice_status sluice_device_measure(const char* path, double seconds, const char* curve_path,
                                    sluice_device_point* points, size_t point_capacity,
                                    size_t* point_count, sluice_stage_fn progress,
                                    void* user_data) {
  return Enter([&] {
    return sluice::capi::Measure(path, seconds, curve_path, {points, point_capacity}, point_count,
                                 {progress, user_data});
  });
}
