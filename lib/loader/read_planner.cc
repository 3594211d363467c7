#include "lib/loader/read_planner.h"

#include <algorithm>

namespace sluice {
namespace {

// Whether two reads of any number of records each gain by reading through `gap` records.
bool CanPay(const ReadCosts& costs, uint32_t gap) {
  for (uint32_t left = 1; left + gap + 1 <= costs.max_span(); ++left) {
    for (uint32_t right = left; left + gap + right <= costs.max_span(); ++right) {
      if (costs.Pays(left, gap, right)) return true;
    }
  }
  return false;
}

// Keeps the account of one request.
class Bridge {
 public:
  Bridge(absl::Span<const uint32_t> records, const ReadCosts& costs)
      : records_(records),
        costs_(costs),
        max_gap_records_((kMaxReadRatio - 1) * static_cast<double>(records.size())) {}

  uint64_t gap_records() const { return gap_records_; }

  uint32_t GapBetween(const Extent& left, const Extent& right) const {
    return records_[right.first] - records_[left.first + left.count - 1] - 1;
  }

  // Joins `right`, which lies `gap` records behind, to `left` if that pays.
  bool TryJoin(uint32_t gap, const Extent& right, Extent* left) {
    const uint32_t a = SpanOf(*left, records_);
    const uint32_t b = SpanOf(right, records_);
    const uint64_t together = uint64_t{a} + gap + b;
    if (together > costs_.max_span()) return false;
    if (!costs_.Pays(a, gap, b)) return false;
    const double apart_us = costs_.us(a) + costs_.us(b);
    const double saved_us = apart_us - costs_.us(static_cast<uint32_t>(together));
    const bool within = static_cast<double>(gap_records_ + gap) <= max_gap_records_;
    if (!within && saved_us < kLargeGain * apart_us) return false;
    gap_records_ += gap;
    left->count += right.count;
    return true;
  }

 private:
  const absl::Span<const uint32_t> records_;
  const ReadCosts& costs_;
  const double max_gap_records_;
  uint64_t gap_records_ = 0;
};

}  // namespace

uint32_t MaxSpan(uint64_t record_bytes, uint64_t max_extent_bytes) {
  return static_cast<uint32_t>(std::clamp<uint64_t>(
      max_extent_bytes / std::max<uint64_t>(record_bytes, 1), 1, IoEngine::kMaxSegments));
}

void PlanExtents(absl::Span<const uint32_t> records, uint64_t record_bytes,
                 uint64_t max_extent_bytes, std::vector<Extent>* extents) {
  extents->clear();
  const uint32_t most = MaxSpan(record_bytes, max_extent_bytes);
  for (size_t i = 0; i < records.size(); ++i) {
    const bool joins = !extents->empty() && extents->back().count < most &&
                       records[i] == records[i - 1] + 1;
    if (joins) {
      ++extents->back().count;
    } else {
      extents->push_back({static_cast<uint32_t>(i), 1});
    }
  }
}

ReadCosts::ReadCosts(const DeviceCurve& curve, uint64_t record_bytes, uint64_t max_extent_bytes)
    : record_bytes_(record_bytes), us_(MaxSpan(record_bytes, max_extent_bytes) + 1, 0.0) {
  for (size_t records = 1; records < us_.size(); ++records) {
    us_[records] = curve.CostUs(records * record_bytes);
  }
  // A single record fits no span that leaves room for a gap and a neighbour.
  const uint64_t most = std::min<uint64_t>(kMaxGapBytes / std::max<uint64_t>(record_bytes, 1),
                                           us_.size() < 4 ? 0 : us_.size() - 3);
  // A larger gap never pays where a smaller one does not: no cost falls as reads grow.
  while (max_gap_ < most && CanPay(*this, max_gap_ + 1)) ++max_gap_;
}

bool ReadCosts::Pays(uint32_t left, uint32_t gap, uint32_t right) const {
  const double touching_us = us_[left + right];
  const double request_us = us_[left] + us_[right] - touching_us;
  const double gap_us = us_[left + gap + right] - touching_us;
  return request_us > 0 && request_us >= kGapMargin * gap_us;
}

uint64_t BridgeGaps(absl::Span<const uint32_t> records, const ReadCosts& costs,
                    std::vector<Extent>* extents) {
  Bridge bridge(records, costs);
  for (uint32_t gap = 1; gap <= costs.max_gap() && extents->size() > 1; ++gap) {
    size_t last = 0;
    for (size_t i = 1; i < extents->size(); ++i) {
      const Extent right = (*extents)[i];
      Extent* left = &(*extents)[last];
      if (bridge.GapBetween(*left, right) == gap && bridge.TryJoin(gap, right, left)) continue;
      (*extents)[++last] = right;
    }
    extents->resize(last + 1);
  }
  return bridge.gap_records();
}

}  // namespace sluice
