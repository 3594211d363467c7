#include "lib/loader/read_planner.h"

#include <algorithm>

namespace sluice {

void PlanExtents(absl::Span<const uint32_t> records, uint64_t record_bytes,
                 uint64_t max_extent_bytes, std::vector<Extent>* extents) {
  extents->clear();
  const uint64_t most = std::clamp<uint64_t>(max_extent_bytes / std::max<uint64_t>(record_bytes, 1),
                                             1, IoEngine::kMaxSegments);
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

}  // namespace sluice
