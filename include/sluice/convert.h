// From a published checkpoint to a bundle file.
#ifndef SLUICE_CONVERT_H_
#define SLUICE_CONVERT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sluice/train.h"

namespace sluice {

struct ConvertOptions {
  std::string dtype;             // "f32", "f16", "bf16"; empty: as in the checkpoint
  std::string calibration_path;  // UTF-8 text; when given, predictors are trained too
  // With calibration_path: neurons that are active together lie side by side in the file.
  bool placement = true;
  // What reads cost on the device that the file is for (SaveDeviceCurve(), `sluice device`):
  // decides how many neurons share a record. Empty: a generic device.
  std::string device_curve_path;
  // The bundle file as several files of at most so many bytes, at least 64 KiB: OUT, OUT.2, OUT.3,
  // ..., at most 256 of them, opened by the name of the first. 0: in one.
  uint64_t part_bytes = 0;
  TrainOptions train;            // used with calibration_path
  // Stage ("sources", "tensors", "records", "calibrate", "train", "place", "lookahead",
  // "quality") and its share done; false stops with kCancelled.
  std::function<bool(const std::string& stage, double done)> on_progress;
};

struct ConvertReport {
  uint64_t records = 0;
  uint64_t record_bytes = 0;  // of one record
  uint64_t bytes = 0;         // the file, without what parts take to say that they are some
  uint32_t num_parts = 1;     // files that it lies in
  double seconds = 0;
  uint64_t peak_rss_bytes = 0;
  bool has_tokenizer = false;
  std::vector<std::string> skipped_tensors;  // in the checkpoint, of no use here
  std::vector<LayerQuality> layers;          // with calibration
};

// Reads the Hugging Face folder `source` and writes `output`, which appears complete or not at
// all (temporary name, fsync, rename). Memory: a few of the largest layer's tensors. An error
// names file and tensor, expected and found.
absl::StatusOr<ConvertReport> Convert(const std::string& source, const std::string& output,
                                      const ConvertOptions& options);

}  // namespace sluice

#endif  // SLUICE_CONVERT_H_
