// A bundle file while it is written: one file under a temporary name, or as many as its parts are.
// Offsets are those of the bundle file, whatever part they come to lie in.
#ifndef SLUICE_LIB_FORMAT_BUNDLE_OUTPUT_H_
#define SLUICE_LIB_FORMAT_BUNDLE_OUTPUT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/io/file.h"

namespace sluice {

class BundleOutput {
 public:
  // Parts of at most `part_bytes` (which CheckPartBytes() allows; down to a multiple of 4096); 0:
  // one file. Names of parts, the temporary ones too, are those of PartPath().
  static absl::StatusOr<std::unique_ptr<BundleOutput>> Create(const std::string& final_path,
                                                              uint64_t part_bytes);

  const std::string& temporary_path() const { return files_[0]->temporary_path(); }
  const std::string& final_path() const { return files_[0]->final_path(); }
  uint32_t num_parts() const { return static_cast<uint32_t>(files_.size()); }

  // As those of AtomicFile.
  absl::Status Reserve(uint64_t bytes);
  absl::Status WriteAt(uint64_t offset, absl::Span<const std::byte> data);
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> out) const;
  absl::Status Truncate(uint64_t bytes);

  // Fills this one, still empty, with the files of a bundle file with parts of the same size.
  absl::Status CopyFrom(const std::string& path, uint32_t num_parts);

  // The parts' pages, to be written after the header page: with them the set is whole. `set` is
  // the checksum of that page. Nothing to do for one file.
  absl::Status Seal(uint64_t uuid, uint64_t set, uint64_t bundle_bytes);

  // All files are complete and on the device before the first appears under its name; the first
  // part is the last to do so. When that fails the others go again. Parts of a file that is
  // replaced go too.
  absl::Status Commit();

 private:
  BundleOutput(std::unique_ptr<AtomicFile> first, uint64_t part_bytes);

  uint64_t payload_bytes() const;
  // Makes parts up to and with that of index `part`.
  absl::Status NeedParts(uint64_t part);
  // Calls `use` for each part that the range touches, with the offset in the part's file.
  absl::Status ForEachPart(
      uint64_t offset, uint64_t bytes,
      absl::FunctionRef<absl::Status(size_t part, uint64_t at, uint64_t from, uint64_t count)>
          use) const;
  absl::Status CommitParts();

  std::vector<std::unique_ptr<AtomicFile>> files_;
  uint64_t part_bytes_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_BUNDLE_OUTPUT_H_
