// A small bundle file with everything in it, and the tools to damage it.
#ifndef SLUICE_TESTS_UNIT_FORMAT_BUNDLE_FIXTURE_H_
#define SLUICE_TESTS_UNIT_FORMAT_BUNDLE_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "lib/format/bundle_file.h"
#include "lib/format/bundle_header.h"
#include "lib/format/bundle_writer.h"
#include "lib/format/bytes.h"

namespace sluice::testing {

using sluice::AsBytes;
using Bytes = std::vector<std::byte>;

struct SampleTensor {
  std::string name;
  ElementType type;
  std::vector<uint64_t> shape;
  Bytes data;
};
struct SampleLayer {
  RecordLayout layout;
  Bytes records;
};

// What the sample file holds: f32, f16 and bf16, with and without a gate, several neurons to a
// record and one, last records that are not full.
struct Sample {
  std::vector<SampleTensor> tensors;
  std::vector<SampleLayer> layers;
  std::string tokenizer;
  nlohmann::json manifest;
};
Sample MakeSample(uint64_t seed);

Bytes RandomBytes(size_t count, uint64_t seed);

// `layer`'s records with random rows and zero padding.
Bytes RandomRecords(const RecordLayout& layout, uint64_t seed);

// Predictor tensors for layers 0 .. num_layers - 1.
std::vector<NamedTensor> SamplePredictors(uint32_t num_layers, uint32_t rank, uint64_t seed);

// Writes all of `sample` up to and including Finish().
absl::Status WriteSample(const Sample& sample, BundleWriter* writer);
// A committed file, with predictors.
void MakeSampleFile(const std::string& path, uint64_t seed = 7);

// Opens the file and reads and verifies every tensor, record and the tokenizer.
absl::Status ReadAll(const std::string& path);

// The header of a file's bytes, which is taken to be right.
BundleHeader HeaderOf(const std::string& file);
// `file` with another header in front.
std::string WithHeader(const std::string& file, const BundleHeader& header);
// `file` with another manifest; header and hash are made to fit.
std::string WithManifestText(const std::string& file, const std::string& text);
std::string WithManifest(const std::string& file,
                         const std::function<void(nlohmann::json*)>& change);

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_FORMAT_BUNDLE_FIXTURE_H_
