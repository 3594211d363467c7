// The first page of a bundle file: versions, sizes and the section table. docs/FORMAT.md has the
// same layout in words.
#ifndef SLUICE_LIB_FORMAT_BUNDLE_HEADER_H_
#define SLUICE_LIB_FORMAT_BUNDLE_HEADER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/format/bundle_file.h"

namespace sluice {

// Offsets in the page, in bytes. Magic, versions and checksum keep their places in every major
// version, so that an old reader can tell "newer" from "damaged".
inline constexpr size_t kHeaderBytes = 4096;
inline constexpr size_t kMagicOffset = 0;
inline constexpr size_t kMajorOffset = 8;
inline constexpr size_t kMinorOffset = 12;
inline constexpr size_t kHeaderBytesOffset = 16;
inline constexpr size_t kNumSectionsOffset = 20;
inline constexpr size_t kFileBytesOffset = 24;
inline constexpr size_t kUuidOffset = 32;
inline constexpr size_t kSectionTableOffset = 64;
inline constexpr size_t kSectionEntryBytes = 32;
inline constexpr size_t kMaxSections = 60;
inline constexpr size_t kChecksumOffset = kHeaderBytes - 8;  // of all bytes before it
static_assert(kSectionTableOffset + kMaxSections * kSectionEntryBytes <= kChecksumOffset);

// A byte above 127 and a line end, so that a transfer "as text" is noticed at once.
inline constexpr std::array<unsigned char, 8> kMagic = {0x89, 'S', 'L', 'U', 'I', 'C', 'E', '\n'};

inline constexpr uint64_t kSectionAlignment = 4096;
inline constexpr uint32_t kSectionOptional = 1;  // bit in a section's flags

struct BundleHeader {
  uint32_t major = BundleFile::kMajorVersion;
  uint32_t minor = BundleFile::kMinorVersion;
  uint64_t file_bytes = 0;
  uint64_t uuid = 0;
  std::vector<Section> sections;  // in file order

  // nullptr when there is none.
  const Section* Find(SectionKind kind) const;
};

// `page` gets kHeaderBytes bytes. At most kMaxSections sections.
void EncodeHeader(const BundleHeader& header, absl::Span<std::byte> page);

// Checks everything that can be said from the page and the file's size alone: magic, checksum,
// version, size, and a section table whose sections follow one another without gap or overlap.
// Codes as BundleFile::Open().
absl::StatusOr<BundleHeader> DecodeHeader(absl::Span<const std::byte> page,
                                          uint64_t actual_file_bytes, const std::string& path);

// Whether the first bytes of a file are the magic.
bool StartsWithMagic(absl::Span<const std::byte> bytes);

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_BUNDLE_HEADER_H_
