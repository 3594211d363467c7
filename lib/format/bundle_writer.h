// Writes a bundle file in one pass with bounded memory, under a temporary name.
#ifndef SLUICE_LIB_FORMAT_BUNDLE_WRITER_H_
#define SLUICE_LIB_FORMAT_BUNDLE_WRITER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/base/element_type.h"
#include "lib/format/record_layout.h"

namespace sluice {

// A tensor that is small enough to be held whole (predictors).
struct NamedTensor {
  std::string name;
  ElementType type = ElementType::kF32;
  std::vector<uint64_t> shape;
  std::vector<std::byte> data;
};

// Use: Create; then BeginTensor/Append/EndTensor for every resident tensor; then
// BeginLayer/AppendRecords/EndLayer for layers 0, 1, ...; SetTokenizer if there is one; Finish;
// optionally ReplacePredictors (any number of times), with ReorderNeurons before it; Commit. Any
// other order: kFailedPrecondition. After an error only destruction is allowed; it removes the
// temporary file.
class BundleWriter {
 public:
  // `expected_bytes` is reserved on disk up front (0: unknown); ENOSPC names need and free.
  // `identity` says what the content is made from (names, sizes and hashes of the source files,
  // options of the conversion). Its hash is the file's uuid, which seeds the record checksums and
  // so must be known before the content is. No time, no random number: the same conversion is
  // to give the same bytes. `part_bytes`, if not 0: as several files of at most that size, which
  // appear together (kInvalidArgument: below kMinPartBytes).
  static absl::StatusOr<std::unique_ptr<BundleWriter>> Create(const std::string& final_path,
                                                              uint64_t expected_bytes,
                                                              absl::string_view identity,
                                                              uint64_t part_bytes = 0);
  // An existing bundle file, copied under a temporary name beside it (reflinked where the file
  // system can), in the state after Finish(); in parts if it is in parts. kUnimplemented when
  // sections that this version does not know would be lost.
  static absl::StatusOr<std::unique_ptr<BundleWriter>> Edit(const std::string& path);
  ~BundleWriter();

  absl::Status BeginTensor(const std::string& name, ElementType type,
                           std::vector<uint64_t> shape);
  absl::Status AppendTensor(absl::Span<const std::byte> data);  // any number of pieces
  absl::Status EndTensor();  // kInvalidArgument unless exactly the shape's bytes came

  // `layout.offset` and num_records are set here.
  absl::Status BeginLayer(RecordLayout layout);
  // A whole number of records, their padding zero.
  absl::Status AppendRecords(absl::Span<const std::byte> data);
  absl::Status EndLayer();

  absl::Status SetTokenizer(std::string tokenizer_json);

  // `manifest` holds the caller's members ("config", "sources", "quality", ...); the writer adds
  // its own ("tensors", "layers", "format"; kInvalidArgument if they are there). Afterwards
  // temporary_path() is a complete, valid file.
  absl::Status Finish(nlohmann::json manifest);

  // Puts one layer's neurons into another order: place p gets the neuron that is at order[p], a
  // permutation. The rows of the resident tensor `tensor` (of d_ffn rows; passed over when there
  // is no such tensor) go along. Records are verified and rewritten where they lie; memory: one
  // layer's. Afterwards the file is none until ReplacePredictors(), which must follow: predictors
  // that are there are of the old order.
  absl::Status ReorderNeurons(uint32_t layer, absl::Span<const uint32_t> order,
                              const std::string& tensor);

  // Writes `tensors` as the predictor section (replacing the one there; none: no such section) and
  // merges `members` into the manifest (members named there are replaced; null removes). Valid
  // file again afterwards.
  absl::Status ReplacePredictors(const std::vector<NamedTensor>& tensors,
                                 const nlohmann::json& members);

  const std::string& temporary_path() const;
  uint64_t file_bytes() const;
  uint32_t num_parts() const;

  // fsync, rename, fsync of the directory.
  absl::Status Commit();

 private:
  struct State;
  explicit BundleWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_BUNDLE_WRITER_H_
