#include "lib/loader/layer_reads.h"

#include <algorithm>

namespace sluice {

LayerReads::LayerReads(size_t max_records) : max_records_(max_records) {
  records_.reserve(max_records);
  ids_.reserve(max_records);
  planned_.reserve(max_records);
  extents_.reserve(max_records);
  progress_.reserve(max_records);
  segments_.reserve(2 * max_records);  // a gap behind each record, or two halves
  reads_.reserve(2 * max_records);
  landed_.reserve(max_records);
}

uint64_t LayerReads::BytesFor(uint32_t max_records) {
  return max_records * (sizeof(RecordRead) + 2 * sizeof(uint32_t) + 2 * sizeof(Extent) +
                        sizeof(Progress) + 2 * sizeof(IoSegment) + 2 * sizeof(IoRead));
}

bool LayerReads::HasRoomFor(size_t records) const {
  return records <= max_records_ - records_.size();
}

void LayerReads::Begin(uint32_t layer) {
  layer_ = layer;
  pending_ = 0;
  next_landed_ = 0;
  num_landed_ = 0;
  records_.clear();
  extents_.clear();
  progress_.clear();
  segments_.clear();
  reads_.clear();
  landed_.clear();
}

uint64_t LayerReads::Add(const RecordLayout& layout, absl::Span<const RecordRead> wanted,
                         const ReadRules& rules, uint64_t tag_base,
                         absl::Span<const IoRead>* reads) {
  const auto first_record = static_cast<uint32_t>(records_.size());
  const size_t first_read = reads_.size();
  ids_.clear();
  for (const RecordRead& read : wanted) {
    ids_.push_back(read.record);
    records_.push_back(read);
  }
  const bool join = rules.join && !rules.split_bundles;
  PlanExtents(ids_, layout.record_bytes, join ? rules.max_extent_bytes : 1, &planned_);
  const bool bridge = join && rules.costs != nullptr;
  const uint64_t gaps = bridge ? BridgeGaps(ids_, *rules.costs, &planned_) : 0;
  for (Extent extent : planned_) {
    extent.first += first_record;
    const uint64_t tag = tag_base + extents_.size();
    extents_.push_back(extent);
    progress_.emplace_back();
    AddReads(layout, extent, rules, tag);
  }
  pending_ += wanted.size();
  *reads = absl::MakeConstSpan(reads_).subspan(first_read);
  return gaps;
}

// `segments_` has room for two to a record, so those of earlier reads stay where they are.
void LayerReads::AddReads(const RecordLayout& layout, const Extent& extent,
                          const ReadRules& rules, uint64_t tag) {
  const size_t first_segment = segments_.size();
  const uint64_t offset = layout.record_offset(records_[extent.first].record);
  if (rules.split_bundles) {
    const size_t half = layout.down_offset(0);
    std::byte* const data = records_[extent.first].destination;
    segments_.push_back({data, half});
    segments_.push_back({data + half, layout.record_bytes - half});
    const auto segments = absl::MakeConstSpan(segments_).subspan(first_segment);
    reads_.push_back({offset, segments.first(1), tag});
    reads_.push_back({offset + half, segments.last(1), tag});
    progress_.back().parts_left = 2;
    return;
  }
  for (uint32_t i = extent.first; i < extent.first + extent.count; ++i) {
    const uint32_t gap =
        i == extent.first ? 0 : records_[i].record - records_[i - 1].record - 1;
    if (gap > 0) segments_.push_back({rules.sink, gap * size_t{layout.record_bytes}});
    const bool adjacent =
        segments_.size() > first_segment &&
        segments_.back().data + segments_.back().bytes == records_[i].destination;
    if (adjacent) {
      segments_.back().bytes += layout.record_bytes;
    } else {
      segments_.push_back({records_[i].destination, layout.record_bytes});
    }
  }
  reads_.push_back({offset, absl::MakeConstSpan(segments_).subspan(first_segment), tag});
  progress_.back().parts_left = 1;
}

bool LayerReads::Land(uint64_t tag, const absl::Status& status) {
  if (tag >= progress_.size() || progress_[tag].parts_left == 0) return false;
  Progress& progress = progress_[tag];
  if (progress.status.ok()) progress.status = status;
  if (--progress.parts_left > 0) return true;
  landed_.push_back(static_cast<uint32_t>(tag));
  num_landed_ += extents_[tag].count;
  return true;
}

LayerReads::Piece LayerReads::Take() {
  const uint32_t index = landed_[next_landed_++];
  const Extent& extent = extents_[index];
  pending_ -= extent.count;
  num_landed_ -= extent.count;
  const auto records = absl::MakeConstSpan(records_).subspan(extent.first, extent.count);
  return {records, &progress_[index].status,
          records.back().record - records.front().record + 1};
}

}  // namespace sluice
