// What FfnStep does about storage: the right to a layer's slots, and its records into them.
#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/model/ffn_step.h"

namespace sluice {

absl::Span<const uint32_t> FfnStep::Predict(uint32_t layer, const float* x) {
  const LowRankPredictor& predictor = weights_->layer(layer).predictor;
  if (!predictor.present()) {
    neurons_.resize(shape_.d_ffn);
    std::iota(neurons_.begin(), neurons_.end(), 0u);
    meter_.neurons_predicted += neurons_.size();
    return neurons_;
  }
  // A few milliseconds at most: too short to be cancelled.
  static const std::atomic<bool> never{false};
  predictor.Predict(x, 1, pool_, &never, predictor_scratch_.data(), active_.data());
  meter_.neurons_predicted += active_[0].size();
  return active_[0];
}

absl::StatusOr<LayerSlots::Lease> FfnStep::Fetch(uint32_t layer,
                                                 absl::Span<const uint32_t> neurons, bool more) {
  LayerSlots& slots = cache_->layer(layer);
  ListRecordsOf(slots.layout, neurons);
  if (needed_.size() > slots.window.num_slots()) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer ", layer, ": ", neurons.size(), " neurons lie in ", needed_.size(),
                     " records, and the layer has slots for ", slots.window.num_slots(),
                     " at a time"));
  }
  if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
  const int64_t start = NowNs();
  LayerSlots::Lease lease = Enter(layer, slots);
  meter_.memory_ns += NowNs() - start;
  if (!lease.held()) return absl::CancelledError("cancelled");
  fills_.clear();
  absl::Cleanup undo = [&] { Undo(slots); };
  meter_.records_needed += needed_.size();
  if (MustLandFirst(slots)) SLUICE_RETURN_IF_ERROR(LandAhead(layer, slots));
  // Whether more parts of the token follow is not known yet. A guess was its first part.
  SLUICE_RETURN_IF_ERROR(
      slots.window.AdvanceBatch(needed_, /*first=*/!more && !entered_ahead_, &fills_));
  if (entered_ahead_) lookahead_.Learn(layer, ahead_fills_, needed_, fills_.size());
  meter_.records_missing += fills_.size();
  SortOut(slots, needed_);
  if (!reads_.empty()) SLUICE_RETURN_IF_ERROR(loader_->Submit(layer, reads_));
  while (loader_->pending(layer) > 0) {
    if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
    const size_t least = std::max(kLeastPiece, loader_->pending(layer) / 2);
    SLUICE_RETURN_IF_ERROR(TakeArrivals(layer, least, slots));
  }
  std::move(undo).Cancel();
  slots.PublishWindow();
  return lease;
}

// No read goes on into a slot, and no slot claims to hold what was not read.
void FfnStep::Undo(LayerSlots& slots) {
  lookahead_.Abandon();
  slots.window.Drop(ahead_fills_);
  slots.window.Drop(fills_);
}

// The records of ascending neurons, into needed_.
void FfnStep::ListRecordsOf(const RecordLayout& layout, absl::Span<const uint32_t> neurons) {
  needed_.clear();
  for (const uint32_t n : neurons) {
    const uint32_t record = layout.record_of(n);
    if (needed_.empty() || needed_.back() != record) needed_.push_back(record);
  }
}

void FfnStep::ListNeeded(const RecordLayout& layout, size_t num_tokens) {
  if (num_tokens == 1 && !all_neurons_) {  // the answer is there, and short
    ListRecordsOf(layout, active_[0]);
    return;
  }
  needed_.clear();
  for (uint32_t record = 0; record < layout.num_records; ++record) {
    const uint32_t first = record * layout.neurons_per_record;
    const uint32_t end = std::min(first + layout.neurons_per_record, layout.num_neurons);
    bool any = all_neurons_;
    for (uint32_t n = first; n < end && !any; ++n) any = predicted_.Any(n);
    if (any) needed_.push_back(record);
  }
}

// The right to the layer's slots: what was read ahead came with it.
LayerSlots::Lease FfnStep::Enter(uint32_t layer, LayerSlots& slots) {
  ahead_fills_.clear();
  entered_ahead_ = lookahead_.holds(layer);
  if (entered_ahead_) return lookahead_.Take(&ahead_fills_);
  if (lookahead_.holds()) lookahead_.Abandon();
  LayerSlots::Lease lease(&slots, *cancelled_);
  if (lease.held() && !shape_.window) slots.window.Clear();
  return lease;
}

// Whether the window might give away slots that are still being filled: what is needed and what
// was guessed do not fit together.
bool FfnStep::MustLandFirst(const LayerSlots& slots) const {
  if (ahead_fills_.empty()) return false;
  size_t together = needed_.size();
  auto next = needed_.begin();
  for (const uint32_t record : lookahead_.guess()) {
    while (next != needed_.end() && *next < record) ++next;
    together += next == needed_.end() || *next != record;
  }
  return together > slots.window.num_slots();
}

absl::Status FfnStep::LandAhead(uint32_t layer, LayerSlots& slots) {
  while (loader_->pending(layer) > 0) {
    arrived_.clear();
    failed_.clear();
    SLUICE_RETURN_IF_ERROR(loader_->Next(layer, SIZE_MAX, &arrived_, &failed_));
    for (const RecordFailure& each : failed_) {
      slots.window.Drop({{each.record, slots.window.slot(each.record)}});
    }
  }
  ahead_fills_.clear();
  return absl::OkStatus();
}

// Of `records`: what must be read, what is here, and (in neither list) what is on its way since
// the layer before.
void FfnStep::SortOut(LayerSlots& slots, absl::Span<const uint32_t> records) {
  reads_.clear();
  resident_.clear();
  size_t next_fill = 0;
  size_t next_ahead = 0;
  for (const uint32_t record : records) {
    while (next_ahead < ahead_fills_.size() && ahead_fills_[next_ahead].record < record) {
      ++next_ahead;
    }
    if (next_fill < fills_.size() && fills_[next_fill].record == record) {
      reads_.push_back({record, slots.slot_data(fills_[next_fill++].slot)});
    } else if (next_ahead < ahead_fills_.size() && ahead_fills_[next_ahead].record == record) {
      ++meter_.records_missing;
    } else {
      resident_.push_back(record);
    }
  }
}

// What has arrived for the layer, into arrived_. A record that could not be had is an error if it
// is needed; one that was only guessed gives its slot back.
absl::Status FfnStep::TakeArrivals(uint32_t layer, size_t least, LayerSlots& slots) {
  arrived_.clear();
  failed_.clear();
  SLUICE_RETURN_IF_ERROR(loader_->Next(layer, least, &arrived_, &failed_));
  for (const RecordFailure& each : failed_) {
    if (std::binary_search(needed_.begin(), needed_.end(), each.record)) return each.status;
    slots.window.Drop({{each.record, slots.window.slot(each.record)}});
  }
  return absl::OkStatus();
}

}  // namespace sluice
