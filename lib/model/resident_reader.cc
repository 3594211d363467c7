#include "lib/model/resident_reader.h"

#include <algorithm>
#include <utility>

#include "lib/base/aligned_buffer.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"

namespace sluice {
namespace {

// Large enough for the full rate of any device that we know of.
constexpr uint64_t kPieceBytes = 1 << 20;

}  // namespace

ResidentReader::ResidentReader(const BundleFile& file, const Weights& weights,
                               std::unique_ptr<IoEngine> engine)
    : reader_(std::move(engine), file.path()) {
  std::vector<uint64_t> offsets;
  for (const Weights::Loaded& loaded : weights.loaded()) {
    // The file is padded to whole pages, and so is the memory.
    const uint64_t total = RoundUp(loaded.memory.size(), kIoAlignment);
    for (uint64_t at = 0; at < total; at += kPieceBytes) {
      offsets.push_back(loaded.offset + at);
      segments_.push_back({loaded.memory.data() + at, std::min(kPieceBytes, total - at)});
    }
    bytes_ += total;
  }
  for (size_t i = 0; i < segments_.size(); ++i) {
    reads_.push_back({offsets[i], absl::MakeConstSpan(segments_).subspan(i, 1), i});
  }
}

absl::Status ResidentReader::ReadAll() {
  absl::Status status = reader_.Start(reads_);
  while (status.ok() && reader_.outstanding() > 0) {
    finished_.clear();
    status = reader_.Wait(&finished_);
    for (const FinishedRead& read : finished_) status.Update(read.status);
  }
  if (!status.ok()) reader_.Drain();
  return status;
}

}  // namespace sluice
