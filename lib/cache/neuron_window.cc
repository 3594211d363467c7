#include "lib/cache/neuron_window.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

// Half-lives that a worth lies before or behind the current token at most: uses that are older add
// nothing to another one, and a record that every token uses is worth 93 uses, 6.5 half-lives.
constexpr int kHalfLives = 8;
constexpr int64_t kReach = int64_t{kHalfLives} * NeuronWindow::kHalfLife;

// Ranks of slots: those before the last are of records that may go.
constexpr uint16_t kNumRanks = 3 * kReach;
constexpr uint16_t kStays = kNumRanks;
constexpr uint64_t kHighestRank = kNumRanks - 1;

// What a use makes of a worth that is the current token and x more, at [x + kReach]: uses of
// 2^(x / kHalfLife) and one more are worth kHalfLife * log2(2^(x / kHalfLife) + 1).
using WorthTable = std::array<int16_t, 2 * kReach>;
WorthTable MakeWorthTable() {
  WorthTable table;
  constexpr double kScale = NeuronWindow::kHalfLife;
  for (size_t i = 0; i < table.size(); ++i) {
    const double uses = std::exp2((static_cast<double>(i) - kReach) / kScale);
    table[i] = static_cast<int16_t>(std::lround(std::log2(uses + 1) * kScale));
  }
  return table;
}

}  // namespace

NeuronWindow::NeuronWindow(uint32_t num_records, uint32_t num_slots, uint32_t window_tokens)
    : num_records_(std::max(num_records, 1u)),
      num_slots_(std::clamp(num_slots, 1u, num_records_)),
      window_tokens_(window_tokens),
      slots_(num_slots_),
      slot_of_(num_records_),
      worth_of_(num_records_),
      ranks_(num_slots_) {
  free_.reserve(2 * size_t{num_slots_});
  Clear();
}

absl::Status NeuronWindow::Advance(absl::Span<const uint32_t> active,
                                   std::vector<SlotFill>* missing) {
  missing->clear();
  if (absl::Status status = Check(active); !status.ok()) return status;
  BeginToken();
  const uint32_t num_hits = UseResidents(active);
  FreeUnusedFor(window_tokens_);
  left_over_ = false;
  MakeRoom(static_cast<uint32_t>(active.size()) - num_hits);
  FillMissing(active, missing);
  return absl::OkStatus();
}

absl::Status NeuronWindow::AdvanceBatch(absl::Span<const uint32_t> batch, bool first,
                                        std::vector<SlotFill>* missing) {
  missing->clear();
  if (absl::Status status = Check(batch); !status.ok()) return status;
  if (first || token_ == 0) {
    BeginToken();
  } else {
    ++now_;
  }
  left_over_ = true;
  const uint32_t num_hits = UseResidents(batch);
  MakeRoom(static_cast<uint32_t>(batch.size()) - num_hits);
  FillMissing(batch, missing);
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
  now_ = Moment(++token_);
  if (left_over_) FreeUnusedFor(uint64_t{window_tokens_} + 1);
}

int64_t NeuronWindow::AfterUse(int64_t worth) const {
  static const WorthTable table = MakeWorthTable();
  const auto now = static_cast<int64_t>(token_);
  const int64_t at = std::clamp<int64_t>(worth - now + kReach, 0, 2 * kReach - 1);
  return now + table[static_cast<size_t>(at)];
}

// Returns how many of `active` own a slot. A token's use counts once, in whatever batches.
uint32_t NeuronWindow::UseResidents(absl::Span<const uint32_t> active) {
  uint32_t num_hits = 0;
  for (const uint32_t record : active) {
    if (slot_of_[record] == kNoSlot) continue;
    Slot& slot = slots_[slot_of_[record]];
    if (TokenOf(slot) != token_) slot.worth = AfterUse(slot.worth);
    slot.used = now_;
    ++num_hits;
  }
  return num_hits;
}

// Frees the records that none of the last `num_tokens` tokens used, in a fixed window.
void NeuronWindow::FreeUnusedFor(uint64_t num_tokens) {
  if (window_tokens_ == kWindowAuto) return;
  for (uint32_t slot = 0; slot < num_slots_; ++slot) {
    if (slots_[slot].record == kNoRecord) continue;
    if (token_ - TokenOf(slots_[slot]) >= num_tokens) Release(slot);
  }
}

// Evicts until `num_wanted` slots are free.
void NeuronWindow::MakeRoom(uint32_t num_wanted) {
  const uint32_t num_free = num_slots_ - num_used_;
  if (num_wanted <= num_free) return;
  const uint32_t num_victims = num_wanted - num_free;
  num_idle_ = 0;
  EvictNewest(num_victims - EvictLeastWorth(num_victims));
  idle_tokens_ = std::max<uint64_t>((num_idle_ + num_victims / 2) / num_victims, 1);
}

