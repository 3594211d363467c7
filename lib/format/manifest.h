// The manifest's own members: the tensor directory and the record layouts, to and from JSON.
#ifndef SLUICE_LIB_FORMAT_MANIFEST_H_
#define SLUICE_LIB_FORMAT_MANIFEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/format/bundle_file.h"
#include "lib/format/bundle_header.h"
#include "lib/format/record_layout.h"

namespace sluice {

// Limits on what a manifest may ask a reader to hold.
inline constexpr uint64_t kMaxManifestBytes = 64u << 20;
inline constexpr uint64_t kMaxTokenizerBytes = 256u << 20;
inline constexpr uint64_t kMaxChecksumTableBytes = 1u << 30;  // 512 GiB in records of 4 KiB
inline constexpr size_t kMaxTensors = 100000;
inline constexpr size_t kMaxLayers = 10000;
inline constexpr size_t kMaxTensorRank = 8;
inline constexpr size_t kMaxTensorNameBytes = 256;

struct ManifestContent {
  std::vector<TensorEntry> tensors;
  std::vector<RecordLayout> layers;
};

// The bytes of a tensor. kInvalidArgument: rank not 1..kMaxTensorRank, a dimension that is 0, or a
// product that wraps.
absl::StatusOr<uint64_t> TensorBytes(ElementType type, const std::vector<uint64_t>& shape);

// kInvalidArgument unless 1..kMaxTensorNameBytes printable ASCII characters (names come back in
// messages, and so on terminals).
absl::Status CheckTensorName(absl::string_view name);

// The manifest section's text: `members` (an object without writer members) and the writer's.
// kInvalidArgument: not an object, a writer's member, text that is not UTF-8, too large.
absl::StatusOr<std::string> MakeManifest(const nlohmann::json& members, uint64_t uuid,
                                         const ManifestContent& content);

// Checks "format", "tensors" and "layers" against the header: every tensor inside its section and
// none over another, the layers covering the record section exactly, a checksum for every record.
// Removes "tensors" and "layers" from `manifest`. kDataLoss; kUnimplemented for a kind of layer or
// an element type that this version does not know.
absl::StatusOr<ManifestContent> TakeManifestContent(nlohmann::json* manifest,
                                                    const BundleHeader& header);

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_MANIFEST_H_
