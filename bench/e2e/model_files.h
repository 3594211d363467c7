// The model files of one ablation, made where they are not there.
#ifndef SLUICE_BENCH_E2E_MODEL_FILES_H_
#define SLUICE_BENCH_E2E_MODEL_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice::bench {

// Files to be removed with the object, unless Keep() was called; always what a program that was
// killed in the middle of writing one left beside it.
class TemporaryFiles {
 public:
  TemporaryFiles() = default;
  ~TemporaryFiles();
  TemporaryFiles(const TemporaryFiles&) = delete;
  TemporaryFiles& operator=(const TemporaryFiles&) = delete;
  void Add(const std::string& path) { paths_.push_back(path); }
  void Keep() { keep_ = true; }

 private:
  std::vector<std::string> paths_;
  bool keep_ = false;
};

struct ModelSource {
  std::string shape;
  std::string folder;
  std::string synth;  // the program that makes models
  uint64_t seed = 1;
};

// Parameters of `shape` as f16. kInvalidArgument: no such shape.
absl::StatusOr<uint64_t> ShapeBytes(const std::string& shape);

// kResourceExhausted, with need and free, where `folder` has no room for `bytes` more.
absl::Status CheckDisk(const std::string& folder, uint64_t bytes);

// Before anything is made: room for all files of `source` that are not there.
absl::Status CheckRoom(const ModelSource& source, bool with_gguf);

struct ModelPair {
  std::string plain, placed;
};
// <folder>/<shape>.flash and <shape>-placed.flash. Both are made unless both are there; what is
// made is added to `made`, before it appears.
absl::StatusOr<ModelPair> FindOrMakeModels(const ModelSource& source, TemporaryFiles* made);

// What synth --check prints: statistics measured and wanted, and "statistics_ok".
absl::StatusOr<nlohmann::json> CheckStatistics(const std::string& synth, const std::string& model);

// <folder>/<shape>.gguf, likewise. `script` is make_gguf.py.
absl::StatusOr<std::string> FindOrMakeGguf(const ModelSource& source, const std::string& script,
                                           TemporaryFiles* made);

// Weights in the file: the sections that every reader needs, not predictors and tokenizer.
absl::StatusOr<uint64_t> WeightBytes(const std::string& program, const std::string& model);

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_E2E_MODEL_FILES_H_
