#include "lib/format/part_set.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/io/file.h"

namespace sluice {
namespace {

// Offsets in the page, in bytes.
constexpr size_t kMajorAt = 8;
constexpr size_t kMinorAt = 12;
constexpr size_t kPageBytesAt = 16;
constexpr size_t kNumberAt = 20;
constexpr size_t kNumPartsAt = 24;
constexpr size_t kPartBytesAt = 32;
constexpr size_t kBundleBytesAt = 40;
constexpr size_t kUuidAt = 48;
constexpr size_t kSetAt = 56;
constexpr size_t kReservedAt = 64;
constexpr size_t kHashAt = kPartPageBytes - 8;  // of all bytes before it

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": part page: ", what));
}

// Whether the numbers make a set: sizes without overflow, and as many parts as they call for.
absl::Status CheckNumbers(const PartPage& part, const std::string& path) {
  const bool sizes_ok = part.part_bytes >= 2 * kPartPageBytes &&
                        part.part_bytes % kPartPageBytes == 0 &&
                        (Checked(part.part_bytes) * kMaxParts).valid() &&
                        part.bundle_bytes > 0 && part.bundle_bytes % kPartPageBytes == 0;
  if (!sizes_ok) {
    return Damaged(path, absl::StrCat("there are no parts of ", part.part_bytes, " bytes with ",
                                      part.bundle_bytes, " bytes in all"));
  }
  const uint64_t expected = NumParts(part.bundle_bytes, part.part_bytes);
  if (part.num_parts != expected || expected > kMaxParts) {
    return Damaged(path, absl::StrCat("says ", part.num_parts, " parts, its sizes ", expected,
                                      "; at most ", kMaxParts));
  }
  if (part.number < 1 || part.number > part.num_parts) {
    return Damaged(path, absl::StrCat("is number ", part.number, " of ", part.num_parts));
  }
  return absl::OkStatus();
}

// What of `found` does not go with `first`.
std::string Difference(const PartPage& first, uint32_t number, const PartPage& found) {
  const auto say = [](const char* what, uint64_t expected, uint64_t is) {
    return absl::StrCat(what, ": expected ", expected, ", found ", is);
  };
  if (found.number != number) return say("part number", number, found.number);
  if (found.num_parts != first.num_parts) {
    return say("number of parts", first.num_parts, found.num_parts);
  }
  if (found.part_bytes != first.part_bytes) {
    return say("bytes of a part", first.part_bytes, found.part_bytes);
  }
  if (found.bundle_bytes != first.bundle_bytes) {
    return say("bytes of all parts", first.bundle_bytes, found.bundle_bytes);
  }
  if (found.uuid != first.uuid) {
    return absl::StrCat("uuid: expected ", HashToHex(first.uuid), ", found ",
                        HashToHex(found.uuid));
  }
  if (found.set != first.set) {
    return absl::StrCat("checksum of the header: expected ", HashToHex(first.set), ", found ",
                        HashToHex(found.set));
  }
  return "";
}

absl::Status CheckPartFile(const StorageFile& file, const PartPage& first, uint32_t number,
                           const std::string& first_path) {
  if (number != 1) {
    SLUICE_ASSIGN_OR_RETURN(const PartPage found, ReadPartPage(file));
    const std::string difference = found.num_parts == 0
                                       ? std::string("it is no part of anything")
                                       : Difference(first, number, found);
    if (!difference.empty()) {
      return absl::DataLossError(absl::StrCat(file.path(), ": does not belong to ", first_path,
                                              ", ", difference));
    }
  }
  const uint64_t expected = first.bytes_of(number);
  if (file.size() == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(file.path(), ": part ", number, " of ", first.num_parts,
                                          " has ", file.size(), " bytes, expected ", expected,
                                          ": truncated, or still being copied?"));
}

// A part with the next number would be left over from another file: which of the two was meant?
absl::Status CheckNoMore(const std::string& path, const PartPage& first) {
  const std::string next = PartPath(path, first.num_parts + 1);
  if (!FileExists(next)) return absl::OkStatus();
  const auto file = StorageFile::Open(next);
  if (!file.ok()) return absl::OkStatus();
  const auto page = ReadPartPage(**file);
  if (page.ok() && page->num_parts == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(next, ": a part too many, ", path, " has ",
                                          first.num_parts, "; is it left over from another file?"));
}

}  // namespace

uint64_t PartPage::bytes_of(uint32_t n) const {
  return n < num_parts ? part_bytes
                       : kPartPageBytes + bundle_bytes - (num_parts - 1) * payload_bytes();
}

std::string PartPath(const std::string& first, uint32_t number) {
  return number == 1 ? first : absl::StrCat(first, ".", number);
}

absl::Status CheckPartBytes(uint64_t part_bytes) {
  if (part_bytes == 0 || part_bytes >= kMinPartBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("parts of ", part_bytes,
                                                 " bytes are too small: at least ",
                                                 kMinPartBytes));
}

uint64_t NumParts(uint64_t bundle_bytes, uint64_t part_bytes) {
  const uint64_t payload = part_bytes - kPartPageBytes;
  return bundle_bytes / payload + (bundle_bytes % payload != 0 ? 1 : 0);
}

