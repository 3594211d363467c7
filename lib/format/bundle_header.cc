#include "lib/format/bundle_header.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"

namespace sluice {
namespace {

bool IsKnown(SectionKind kind) { return SectionName(kind) != "unknown"; }

// These are hashed piece by piece: tensor by tensor, record by record.
bool IsHashedInPieces(SectionKind kind) {
  return kind == SectionKind::kResident || kind == SectionKind::kRecords ||
         kind == SectionKind::kPredictors;
}

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": header: ", what));
}

absl::Status CheckPage(absl::Span<const std::byte> page, const std::string& path) {
  const uint64_t expected = LoadU64(page.data() + kChecksumOffset);
  const uint64_t found = Xxh3(page.first(kChecksumOffset));
  if (expected != found) {
    return Damaged(path, absl::StrCat("checksum of bytes 0 to ", kChecksumOffset - 1, " is ",
                                      HashToHex(found), ", expected ", HashToHex(expected)));
  }
  const uint32_t major = LoadU32(page.data() + kMajorOffset);
  if (major > BundleFile::kMajorVersion) {
    return absl::UnimplementedError(
        absl::StrCat(path, ": bundle file version ", major, ".",
                     LoadU32(page.data() + kMinorOffset), "; this library reads up to ",
                     BundleFile::kMajorVersion, ".x: use a newer Sluice or convert again"));
  }
  if (major != BundleFile::kMajorVersion) {
    return Damaged(path, absl::StrCat("there is no major version ", major));
  }
  const uint32_t header_bytes = LoadU32(page.data() + kHeaderBytesOffset);
  if (header_bytes != kHeaderBytes) {
    return Damaged(path, absl::StrCat("header size is ", header_bytes, ", expected ",
                                      kHeaderBytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<Section> DecodeSection(const std::byte* entry, size_t index,
                                      const std::string& path) {
  Section section;
  const uint32_t kind = LoadU32(entry);
  const uint32_t flags = LoadU32(entry + 4);
  section.kind = static_cast<SectionKind>(kind);
  section.optional = (flags & kSectionOptional) != 0;
  section.offset = LoadU64(entry + 8);
  section.bytes = LoadU64(entry + 16);
  section.xxh3 = LoadU64(entry + 24);
  if (!IsKnown(section.kind) && !section.optional) {
    return absl::UnimplementedError(
        absl::StrCat(path, ": header: section ", index, " is of kind ", kind,
                     ", which this version does not know and must not ignore"));
  }
  if ((flags & ~kSectionOptional) != 0) {
    return absl::UnimplementedError(absl::StrCat(path, ": header: section ", index, " has flags ",
                                                 flags, ", which this version does not know"));
  }
  if (IsHashedInPieces(section.kind) && section.xxh3 != 0) {
    return Damaged(path, absl::StrCat("section ", index, " (", SectionName(section.kind),
                                      ") has a hash, expected none"));
  }
  return section;
}

// Sections lie one after the other, each at the next multiple of kSectionAlignment.
absl::Status CheckTiling(const BundleHeader& header, const std::string& path) {
  uint64_t expected_offset = kHeaderBytes;
  for (size_t i = 0; i < header.sections.size(); ++i) {
    const Section& section = header.sections[i];
    const std::string what = absl::StrCat("section ", i, " (", SectionName(section.kind), ")");
    if (section.offset != expected_offset) {
      return Damaged(path, absl::StrCat(what, " is at ", section.offset, ", expected ",
                                        expected_offset));
    }
    const Checked end = (Checked(section.offset) + section.bytes).RoundUp(kSectionAlignment);
    if (section.bytes == 0 || !end.valid_and_at_most(header.file_bytes)) {
      return Damaged(path, absl::StrCat(what, " at ", section.offset, " has ", section.bytes,
                                        " bytes; the file has ", header.file_bytes));
    }
    expected_offset = end.value();
    for (size_t j = 0; j < i; ++j) {
      if (header.sections[j].kind == section.kind && IsKnown(section.kind)) {
        return Damaged(path, absl::StrCat(what, " has the kind of section ", j));
      }
    }
  }
  if (expected_offset != header.file_bytes) {
    return Damaged(path, absl::StrCat("the sections end at ", expected_offset, ", the file at ",
                                      header.file_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

const Section* BundleHeader::Find(SectionKind kind) const {
  for (const Section& section : sections) {
    if (section.kind == kind) return &section;
  }
  return nullptr;
}

absl::string_view SectionName(SectionKind kind) {
  switch (kind) {
    case SectionKind::kManifest:
      return "manifest";
    case SectionKind::kResident:
      return "resident";
    case SectionKind::kRecords:
      return "records";
    case SectionKind::kChecksums:
      return "checksums";
    case SectionKind::kTokenizer:
      return "tokenizer";
    case SectionKind::kPredictors:
      return "predictors";
  }
  return "unknown";
}

bool StartsWithMagic(absl::Span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

void EncodeHeader(const BundleHeader& header, absl::Span<std::byte> page) {
  std::byte* p = page.data();
  std::memset(p, 0, kHeaderBytes);
  std::memcpy(p + kMagicOffset, kMagic.data(), kMagic.size());
  StoreU32(header.major, p + kMajorOffset);
  StoreU32(header.minor, p + kMinorOffset);
  StoreU32(kHeaderBytes, p + kHeaderBytesOffset);
  StoreU32(static_cast<uint32_t>(header.sections.size()), p + kNumSectionsOffset);
  StoreU64(header.file_bytes, p + kFileBytesOffset);
  StoreU64(header.uuid, p + kUuidOffset);
  std::byte* entry = p + kSectionTableOffset;
  for (const Section& section : header.sections) {
    StoreU32(static_cast<uint32_t>(section.kind), entry);
    StoreU32(section.optional ? kSectionOptional : 0, entry + 4);
    StoreU64(section.offset, entry + 8);
    StoreU64(section.bytes, entry + 16);
    StoreU64(section.xxh3, entry + 24);
    entry += kSectionEntryBytes;
  }
  StoreU64(Xxh3(page.first(kChecksumOffset)), p + kChecksumOffset);
}

absl::StatusOr<BundleHeader> DecodeHeader(absl::Span<const std::byte> page,
                                          uint64_t actual_file_bytes, const std::string& path) {
  if (!StartsWithMagic(page)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a Sluice bundle file"));
  }
  if (page.size() < kHeaderBytes) {
    return Damaged(path, absl::StrCat("the file has ", actual_file_bytes,
                                      " bytes, the header alone needs ", kHeaderBytes));
  }
  SLUICE_RETURN_IF_ERROR(CheckPage(page, path));
  BundleHeader header;
  header.major = LoadU32(page.data() + kMajorOffset);
  header.minor = LoadU32(page.data() + kMinorOffset);
  header.file_bytes = LoadU64(page.data() + kFileBytesOffset);
  header.uuid = LoadU64(page.data() + kUuidOffset);
  if (header.file_bytes != actual_file_bytes) {
    return Damaged(path, absl::StrCat("the file has ", actual_file_bytes, " bytes, expected ",
                                      header.file_bytes, ": truncated, or still being copied?"));
  }
  const uint32_t num_sections = LoadU32(page.data() + kNumSectionsOffset);
  if (num_sections > kMaxSections) {
    return Damaged(path, absl::StrCat(num_sections, " sections, at most ", kMaxSections));
  }
  const size_t table_end = kSectionTableOffset + num_sections * kSectionEntryBytes;
  if (!AllZero(page.subspan(kUuidOffset + 8, kSectionTableOffset - kUuidOffset - 8)) ||
      !AllZero(page.subspan(table_end, kChecksumOffset - table_end))) {
    return Damaged(path, "a reserved byte is not zero");
  }
  for (size_t i = 0; i < num_sections; ++i) {
    const std::byte* entry = page.data() + kSectionTableOffset + i * kSectionEntryBytes;
    SLUICE_ASSIGN_OR_RETURN(Section section, DecodeSection(entry, i, path));
    header.sections.push_back(section);
  }
  SLUICE_RETURN_IF_ERROR(CheckTiling(header, path));
  if (header.Find(SectionKind::kManifest) == nullptr) {
    return Damaged(path, "there is no manifest section");
  }
  return header;
}

}  // namespace sluice
