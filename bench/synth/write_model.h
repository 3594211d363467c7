// Writes a calibrated synthetic model as a bundle file.
#ifndef SLUICE_BENCH_SYNTH_WRITE_MODEL_H_
#define SLUICE_BENCH_SYNTH_WRITE_MODEL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/synth/calibrate.h"
#include "bench/synth/shape.h"
#include "lib/base/thread_pool.h"

namespace sluice::synth {

// What a file of this shape takes, a little more than less.
absl::StatusOr<uint64_t> ExpectedBytes(const Shape& shape);

// kResourceExhausted, with the bytes needed and free, unless each path's folder has room for
// `bytes` of every path given that lies on the same file system.
absl::Status CheckFreeSpace(const std::vector<std::string>& paths, uint64_t bytes);

struct WriteOptions {
  CalibrationOptions calibration;  // that made the plans
  bool placed = false;              // neurons in the plans' order
  std::function<void(uint32_t layers_done)> on_layer;
};

// Streams the weights, made anew, to `path`; holds the predictors, and a few MiB beside them.
// Returns the file's size.
absl::StatusOr<uint64_t> WriteModel(const std::string& path, const Shape& shape,
                                    const std::vector<LayerPlan>& plans,
                                    const WriteOptions& options, ThreadPool* pool);

}  // namespace sluice::synth

#endif  // SLUICE_BENCH_SYNTH_WRITE_MODEL_H_
