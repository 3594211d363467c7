#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/convert/checkpoint_shard.h"
#include "lib/convert/torch_archive.h"
#include "lib/convert/zip_source.h"

namespace sluice {
namespace {

constexpr size_t kPieceBytes = 256 << 10;
// Deflate cannot do better; a directory that says so lies.
constexpr uint64_t kMaxDeflateRatio = 1032;
constexpr uint64_t kMaxByteorder = 16;

struct Entry {
  zip_uint64_t index;
  uint64_t bytes;
  bool compressed;
  bool crc_checked;
};

class TorchZip : public TorchArchive {
 public:
  static absl::StatusOr<std::unique_ptr<TorchArchive>> Open(const InputFile& file);
  explicit TorchZip(ZipArchive archive) : archive_(std::move(archive)) {}

  bool IsCompressed(size_t storage_idx) const override {
    return entries_[storage_idx].compressed;
  }
  absl::Status ReadStorage(size_t storage_idx, uint64_t offset,
                           absl::Span<std::byte> out) override;

 private:
  absl::Status ListEntries();
  absl::Status ReadObject();
  absl::StatusOr<Entry> FindEntry(absl::string_view name) const;
  absl::StatusOr<std::string> ReadSmall(absl::string_view name, uint64_t max_bytes);
  absl::Status CheckByteorder();
  absl::Status FindStorages();

  absl::Status OpenEntry(const Entry& entry);
  absl::Status CheckCrc(Entry* entry);
  absl::Status MoveTo(const Entry& entry, uint64_t offset);
  absl::Status ReadPiece(absl::Span<std::byte> out);

  ZipArchive archive_;
  std::string prefix_;  // of every name in the archive, with its '/'
  absl::flat_hash_map<std::string, zip_uint64_t> names_;
  std::vector<Entry> entries_;  // one for each storage
  AlignedBuffer piece_;

  // The one entry that is open.
  ZipFile open_;
  zip_uint64_t open_index_ = 0;
  uint64_t position_ = 0;
};

// torch writes <name>/..., one folder deep but for data/: anything else was made to confuse.
absl::Status CheckName(absl::string_view name) {
  bool leaves = name.empty() || name[0] == '/' || absl::StrContains(name, "\\");
  for (const absl::string_view part : absl::StrSplit(name, '/')) leaves = leaves || part == "..";
  if (!leaves) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("zip entry ", QuotedName(name), ": the name leaves the archive"));
}

absl::Status TorchZip::ListEntries() {
  constexpr absl::string_view kObject = "/data.pkl";
  const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const auto index = static_cast<zip_uint64_t>(i);
    const char* raw = zip_get_name(archive_.get(), index, ZIP_FL_ENC_RAW);
    const absl::string_view name = raw == nullptr ? "" : raw;
    SLUICE_RETURN_IF_ERROR(CheckName(name));
    if (!names_.try_emplace(std::string(name), index).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("zip entry ", QuotedName(name), " is there twice"));
    }
    const size_t slash = name.find('/');
    if (slash == absl::string_view::npos || name.substr(slash) != kObject) continue;
    if (!prefix_.empty()) return absl::InvalidArgumentError("two data.pkl in one archive");
    prefix_ = std::string(name.substr(0, slash + 1));
  }
  if (!prefix_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a zip archive of ", count, " entries without <name>/data.pkl"));
}

absl::StatusOr<Entry> TorchZip::FindEntry(absl::string_view name) const {
  const auto at = names_.find(absl::StrCat(prefix_, name));
  if (at == names_.end()) {
    return absl::NotFoundError(absl::StrCat("no zip entry ", QuotedName(name)));
  }
  zip_stat_t stat;
  zip_stat_init(&stat);
  constexpr zip_uint64_t kNeeded =
      ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD;
  if (zip_stat_index(archive_.get(), at->second, 0, &stat) != 0 ||
      (stat.valid & kNeeded) != kNeeded) {
    return absl::DataLossError(absl::StrCat("zip entry ", QuotedName(name), ": no description"));
  }
  const bool encrypted = (stat.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 &&
                         stat.encryption_method != ZIP_EM_NONE;
  if (encrypted || (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE)) {
    return absl::UnimplementedError(absl::StrCat("zip entry ", QuotedName(name),
                                                 encrypted ? ": encrypted" : ": compression ",
                                                 encrypted ? 0 : stat.comp_method));
  }
  const bool stored = stat.comp_method == ZIP_CM_STORE;
  const Checked most = stored ? Checked(stat.comp_size)
                              : Checked(stat.comp_size) * kMaxDeflateRatio;
  if ((stored && stat.size != stat.comp_size) || (most.valid() && stat.size > most.value())) {
    return absl::DataLossError(absl::StrCat("zip entry ", QuotedName(name), ": ", stat.size,
                                            " bytes cannot come from ", stat.comp_size));
  }
  return Entry{at->second, stat.size, !stored, false};
}

absl::Status TorchZip::OpenEntry(const Entry& entry) {
  open_.reset(zip_fopen_index(archive_.get(), entry.index, 0));
  position_ = 0;
  open_index_ = entry.index;
  if (open_ != nullptr) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("zip entry ", entry.index, ": ", zip_strerror(archive_.get())));
}

