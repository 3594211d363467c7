// A bundle file kept as several files: name.flash, name.flash.2, name.flash.3, ... docs/FORMAT.md
// has the page that each begins with in words.
#ifndef SLUICE_LIB_FORMAT_PART_SET_H_
#define SLUICE_LIB_FORMAT_PART_SET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/io/storage_file.h"

namespace sluice {

inline constexpr size_t kPartPageBytes = 4096;
inline constexpr std::array<unsigned char, 8> kPartMagic = {0x89, 'S', 'L', 'P',
                                                            'A', 'R', 'T', '\n'};
// Smaller ones would be more names and descriptors than weights.
inline constexpr uint64_t kMinPartBytes = 64 << 10;
// Each part takes two descriptors, and many systems allow 1024.
inline constexpr uint32_t kMaxParts = 256;

// The page that a part begins with; the bundle file's bytes follow it.
struct PartPage {
  static constexpr uint32_t kMajorVersion = 1;

  uint32_t number = 1;  // from 1
  uint32_t num_parts = 1;
  uint64_t part_bytes = 0;    // of each part but the last, with this page
  uint64_t bundle_bytes = 0;  // of all parts, without their pages
  uint64_t uuid = 0;          // the bundle file's
  uint64_t set = 0;           // the checksum of its header page: what belongs together has one

  // Of the bundle file in each part but the last.
  uint64_t payload_bytes() const { return part_bytes - kPartPageBytes; }
  // Of part `n`, with its page.
  uint64_t bytes_of(uint32_t n) const;
};

// "x.flash" for 1, "x.flash.2" for 2, ...
std::string PartPath(const std::string& first, uint32_t number);

// kInvalidArgument unless files of `part_bytes` (0: one file) can be made.
absl::Status CheckPartBytes(uint64_t part_bytes);

// The number of parts of a bundle file of that size.
uint64_t NumParts(uint64_t bundle_bytes, uint64_t part_bytes);

bool StartsWithPartMagic(absl::Span<const std::byte> bytes);
// `page` gets kPartPageBytes bytes.
void EncodePartPage(const PartPage& part, absl::Span<std::byte> page);
// `page` begins with the magic. kDataLoss, kUnimplemented: as BundleFile::Open().
absl::StatusOr<PartPage> DecodePartPage(absl::Span<const std::byte> page,
                                        const std::string& path);

// The page of the file `path`, or num_parts 0 where that is no part.
absl::StatusOr<PartPage> ReadPartPage(const StorageFile& file);

struct BundleStorage {
  std::shared_ptr<StorageFile> storage;
  PartPage first;  // of part 1; part_bytes is 0 when it is one file
};

// Opens a bundle file of one or more parts by the name of the first. kNotFound: a part is missing.
// kDataLoss: a part is cut, of another file, or one too many; the message names it, expected and
// found. kInvalidArgument: `path` is a part but the first.
absl::StatusOr<BundleStorage> OpenBundleStorage(const std::string& path);

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_PART_SET_H_
