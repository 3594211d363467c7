#include "lib/convert/torch_bin.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/status_macros.h"
#include "lib/convert/torch_archive.h"

namespace sluice {
namespace {

constexpr size_t kScratchBytes = 1 << 20;
// A compressed storage is unpacked from its beginning whenever a read goes back in it. That is
// bearable up to this size, and torch never compresses.
constexpr uint64_t kMaxCompressedStrided = 64 << 20;

constexpr absl::string_view kZipMagic("PK\x03\x04", 4);
constexpr uint8_t kPickleProto = 0x80;
constexpr size_t kTarMagicAt = 257;
constexpr absl::string_view kTarMagic = "ustar";

class TorchShard : public CheckpointShard {
 public:
  static absl::StatusOr<std::unique_ptr<CheckpointShard>> Open(const std::string& path);
  absl::Status Read(size_t tensor_idx, uint64_t first, uint64_t count,
                    absl::Span<std::byte> out) override;

 private:
  absl::Status OpenArchive();
  absl::Status AddTensors();

  std::unique_ptr<InputFile> file_;
  std::unique_ptr<TorchArchive> archive_;  // reads file_
  AlignedBuffer scratch_;                  // for strided tensors
};

absl::Status TorchShard::OpenArchive() {
  SLUICE_RETURN_IF_ERROR(RefuseLfsPointer(*file_));
  std::string head(std::min<uint64_t>(file_->size(), kTarMagicAt + kTarMagic.size()), '\0');
  SLUICE_RETURN_IF_ERROR(file_->ReadAt(
      0, absl::MakeSpan(reinterpret_cast<std::byte*>(head.data()), head.size())));
  const absl::string_view view = head;
  if (view.substr(0, kZipMagic.size()) == kZipMagic) {
    SLUICE_ASSIGN_OR_RETURN(archive_, OpenTorchZip(*file_));
    return absl::OkStatus();
  }
  if (!view.empty() && static_cast<uint8_t>(view[0]) == kPickleProto) {
    SLUICE_ASSIGN_OR_RETURN(archive_, OpenTorchLegacy(*file_));
    return absl::OkStatus();
  }
  if (view.size() > kTarMagicAt && view.substr(kTarMagicAt) == kTarMagic) {
    return absl::UnimplementedError(
        "the tar form of PyTorch 0.1: load it there and save it again");
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "expected a zip archive or a pickle of torch.save, found neither in ", file_->size(),
      " bytes"));
}

absl::Status TorchShard::AddTensors() {
  skipped_ = archive_->state().skipped;
  for (const TorchTensor& tensor : archive_->state().tensors) {
    const TorchStorage& storage = archive_->state().storages[tensor.storage_idx];
    if (!IsContiguous(tensor.view) && archive_->IsCompressed(tensor.storage_idx) &&
        storage.bytes > kMaxCompressedStrided) {
      return absl::UnimplementedError(
          absl::StrCat("tensor ", QuotedName(tensor.name), ": strided in a compressed storage of ",
                       storage.bytes, " bytes: save it uncompressed or contiguous"));
    }
    tensors_.push_back({tensor.name, tensor.type, tensor.view.shape, tensor.elements,
                        file_->path()});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CheckpointShard>> TorchShard::Open(const std::string& path) {
  auto shard = std::make_unique<TorchShard>();
  SLUICE_ASSIGN_OR_RETURN(shard->file_, InputFile::Open(path));
  SLUICE_RETURN_IF_ERROR(Annotate(shard->OpenArchive(), path));
  SLUICE_RETURN_IF_ERROR(Annotate(shard->AddTensors(), path));
  return std::unique_ptr<CheckpointShard>(std::move(shard));
}

absl::Status TorchShard::Read(size_t tensor_idx, uint64_t first, uint64_t count,
                              absl::Span<std::byte> out) {
  const TorchTensor& tensor = archive_->state().tensors[tensor_idx];
  if (scratch_.size() == 0 && !IsContiguous(tensor.view)) {
    SLUICE_ASSIGN_OR_RETURN(scratch_, AlignedBuffer::Allocate(kScratchBytes));
  }
  const auto read = [&](uint64_t offset, absl::Span<std::byte> piece) {
    return archive_->ReadStorage(tensor.storage_idx, offset, piece);
  };
  return Annotate(ReadView(tensor.view, first, count, read, scratch_.span(), out),
                  file_->path());
}

}  // namespace

absl::StatusOr<std::unique_ptr<CheckpointShard>> OpenTorchBin(const std::string& path) {
  return TorchShard::Open(path);
}

}  // namespace sluice