absl::Status TorchZip::ReadPiece(absl::Span<std::byte> out) {
  while (!out.empty()) {
    const zip_int64_t got = zip_fread(open_.get(), out.data(), out.size());
    if (got <= 0) {
      const std::string why = got == 0 ? "ends early" : zip_file_strerror(open_.get());
      const uint64_t at = position_;
      open_.reset();
      return absl::DataLossError(
          absl::StrCat("zip entry ", open_index_, ": at its byte ", at, ": ", why));
    }
    position_ += static_cast<uint64_t>(got);
    out.remove_prefix(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

// libzip compares the CRC when an entry has been read to its end without a jump.
absl::Status TorchZip::CheckCrc(Entry* entry) {
  SLUICE_RETURN_IF_ERROR(OpenEntry(*entry));
  while (position_ < entry->bytes) {
    const uint64_t bytes = std::min<uint64_t>(entry->bytes - position_, kPieceBytes);
    SLUICE_RETURN_IF_ERROR(ReadPiece(piece_.span().subspan(0, bytes)));
  }
  std::byte more;
  const zip_int64_t got = zip_fread(open_.get(), &more, 1);
  if (got != 0) {
    const std::string why = got > 0 ? "longer than the directory says"
                                    : zip_file_strerror(open_.get());
    open_.reset();
    return absl::DataLossError(absl::StrCat("zip entry ", entry->index, ": ", why));
  }
  entry->crc_checked = true;
  return OpenEntry(*entry);
}

absl::Status TorchZip::MoveTo(const Entry& entry, uint64_t offset) {
  if (open_ == nullptr || open_index_ != entry.index ||
      (entry.compressed && offset < position_)) {
    SLUICE_RETURN_IF_ERROR(OpenEntry(entry));
  }
  if (position_ == offset) return absl::OkStatus();
  if (!entry.compressed) {
    if (zip_fseek(open_.get(), static_cast<zip_int64_t>(offset), SEEK_SET) != 0) {
      return absl::DataLossError(absl::StrCat("zip entry ", entry.index, ": cannot seek to ",
                                              offset, ": ", zip_file_strerror(open_.get())));
    }
    position_ = offset;
    return absl::OkStatus();
  }
  while (position_ < offset) {
    const uint64_t bytes = std::min<uint64_t>(offset - position_, kPieceBytes);
    SLUICE_RETURN_IF_ERROR(ReadPiece(piece_.span().subspan(0, bytes)));
  }
  return absl::OkStatus();
}

absl::Status TorchZip::ReadStorage(size_t storage_idx, uint64_t offset,
                                   absl::Span<std::byte> out) {
  Entry& entry = entries_[storage_idx];
  if (!entry.crc_checked) SLUICE_RETURN_IF_ERROR(CheckCrc(&entry));
  SLUICE_RETURN_IF_ERROR(MoveTo(entry, offset));
  return ReadPiece(out);
}

absl::StatusOr<std::string> TorchZip::ReadSmall(absl::string_view name, uint64_t max_bytes) {
  SLUICE_ASSIGN_OR_RETURN(Entry entry, FindEntry(name));
  if (entry.bytes > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "zip entry ", QuotedName(name), ": ", entry.bytes, " bytes, at most ", max_bytes));
  }
  SLUICE_RETURN_IF_ERROR(CheckCrc(&entry));
  std::string text(entry.bytes, '\0');
  SLUICE_RETURN_IF_ERROR(
      ReadPiece(absl::MakeSpan(reinterpret_cast<std::byte*>(text.data()), text.size())));
  return text;
}

absl::Status TorchZip::CheckByteorder() {
  const absl::StatusOr<std::string> order = ReadSmall("byteorder", kMaxByteorder);
  // Written since PyTorch 2.1.
  if (absl::IsNotFound(order.status())) return absl::OkStatus();
  SLUICE_RETURN_IF_ERROR(order.status());
  if (*order == "little") return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("byte order ", QuotedName(*order)));
}

absl::Status TorchZip::FindStorages() {
  for (const TorchStorage& storage : state_.storages) {
    SLUICE_ASSIGN_OR_RETURN(const Entry entry, FindEntry(absl::StrCat("data/", storage.key)));
    if (entry.bytes != storage.bytes) {
      return absl::DataLossError(absl::StrCat("zip entry ",
                                              QuotedName(absl::StrCat("data/", storage.key)),
                                              ": expected ", storage.bytes, " bytes, found ",
                                              entry.bytes));
    }
    entries_.push_back(entry);
  }
  return absl::OkStatus();
}

absl::Status TorchZip::ReadObject() {
  SLUICE_ASSIGN_OR_RETURN(piece_, AlignedBuffer::Allocate(kPieceBytes));
  SLUICE_RETURN_IF_ERROR(ListEntries());
  SLUICE_RETURN_IF_ERROR(CheckByteorder());
  SLUICE_ASSIGN_OR_RETURN(const std::string bytes, ReadSmall("data.pkl", kMaxPickleBytes));
  SLUICE_ASSIGN_OR_RETURN(const Pickle pickle, Pickle::Parse(bytes, 0, TorchGlobals()));
  SLUICE_ASSIGN_OR_RETURN(state_, ReadTorchState(pickle));
  return FindStorages();
}

absl::StatusOr<std::unique_ptr<TorchArchive>> TorchZip::Open(const InputFile& file) {
  SLUICE_ASSIGN_OR_RETURN(ZipArchive zip, OpenZip(file));
  auto archive = std::make_unique<TorchZip>(std::move(zip));
  SLUICE_RETURN_IF_ERROR(archive->ReadObject());
  archive->names_.clear();
  return std::unique_ptr<TorchArchive>(std::move(archive));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TorchArchive>> OpenTorchZip(const InputFile& file) {
  return TorchZip::Open(file);
}

}  // namespace sluice
