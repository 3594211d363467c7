#include "bench/placement/read_simulation.h"

#include <algorithm>

#include "lib/convert/placement.h"

namespace sluice::bench {
namespace {

// As the loader has it.
constexpr uint64_t kMaxExtentBytes = 256 << 10;

}  // namespace

void Reads::Add(const Reads& other) {
  missing += other.missing;
  runs += other.runs;
  reads += other.reads;
  records_read += other.records_read;
  needed_bytes += other.needed_bytes;
  read_bytes += other.read_bytes;
  least_runs += other.least_runs;
}

LayerReads::LayerReads(uint32_t num_records, uint64_t record_bytes, uint32_t num_slots,
                       const DeviceCurve& curve)
    : window_(num_records, num_slots, NeuronWindow::kWindowAuto),
      costs_(curve, record_bytes, kMaxExtentBytes), record_bytes_(record_bytes) {}

void LayerReads::Token(absl::Span<const uint32_t> records) {
  missing_.emplace_back();
  for (size_t at = 0; at < records.size(); at += window_.num_slots()) {
    const auto batch = records.subspan(at, window_.num_slots());
    if (!window_.AdvanceBatch(batch, at == 0, &fills_).ok()) continue;
    batch_missing_.clear();
    for (const SlotFill& fill : fills_) batch_missing_.push_back(fill.record);
    Plan(batch_missing_);
    missing_.back().insert(missing_.back().end(), batch_missing_.begin(), batch_missing_.end());
  }
}

void LayerReads::Plan(absl::Span<const uint32_t> records) {
  for (size_t i = 0; i < records.size(); ++i) {
    sums_.runs += i == 0 || records[i] != records[i - 1] + 1;
  }
  PlanExtents(records, record_bytes_, kMaxExtentBytes, &extents_);
  BridgeGaps(records, costs_, &extents_);
  sums_.missing += records.size();
  sums_.reads += extents_.size();
  for (const Extent& extent : extents_) sums_.records_read += SpanOf(extent, records);
}

Reads LayerReads::Finish() const {
  Reads out = sums_;
  out.needed_bytes = out.missing * record_bytes_;
  out.read_bytes = out.records_read * record_bytes_;
  out.least_runs = LeastRuns(missing_, window_.num_records());
  return out;
}

Sets ToRecords(const Sets& sets, uint32_t neurons_per_record) {
  Sets out;
  for (const std::vector<uint32_t>& set : sets) {
    out.emplace_back();
    for (const uint32_t n : set) {
      const uint32_t record = n / neurons_per_record;
      if (out.back().empty() || out.back().back() != record) out.back().push_back(record);
    }
  }
  return out;
}

Sets Reordered(const Sets& sets, absl::Span<const uint32_t> order) {
  const std::vector<uint32_t> place = InverseOrder(order);
  Sets out = sets;
  for (std::vector<uint32_t>& set : out) {
    for (uint32_t& n : set) n = place[n];
    std::sort(set.begin(), set.end());
  }
  return out;
}

double LeastRuns(const Sets& missing, uint32_t num_records) {
  std::vector<std::vector<uint32_t>> tokens(num_records);
  double total = 0;
  for (uint32_t t = 0; t < missing.size(); ++t) {
    for (const uint32_t r : missing[t]) tokens[r].push_back(t);
    total += static_cast<double>(missing[t].size());
  }
  std::vector<uint32_t> together(num_records);
  double links = 0;
  for (uint32_t r = 0; r < num_records; ++r) {
    std::fill(together.begin(), together.end(), 0u);
    for (const uint32_t t : tokens[r]) {
      for (const uint32_t other : missing[t]) ++together[other];
    }
    together[r] = 0;
    uint32_t best = 0, second = 0;
    for (const uint32_t count : together) {
      second = std::max(second, std::min(count, best));
      best = std::max(best, count);
    }
    links += (best + second) / 2.0;
  }
  return total - links;
}

}  // namespace sluice::bench
