// The two forms of a file that torch.save writes, behind one door.
#ifndef SLUICE_LIB_CONVERT_TORCH_ARCHIVE_H_
#define SLUICE_LIB_CONVERT_TORCH_ARCHIVE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/convert/torch_state.h"
#include "lib/io/file.h"

namespace sluice {

// The pickle of a published shard has 250 bytes for each tensor.
inline constexpr uint64_t kMaxPickleBytes = 32 << 20;

// Threads: one at a time.
class TorchArchive {
 public:
  virtual ~TorchArchive() = default;
  const TorchState& state() const { return state_; }
  // Whether reading backwards in a storage means to unpack it from its beginning again.
  virtual bool IsCompressed(size_t storage_idx) const { return false; }
  // Bytes [offset, offset + out.size()) of a storage, within its size.
  virtual absl::Status ReadStorage(size_t storage_idx, uint64_t offset,
                                   absl::Span<std::byte> out) = 0;

 protected:
  TorchState state_;
};

// Since PyTorch 1.6: a zip archive with <name>/data.pkl and a file for each storage. Every storage
// is there with its full size; its CRC is checked when it is first read, in a pass of its own.
// `file` must outlive the archive.
absl::StatusOr<std::unique_ptr<TorchArchive>> OpenTorchZip(const InputFile& file);

// Before: five pickles and then the storages. The lengths add up to the file's.
absl::StatusOr<std::unique_ptr<TorchArchive>> OpenTorchLegacy(const InputFile& file);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_TORCH_ARCHIVE_H_