// Of records that this token has not used; returns how many there were.
uint32_t NeuronWindow::EvictLeastWorth(uint32_t num_victims) {
  const int64_t lowest = static_cast<int64_t>(token_) - (kNumRanks - kReach);
  return EvictLowest(num_victims, [&](const Slot& slot) {
    if (TokenOf(slot) == token_) return kStays;
    return static_cast<uint16_t>(std::clamp<int64_t>(slot.worth - lowest, 0, kHighestRank));
  });
}

// Of this token's earlier batches.
void NeuronWindow::EvictNewest(uint32_t num_victims) {
  EvictLowest(num_victims, [&](const Slot& slot) {
    if (slot.used == now_) return kStays;
    return static_cast<uint16_t>(std::min(now_ - slot.used, kHighestRank));
  });
}

// Evicts the records of the lowest ranks, in the order of their slots, as many as there are;
// returns their number.
template <typename Rank>
uint32_t NeuronWindow::EvictLowest(uint32_t num_victims, Rank rank) {
  if (num_victims == 0) return 0;
  std::array<uint32_t, kNumRanks + 1> counts{};
  for (uint32_t i = 0; i < num_slots_; ++i) {
    ranks_[i] = slots_[i].record == kNoRecord ? kStays : rank(slots_[i]);
    ++counts[ranks_[i]];
  }
  num_victims = std::min(num_victims, num_slots_ - counts[kStays]);
  if (num_victims == 0) return 0;
  uint16_t highest = 0;  // of the victims
  uint32_t of_highest = num_victims;
  while (of_highest > counts[highest]) of_highest -= counts[highest++];
  for (uint32_t i = 0; i < num_slots_; ++i) {
    if (ranks_[i] > highest || (ranks_[i] == highest && of_highest == 0)) continue;
    if (ranks_[i] == highest) --of_highest;
    const uint64_t idle_tokens = token_ - TokenOf(slots_[i]);
    if (idle_tokens < window_tokens_) ++num_forced_evictions_;
    num_idle_ += idle_tokens;
    Release(i);
  }
  return num_victims;
}

// Gives slots to the members of `active` that have none.
void NeuronWindow::FillMissing(absl::Span<const uint32_t> active,
                               std::vector<SlotFill>* missing) {
  for (const uint32_t record : active) {
    if (slot_of_[record] != kNoSlot) continue;
    const uint32_t slot = TakeFree();
    slots_[slot] = {AfterUse(worth_of_[record]), now_, record};
    slot_of_[record] = slot;
    missing->push_back({record, slot});
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
  std::fill(worth_of_.begin(), worth_of_.end(), -2 * kReach);  // no use
  std::fill(slots_.begin(), slots_.end(), Slot());
  free_.clear();
  for (uint32_t slot = 0; slot < num_slots_; ++slot) free_.push_back(slot);
  next_free_ = 0;
  num_used_ = 0;
  token_ = 0;
  now_ = 0;
  idle_tokens_ = 0;
  left_over_ = false;
}

uint32_t NeuronWindow::span_tokens() const {
  if (num_used_ == 0) return 0;
  const uint64_t span = idle_tokens_ != 0 ? idle_tokens_ : token_;
  const uint64_t most = window_tokens_ == kWindowAuto ? UINT32_MAX : window_tokens_;
  return static_cast<uint32_t>(std::min(span, most));
}

uint64_t NeuronWindow::BytesFor(uint32_t num_records, uint32_t num_slots) {
  const uint64_t slots = std::min(num_slots, num_records);
  return num_records * uint64_t{sizeof(uint32_t) + sizeof(int64_t)} +
         slots * (sizeof(Slot) + 2 * sizeof(uint32_t) + sizeof(uint16_t));
}

void NeuronWindow::Release(uint32_t slot) {
  Slot& out = slots_[slot];
  slot_of_[out.record] = kNoSlot;
  worth_of_[out.record] = out.worth;
  out.record = kNoRecord;
  --num_used_;
  if (free_.size() == 2 * size_t{num_slots_}) {  // no more are free at a time than there are
    free_.erase(free_.begin(), free_.begin() + static_cast<ptrdiff_t>(next_free_));
    next_free_ = 0;
  }
  free_.push_back(slot);
}

uint32_t NeuronWindow::TakeFree() {
  ++num_used_;
  const uint32_t slot = free_[next_free_++];
  if (next_free_ == free_.size()) {
    free_.clear();
    next_free_ = 0;
  }
  return slot;
}

}  // namespace sluice
