#include "capi/src/tool_options.h"

#include "capi/src/status.h"
#include "capi/src/structs.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

absl::StatusOr<const char*> ReadDtype(int32_t dtype) {
  switch (dtype) {
    case SLUICE_DTYPE_AUTO:
      return "";
    case SLUICE_DTYPE_F32:
      return "f32";
    case SLUICE_DTYPE_F16:
      return "f16";
    case SLUICE_DTYPE_BF16:
      return "bf16";
    default:
      return OutOfRange("dtype", dtype, "SLUICE_DTYPE_AUTO, _F32, _F16 or _BF16");
  }
}

}  // namespace

absl::StatusOr<TrainOptions> ReadTrainOptions(const sluice_train_options* theirs) {
  TrainOptions options;
  if (theirs == nullptr) return options;
  sluice_train_options c = {};
  SLUICE_RETURN_IF_ERROR(ReadStruct(theirs, "sluice_train_options", &c));
  if (c.reserved32 != 0) return UnknownMember("sluice_train_options");
  // Zero means the default, for every one of them; a NaN fails the comparison.
  if (!(c.parameter_share >= 0 && c.parameter_share <= 1)) {
    return OutOfRange("parameter_share", c.parameter_share, "0 to 1");
  }
  options.rank = c.rank;
  options.threads = c.threads;
  if (c.parameter_share > 0) options.parameter_share = c.parameter_share;
  if (c.seed != 0) options.seed = c.seed;
  return options;
}

absl::StatusOr<ConvertOptions> ReadConvertOptions(const sluice_convert_options* theirs) {
  ConvertOptions options;
  if (theirs == nullptr) return options;
  sluice_convert_options c = {};
  SLUICE_RETURN_IF_ERROR(ReadStruct(theirs, "sluice_convert_options", &c));
  if (c.reserved32 != 0) return UnknownMember("sluice_convert_options");
  SLUICE_ASSIGN_OR_RETURN(options.dtype, ReadDtype(c.dtype));
  SLUICE_ASSIGN_OR_RETURN(const bool no_placement, ReadFlag(c.no_placement, "no_placement"));
  options.placement = !no_placement;
  if (c.calibration_path != nullptr) options.calibration_path = c.calibration_path;
  if (c.device_curve_path != nullptr) options.device_curve_path = c.device_curve_path;
  options.part_bytes = c.part_bytes;
  SLUICE_ASSIGN_OR_RETURN(options.train, ReadTrainOptions(c.train));
  return options;
}

absl::Status WriteConvertReport(const ConvertReport& report, sluice_convert_report* theirs) {
  sluice_convert_report c = {};
  c.has_tokenizer = report.has_tokenizer ? 1 : 0;
  c.records = report.records;
  c.record_bytes = report.record_bytes;
  c.bytes = report.bytes;
  c.seconds = report.seconds;
  c.peak_rss_bytes = report.peak_rss_bytes;
  c.num_parts = report.num_parts;
  c.num_layers = static_cast<uint32_t>(report.layers.size());
  return WriteStruct(c, theirs, "sluice_convert_report");
}

absl::Status WriteEvaluation(const EvaluateReport& report, sluice_evaluation* theirs) {
  sluice_evaluation c = {};
  c.perplexity = report.perplexity;
  c.tokens = report.tokens;
  c.recall = report.recall;
  c.precision = report.precision;
  c.active_fraction = report.active_fraction;
  c.predicted_fraction = report.predicted_fraction;
  return WriteStruct(c, theirs, "sluice_evaluation");
}

sluice_layer_quality ToC(const LayerQuality& layer) {
  sluice_layer_quality c = {};
  c.layer = layer.layer;
  c.rank = layer.rank;
  c.recall = layer.recall;
  c.precision = layer.precision;
  c.active_fraction = layer.active_fraction;
  c.predicted_fraction = layer.predicted_fraction;
  c.lookahead_recall = layer.lookahead_recall;
  c.lookahead_precision = layer.lookahead_precision;
  return c;
}

}  // namespace sluice::capi

sluice_status sluice_train_options_init(sluice_train_options* options, size_t struct_size) {
  return sluice::capi::Enter(
      [&] { return sluice::capi::InitStruct(options, struct_size, "sluice_train_options"); });
}

sluice_status sluice_convert_options_init(sluice_convert_options* options, size_t struct_size) {
  return sluice::capi::Enter(
      [&] { return sluice::capi::InitStruct(options, struct_size, "sluice_convert_options"); });
}
