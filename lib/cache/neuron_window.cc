#include "lib/cache/neuron_window.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace sluice {

NeuronWindow::NeuronWindow(uint32_t num_records, uint32_t num_slots, uint32_t window_tokens)
    : num_records_(std::max(num_records, 1u)),
      num_slots_(std::clamp(num_slots, 1u, num_records_)),
      window_tokens_(window_tokens),
      resident_ring_(num_slots_),
      free_ring_(num_slots_ + 1),
      slots_(size_t{num_slots_} + 2),
      slot_of_(num_records_) {
  Clear();
}

absl::Status NeuronWindow::Advance(absl::Span<const uint32_t> active,
                                   std::vector<SlotFill>* missing) {
  missing->clear();
  if (absl::Status status = Check(active); !status.ok()) return status;
  BeginToken();
  const uint32_t num_hits = TakeOutHits(active);
  FreeUnusedFor(window_tokens_);
  MakeRoom(static_cast<uint32_t>(active.size()) - num_hits);
  Settle(active, missing);
  return absl::OkStatus();
}

absl::Status NeuronWindow::AdvanceBatch(absl::Span<const uint32_t> batch, bool first,
                                        std::vector<SlotFill>* missing) {
  missing->clear();
  if (absl::Status status = Check(batch); !status.ok()) return status;
  if (first || token_ == 0) BeginToken();
  const uint32_t num_hits = TakeOutHits(batch);
  MakeRoom(static_cast<uint32_t>(batch.size()) - num_hits);
  Settle(batch, missing);
  return absl::OkStatus();
}

absl::Status NeuronWindow::Check(absl::Span<const uint32_t> active) const {
  for (size_t i = 1; i < active.size(); ++i) {
    if (active[i] <= active[i - 1]) {
      return absl::InvalidArgumentError(absl::StrCat("active records are not ascending: ",
                                                     active[i - 1], " before ", active[i]));
    }
  }
  if (!active.empty() && active.back() >= num_records_) {
    return absl::OutOfRangeError(
        absl::StrCat("active record ", active.back(), " of a layer of ", num_records_));
  }
  if (active.size() > num_slots_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        active.size(), " active records need more than the layer's ", num_slots_, " slots"));
  }
  return absl::OkStatus();
}

// Frees what had left the window at the last token already and was kept for its batches.
void NeuronWindow::BeginToken() {
  ++token_;
  FreeUnusedFor(uint64_t{window_tokens_} + 1);
}

// Members of `active` leave the resident ring, so that what is still in it may be evicted.
uint32_t NeuronWindow::TakeOutHits(absl::Span<const uint32_t> active) {
  uint32_t num_hits = 0;
  for (const uint32_t record : active) {
    const uint32_t slot = slot_of_[record];
    if (slot == kNoSlot) continue;
    Unlink(slot);
    ++num_hits;
  }
  return num_hits;
}

// Frees the records that none of the last `num_tokens` tokens used, in a fixed window.
void NeuronWindow::FreeUnusedFor(uint64_t num_tokens) {
  if (window_tokens_ == kWindowAuto) return;
  uint32_t slot = slots_[resident_ring_].after;
  while (slot != resident_ring_ && token_ - slots_[slot].token >= num_tokens) {
    const uint32_t next = slots_[slot].after;
    Release(slot);
    slot = next;
  }
}

// Evicts until `num_wanted` slots are free.
void NeuronWindow::MakeRoom(uint32_t num_wanted) {
  const uint32_t num_free = num_slots_ - num_used_;
  uint32_t num_victims = num_wanted > num_free ? num_wanted - num_free : 0;
  for (; num_victims > 0; --num_victims) {
    const uint32_t oldest = slots_[resident_ring_].after;
    if (slots_[oldest].token == token_) break;
    Evict(oldest);
  }
  // What is left in the ring belongs to this token's earlier batches. The newest of them go, but
  // in the order of their age, see Slot.
  uint32_t slot = resident_ring_;
  for (uint32_t i = 0; i < num_victims; ++i) slot = slots_[slot].before;
  for (; num_victims > 0; --num_victims) {
    const uint32_t next = slots_[slot].after;
    Evict(slot);
    slot = next;
  }
}

// Links `active` in as the newest records, each with a slot.
void NeuronWindow::Settle(absl::Span<const uint32_t> active, std::vector<SlotFill>* missing) {
  for (const uint32_t record : active) {
    uint32_t slot = slot_of_[record];
    if (slot == kNoSlot) {
      slot = slots_[free_ring_].after;
      Unlink(slot);
      slots_[slot].record = record;
      slot_of_[record] = slot;
      ++num_used_;
      missing->push_back({record, slot});
    }
    slots_[slot].token = token_;
    PushBack(resident_ring_, slot);
  }
}

void NeuronWindow::Drop(absl::Span<const SlotFill> fills) {
  for (const SlotFill& fill : fills) {
    if (fill.record >= num_records_ || fill.slot == kNoSlot) continue;
    if (slot_of_[fill.record] == fill.slot) Release(fill.slot);
  }
}

void NeuronWindow::Clear() {
  std::fill(slot_of_.begin(), slot_of_.end(), kNoSlot);
  for (const uint32_t ring : {resident_ring_, free_ring_}) {
    slots_[ring].before = ring;
    slots_[ring].after = ring;
  }
  for (uint32_t slot = 0; slot < num_slots_; ++slot) PushBack(free_ring_, slot);
  num_used_ = 0;
  token_ = 0;
}

uint32_t NeuronWindow::span_tokens() const {
  if (num_used_ == 0) return 0;
  const uint64_t span = token_ - slots_[slots_[resident_ring_].after].token + 1;
  const uint64_t most = window_tokens_ == kWindowAuto ? UINT32_MAX : window_tokens_;
  return static_cast<uint32_t>(std::min(span, most));
}

uint64_t NeuronWindow::BytesFor(uint32_t num_records, uint32_t num_slots) {
  const uint64_t slots = std::min(num_slots, num_records);
  return num_records * uint64_t{sizeof(uint32_t)} + (slots + 2) * sizeof(Slot);
}

void NeuronWindow::Release(uint32_t slot) {
  Unlink(slot);
  slot_of_[slots_[slot].record] = kNoSlot;
  --num_used_;
  PushBack(free_ring_, slot);
}

void NeuronWindow::Evict(uint32_t slot) {
  if (token_ - slots_[slot].token < window_tokens_) ++num_forced_evictions_;
  Release(slot);
}

void NeuronWindow::Unlink(uint32_t slot) {
  const Slot& out = slots_[slot];
  slots_[out.before].after = out.after;
  slots_[out.after].before = out.before;
}

void NeuronWindow::PushBack(uint32_t ring, uint32_t slot) {
  const uint32_t last = slots_[ring].before;
  slots_[slot].before = last;
  slots_[slot].after = ring;
  slots_[last].after = slot;
  slots_[ring].before = slot;
}

}  // namespace sluice
