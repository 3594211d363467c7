// Reads and checks a bundle file (.flash); docs/FORMAT.md describes every field.
#ifndef SLUICE_LIB_FORMAT_BUNDLE_FILE_H_
#define SLUICE_LIB_FORMAT_BUNDLE_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/element_type.h"
#include "lib/format/record_layout.h"
#include "lib/io/storage_file.h"

namespace sluice {

enum class SectionKind : uint32_t {
  kManifest = 1,   // JSON
  kResident = 2,   // tensors held in DRAM
  kRecords = 3,    // streamed records, all layers
  kChecksums = 4,  // u64 xxh3 per record, layer by layer
  kTokenizer = 5,  // a tokenizer.json; absent if the checkpoint had none
  kPredictors = 6  // predictor tensors; absent before training
};

// "manifest", "resident", ...; "unknown" for a kind that this version does not know.
absl::string_view SectionName(SectionKind kind);

struct Section {
  SectionKind kind;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t xxh3 = 0;  // 0 for the resident, predictor and record sections: see their tensors/table
  bool optional = false;  // a reader that does not know the kind may ignore it
};

// A tensor of the resident or the predictor section.
struct TensorEntry {
  std::string name;  // see docs/FORMAT.md for the names
  SectionKind section = SectionKind::kResident;
  ElementType type = ElementType::kF32;
  std::vector<uint64_t> shape;
  uint64_t offset = 0;  // in the file, a multiple of 4096
  uint64_t bytes = 0;
  uint64_t xxh3 = 0;
};

// Told how many bytes more have been read; false stops with kCancelled.
using ReadProgress = std::function<bool(uint64_t bytes)>;

// Threads: const methods may overlap.
class BundleFile {
 public:
  static constexpr uint32_t kMajorVersion = 1;
  static constexpr uint32_t kMinorVersion = 0;

  // Reads header, manifest, tensor directory, record layouts and the checksum table, and checks
  // all of them: sizes against the file's, overlap, hashes. kDataLoss names what is wrong, where,
  // expected and found; kUnimplemented for a newer major version; kInvalidArgument for a file
  // that is no bundle file. Reads no weights. A file in parts is named by its first;
  // OpenBundleStorage() has what is refused about them.
  static absl::StatusOr<std::shared_ptr<BundleFile>> Open(const std::string& path);
  // From wherever the bytes are. Parts have no names there: kInvalidArgument.
  static absl::StatusOr<std::shared_ptr<BundleFile>> Open(std::shared_ptr<StorageFile> storage);

  const std::shared_ptr<StorageFile>& storage() const;
  const std::string& path() const;
  uint64_t file_bytes() const;
  uint32_t num_parts() const;   // files that it lies in
  uint64_t part_bytes() const;  // of each but the last; 0: in one file
  uint64_t uuid() const;  // of the content: the same conversion gives the same number
  uint32_t major_version() const;
  uint32_t minor_version() const;
  // In file order. Optional sections of a kind that is not in SectionKind are listed too.
  const std::vector<Section>& sections() const;

  // The manifest: "config" (the model module's), "sources", "predictors", "quality", ..., and
  // "format"; without "tensors" and "layers", which are parsed into the members below.
  const nlohmann::json& manifest() const;

  const std::vector<TensorEntry>& tensors() const;
  // nullptr when there is none.
  const TensorEntry* FindTensor(absl::string_view name) const;
  // Reads a whole tensor and verifies its hash. out.size() == entry.bytes. `progress`, which may be
  // empty, is told every few MiB.
  absl::Status ReadTensor(const TensorEntry& entry, absl::Span<std::byte> out,
                          const ReadProgress& progress = nullptr) const;
  // The same piece by piece, for tensors that there is no room for: `take` gets all of it in order,
  // at most scratch.size() >= 1 bytes at a time. The hash is verified at the end; after a failure
  // nothing that was taken may be used.
  absl::Status ReadTensorInPieces(
      const TensorEntry& entry, absl::Span<std::byte> scratch,
      absl::FunctionRef<void(absl::Span<const std::byte> piece)> take,
      const ReadProgress& progress = nullptr) const;

  const std::vector<RecordLayout>& layers() const;
  // kDataLoss naming path, layer, neurons, offset, expected and found when `record`'s bytes do not
  // have the checksum of the table. The hash is seeded with (uuid, layer, record): right bytes in
  // the wrong place fail too.
  absl::Status VerifyRecord(uint32_t layer, uint32_t record,
                            absl::Span<const std::byte> bytes) const;

  // The tokenizer section's text; empty when there is none.
  absl::StatusOr<std::string> ReadTokenizer() const;

  // Bytes that an open BundleFile holds in memory (table, directory), for the memory plan.
  uint64_t resident_bytes() const;

 private:
  struct State;
  static absl::StatusOr<std::shared_ptr<BundleFile>> Read(std::unique_ptr<State> state);
  explicit BundleFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;

 public:
  ~BundleFile();
};

struct VerifyReport {
  uint64_t records = 0;  // checked
  std::vector<std::string> bad;  // one line each: section/tensor/record with layer and neurons
};

// Reads the whole file in large sequential pieces and checks every checksum; padding must be
// zero. An error only for what stops it (I/O, header or manifest); damage goes into the report,
// which after 10000 lines only counts ("and 12 more").
// `progress(done, total)` in bytes, may be empty; returning false stops with kCancelled.
absl::StatusOr<VerifyReport> VerifyBundle(
    const BundleFile& file, const std::function<bool(uint64_t, uint64_t)>& progress);

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_BUNDLE_FILE_H_
