// Opens arbitrary bytes as a bundle file and reads everything in it. Four kinds of input, told
// apart by the first byte:
//   'R'  the rest is a bundle file whose size, section hashes and header checksum are made to fit,
//        so that mutations reach what lies behind the checksums
//   'P'  the rest is a part with its page; page and bundle file are made to fit
//   'J'  the rest is a manifest; sections of fixed sizes are put in front of it (see JsonFile)
//   else the input is the file
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/checked.h"
#include "lib/format/bundle_file.h"
#include "lib/format/bundle_header.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/format/part_set.h"

namespace {

using sluice::AsBytes;
using sluice::BundleFile;
using sluice::Section;
using sluice::SectionKind;

constexpr uint64_t kPage = sluice::kSectionAlignment;
// Larger inputs find nothing that these do not.
constexpr size_t kMaxInputBytes = 1u << 20;

std::byte* MutableBytes(std::string* text) { return reinterpret_cast<std::byte*>(text->data()); }

bool IsHashedWhole(SectionKind kind) {
  return kind == SectionKind::kManifest || kind == SectionKind::kChecksums ||
         kind == SectionKind::kTokenizer;
}

std::string RepairedFile(std::string file) {
  file.resize(std::max<uint64_t>(sluice::RoundUp(file.size(), kPage), sluice::kHeaderBytes));
  std::byte* page = MutableBytes(&file);
  sluice::StoreU64(file.size(), page + sluice::kFileBytesOffset);
  const uint32_t num_sections = sluice::LoadU32(page + sluice::kNumSectionsOffset);
  for (size_t i = 0; i < std::min<size_t>(num_sections, sluice::kMaxSections); ++i) {
    std::byte* entry = page + sluice::kSectionTableOffset + i * sluice::kSectionEntryBytes;
    const auto kind = static_cast<SectionKind>(sluice::LoadU32(entry));
    const uint64_t offset = sluice::LoadU64(entry + 8);
    const uint64_t bytes = sluice::LoadU64(entry + 16);
    if (!IsHashedWhole(kind) || offset > file.size() || bytes > file.size() - offset) continue;
    sluice::StoreU64(sluice::Xxh3(AsBytes(file).subspan(offset, bytes)), entry + 24);
  }
  const uint64_t checksum = sluice::Xxh3(AsBytes(file).first(sluice::kChecksumOffset));
  sluice::StoreU64(checksum, page + sluice::kChecksumOffset);
  return file;
}

// Pages: 0 header, 1-2 resident, 3-6 records, 7 checksums of four records, 8 predictors,
// 9 manifest; all zero but header and manifest, and uuid 0.
std::string JsonFile(const std::string& manifest) {
  sluice::BundleHeader header;
  const auto add = [&](SectionKind kind, uint64_t offset, uint64_t bytes) {
    Section section;
    section.kind = kind;
    section.offset = offset;
    section.bytes = bytes;
    header.sections.push_back(section);
  };
  add(SectionKind::kResident, 1 * kPage, 2 * kPage);
  add(SectionKind::kRecords, 3 * kPage, 4 * kPage);
  add(SectionKind::kChecksums, 7 * kPage, 4 * sizeof(uint64_t));
  add(SectionKind::kPredictors, 8 * kPage, kPage);
  add(SectionKind::kManifest, 9 * kPage, manifest.size());
  std::string file(9 * kPage, '\0');
  file += manifest;
  sluice::EncodeHeader(header, {MutableBytes(&file), sluice::kHeaderBytes});
  return RepairedFile(std::move(file));
}

// What the numbers of the page say stays as it is.
std::string RepairedPart(std::string file) {
  file.resize(std::max(file.size(), sluice::kPartPageBytes));
  file = file.substr(0, sluice::kPartPageBytes) +
         RepairedFile(file.substr(sluice::kPartPageBytes));
  std::byte* page = MutableBytes(&file);
  const std::byte* header = page + sluice::kPartPageBytes;
  std::memcpy(page, sluice::kPartMagic.data(), sluice::kPartMagic.size());
  std::memcpy(page + 48, header + sluice::kUuidOffset, 8);
  std::memcpy(page + 56, header + sluice::kChecksumOffset, 8);
  const uint64_t hash = sluice::Xxh3(AsBytes(file).first(sluice::kPartPageBytes - 8));
  sluice::StoreU64(hash, page + sluice::kPartPageBytes - 8);
  return file;
}

// Whatever passed Open() can be read: damage is found, nothing lies outside the file.
void Require(const absl::Status& status) {
  if (!status.ok() && !absl::IsDataLoss(status)) std::abort();
}

void ReadAll(const BundleFile& file) {
  std::vector<std::byte> data;
  for (const sluice::TensorEntry& tensor : file.tensors()) {
    data.resize(tensor.bytes);
    Require(file.ReadTensor(tensor, absl::MakeSpan(data)));
    if (file.FindTensor(tensor.name) != &tensor) std::abort();
  }
  for (uint32_t layer = 0; layer < file.layers().size(); ++layer) {
    const sluice::RecordLayout& layout = file.layers()[layer];
    data.resize(layout.record_bytes);
    for (uint32_t record = 0; record < layout.num_records; ++record) {
      const absl::Status read =
          file.storage()->ReadAt(layout.record_offset(record), absl::MakeSpan(data));
      if (!read.ok()) std::abort();
      Require(file.VerifyRecord(layer, record, data));
    }
    const uint32_t last = layout.num_neurons - 1;
    if (layout.record_of(last) != layout.num_records - 1) std::abort();
    if (layout.down_offset(last) + layout.row_bytes() > layout.record_bytes) std::abort();
  }
  Require(file.ReadTokenizer().status());
  if (!sluice::VerifyBundle(file, {}).ok()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = memfd_create("bundle_fuzz", MFD_CLOEXEC);
  if (fd < 0) std::abort();
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  std::string content(reinterpret_cast<const char*>(data), std::min(size, kMaxInputBytes));
  if (!content.empty() && content[0] == 'R') {
    content = RepairedFile(content.substr(1));
  } else if (!content.empty() && content[0] == 'P') {
    content = RepairedPart(content.substr(1));
  } else if (!content.empty() && content[0] == 'J') {
    content = JsonFile(content.substr(1));
  }
  if (ftruncate(fd, 0) != 0 ||
      pwrite(fd, content.data(), content.size(), 0) != static_cast<ssize_t>(content.size())) {
    std::abort();
  }
  const auto file = BundleFile::Open(path);
  if (file.ok()) ReadAll(**file);
  return 0;
}
