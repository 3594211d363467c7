#include "lib/format/bundle_output.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/format/part_set.h"

namespace sluice {
namespace {

// The page of a part that is there; num_parts 0 where there is none, or something else.
PartPage PageOf(const std::string& path) {
  PartPage none;
  none.num_parts = 0;
  if (!FileExists(path)) return none;
  const auto file = StorageFile::Open(path);
  if (!file.ok()) return none;
  const auto page = ReadPartPage(**file);
  return page.ok() ? *page : none;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BundleOutput>> BundleOutput::Create(const std::string& final_path,
                                                                   uint64_t part_bytes) {
  if (absl::Status status = CheckPartBytes(part_bytes); !status.ok()) {
    return Annotate(status, final_path);
  }
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<AtomicFile> first, AtomicFile::Create(final_path));
  return std::unique_ptr<BundleOutput>(
      new BundleOutput(std::move(first), part_bytes / kPartPageBytes * kPartPageBytes));
}

BundleOutput::BundleOutput(std::unique_ptr<AtomicFile> first, uint64_t part_bytes)
    : part_bytes_(part_bytes) {
  files_.push_back(std::move(first));
}

uint64_t BundleOutput::payload_bytes() const { return part_bytes_ - kPartPageBytes; }

absl::Status BundleOutput::NeedParts(uint64_t part) {
  if (part >= kMaxParts) {
    return absl::InvalidArgumentError(
        absl::StrCat(final_path(), ": more than ", kMaxParts, " parts of ", part_bytes_,
                     " bytes; choose a larger size"));
  }
  while (files_.size() <= part) {
    SLUICE_ASSIGN_OR_RETURN(
        std::unique_ptr<AtomicFile> file,
        files_[0]->CreateSibling(absl::StrCat(".", files_.size() + 1)));
    files_.push_back(std::move(file));
  }
  return absl::OkStatus();
}

absl::Status BundleOutput::ForEachPart(
    uint64_t offset, uint64_t bytes,
    absl::FunctionRef<absl::Status(size_t part, uint64_t at, uint64_t from, uint64_t count)> use)
    const {
  if (part_bytes_ == 0) return use(0, offset, 0, bytes);
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t part = (offset + done) / payload_bytes();
    const uint64_t within = (offset + done) % payload_bytes();
    const uint64_t count = std::min(bytes - done, payload_bytes() - within);
    SLUICE_RETURN_IF_ERROR(use(part, kPartPageBytes + within, done, count));
    done += count;
  }
  return absl::OkStatus();
}

absl::Status BundleOutput::Reserve(uint64_t bytes) {
  if (part_bytes_ != 0 && bytes != 0) {
    SLUICE_RETURN_IF_ERROR(NeedParts((bytes - 1) / payload_bytes()));
  }
  return ForEachPart(0, bytes, [&](size_t part, uint64_t at, uint64_t, uint64_t count) {
    return files_[part]->Reserve(at + count);
  });
}

absl::Status BundleOutput::WriteAt(uint64_t offset, absl::Span<const std::byte> data) {
  return ForEachPart(offset, data.size(),
                     [&](size_t part, uint64_t at, uint64_t from, uint64_t count) {
                       SLUICE_RETURN_IF_ERROR(NeedParts(part));
                       return files_[part]->WriteAt(at, data.subspan(from, count));
                     });
}

absl::Status BundleOutput::ReadAt(uint64_t offset, absl::Span<std::byte> out) const {
  return ForEachPart(offset, out.size(),
                     [&](size_t part, uint64_t at, uint64_t from, uint64_t count) -> absl::Status {
                       if (part < files_.size()) {
                         return files_[part]->ReadAt(at, out.subspan(from, count));
                       }
                       return absl::DataLossError(absl::StrCat(
                           final_path(), ": nothing was written at offset ", offset + from));
                     });
}

// Bytes that were never written read as zeros then, as those of a single file do.
absl::Status BundleOutput::Truncate(uint64_t bytes) {
  if (part_bytes_ == 0) return files_[0]->Truncate(bytes);
  const uint64_t count = std::max<uint64_t>(NumParts(bytes, part_bytes_), 1);
  SLUICE_RETURN_IF_ERROR(NeedParts(count - 1));
  files_.resize(count);  // what is dropped is removed
  for (uint64_t i = 0; i + 1 < count; ++i) SLUICE_RETURN_IF_ERROR(files_[i]->Truncate(part_bytes_));
  return files_.back()->Truncate(kPartPageBytes + bytes - (count - 1) * payload_bytes());
}

absl::Status BundleOutput::CopyFrom(const std::string& path, uint32_t num_parts) {
  SLUICE_RETURN_IF_ERROR(NeedParts(num_parts - 1));
  for (uint32_t i = 0; i < num_parts; ++i) {
    SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<InputFile> source,
                            InputFile::Open(PartPath(path, i + 1)));
    SLUICE_RETURN_IF_ERROR(files_[i]->CopyFrom(*source, source->size()));
  }
  return absl::OkStatus();
}

absl::Status BundleOutput::Seal(uint64_t uuid, uint64_t set, uint64_t bundle_bytes) {
  if (part_bytes_ == 0) return absl::OkStatus();
  PartPage part;
  part.num_parts = num_parts();
  part.part_bytes = part_bytes_;
  part.bundle_bytes = bundle_bytes;
  part.uuid = uuid;
  part.set = set;
  for (part.number = 1; part.number <= part.num_parts; ++part.number) {
    std::byte page[kPartPageBytes];
    EncodePartPage(part, page);
    SLUICE_RETURN_IF_ERROR(files_[part.number - 1]->WriteAt(0, page));
  }
  return absl::OkStatus();
}

absl::Status BundleOutput::CommitParts() {
  for (const auto& file : files_) SLUICE_RETURN_IF_ERROR(file->Sync());
  for (size_t i = files_.size(); i-- > 0;) SLUICE_RETURN_IF_ERROR(files_[i]->Commit());
  return absl::OkStatus();
}

absl::Status BundleOutput::Commit() {
  const std::string& path = final_path();
  const PartPage old = PageOf(path);
  const PartPage next = PageOf(PartPath(path, num_parts() + 1));
  if (part_bytes_ != 0 && next.num_parts != 0 && (old.num_parts == 0 || next.set != old.set)) {
    return absl::InvalidArgumentError(
        absl::StrCat(PartPath(path, num_parts() + 1), ": a part of another file is in the way; ",
                     "it would be taken for one of ", path, ": remove it"));
  }
  if (absl::Status status = CommitParts(); !status.ok()) {
    // In place, and only not known to be on the device: then it stays, as a single file does.
    const bool whole = files_[0]->committed();
    for (size_t i = 1; i < files_.size() && !whole; ++i) files_[i]->Retract();
    return status;
  }
  // Of the file that was replaced, and only what says so of itself.
  for (uint32_t number = num_parts() + 1; number <= old.num_parts; ++number) {
    const std::string left = PartPath(path, number);
    const PartPage page = PageOf(left);
    if (page.num_parts != 0 && page.set == old.set && page.uuid == old.uuid) RemoveFile(left);
  }
  return absl::OkStatus();
}

}  // namespace sluice