bool StartsWithPartMagic(absl::Span<const std::byte> bytes) {
  return bytes.size() >= kPartMagic.size() &&
         std::memcmp(bytes.data(), kPartMagic.data(), kPartMagic.size()) == 0;
}

void EncodePartPage(const PartPage& part, absl::Span<std::byte> page) {
  std::byte* p = page.data();
  std::memset(p, 0, kPartPageBytes);
  std::memcpy(p, kPartMagic.data(), kPartMagic.size());
  StoreU32(PartPage::kMajorVersion, p + kMajorAt);
  StoreU32(0, p + kMinorAt);
  StoreU32(kPartPageBytes, p + kPageBytesAt);
  StoreU32(part.number, p + kNumberAt);
  StoreU32(part.num_parts, p + kNumPartsAt);
  StoreU64(part.part_bytes, p + kPartBytesAt);
  StoreU64(part.bundle_bytes, p + kBundleBytesAt);
  StoreU64(part.uuid, p + kUuidAt);
  StoreU64(part.set, p + kSetAt);
  StoreU64(Xxh3(page.first(kHashAt)), p + kHashAt);
}

absl::StatusOr<PartPage> DecodePartPage(absl::Span<const std::byte> page,
                                        const std::string& path) {
  if (page.size() < kPartPageBytes) {
    return Damaged(path, absl::StrCat("the file has ", page.size(), " bytes, the page alone ",
                                      kPartPageBytes));
  }
  const std::byte* p = page.data();
  const uint64_t expected = LoadU64(p + kHashAt), found = Xxh3(page.first(kHashAt));
  if (expected != found) {
    return Damaged(path, absl::StrCat("checksum of bytes 0 to ", kHashAt - 1, " is ",
                                      HashToHex(found), ", expected ", HashToHex(expected)));
  }
  const uint32_t major = LoadU32(p + kMajorAt);
  if (major != PartPage::kMajorVersion) {
    return absl::UnimplementedError(absl::StrCat(
        path, ": parts of version ", major, ".", LoadU32(p + kMinorAt), "; this library reads ",
        PartPage::kMajorVersion, ".x: use a newer Sluice or convert again"));
  }
  if (LoadU32(p + kPageBytesAt) != kPartPageBytes || LoadU32(p + kNumPartsAt + 4) != 0 ||
      !AllZero(page.subspan(kReservedAt, kHashAt - kReservedAt))) {
    return Damaged(path, "another size than expected, or a reserved byte that is not zero");
  }
  PartPage part;
  part.number = LoadU32(p + kNumberAt);
  part.num_parts = LoadU32(p + kNumPartsAt);
  part.part_bytes = LoadU64(p + kPartBytesAt);
  part.bundle_bytes = LoadU64(p + kBundleBytesAt);
  part.uuid = LoadU64(p + kUuidAt);
  part.set = LoadU64(p + kSetAt);
  SLUICE_RETURN_IF_ERROR(CheckNumbers(part, path));
  return part;
}

absl::StatusOr<PartPage> ReadPartPage(const StorageFile& file) {
  std::byte page[kPartPageBytes];
  const auto bytes =
      absl::MakeSpan(page, static_cast<size_t>(std::min<uint64_t>(kPartPageBytes, file.size())));
  if (!bytes.empty()) SLUICE_RETURN_IF_ERROR(file.ReadAt(0, bytes));
  PartPage none;
  none.num_parts = 0;
  if (!StartsWithPartMagic(bytes)) return none;
  return DecodePartPage(bytes, file.path());
}

absl::StatusOr<BundleStorage> OpenBundleStorage(const std::string& path) {
  BundleStorage bundle;
  SLUICE_ASSIGN_OR_RETURN(bundle.storage, StorageFile::Open(path));
  SLUICE_ASSIGN_OR_RETURN(bundle.first, ReadPartPage(*bundle.storage));
  const PartPage& first = bundle.first;
  if (first.num_parts == 0) {
    bundle.first = {};
    return bundle;
  }
  if (first.number != 1) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is part ", first.number, " of ",
                                                   first.num_parts, "; name the first one"));
  }
  std::vector<StorageFile::Part> parts;
  for (uint32_t number = 1; number <= first.num_parts; ++number) {
    const std::string part_path = PartPath(path, number);
    absl::StatusOr<std::shared_ptr<StorageFile>> file =
        number == 1 ? std::move(bundle.storage) : StorageFile::Open(part_path);
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(absl::StrCat(part_path, ": is missing, part ", number, " of ",
                                              first.num_parts, " of ", path));
    }
    SLUICE_RETURN_IF_ERROR(file.status());
    SLUICE_RETURN_IF_ERROR(CheckPartFile(**file, first, number, path));
    parts.push_back({*std::move(file), kPartPageBytes, first.bytes_of(number) - kPartPageBytes});
  }
  SLUICE_RETURN_IF_ERROR(CheckNoMore(path, first));
  bundle.storage = StorageFile::Join(std::move(parts), path);
  return bundle;
}

}  // namespace sluice
