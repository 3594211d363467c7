// Which records of one FFN layer own a DRAM slot: the neuron window of "LLM in a flash"
// (section 3.1, and 3.3 for the data structure), counted in records. Bookkeeping only: no I/O, no
// weights, no locks.
//
// A record is resident while it was active in one of the last `window_tokens` tokens, as long as
// the slots suffice; when they do not, the records of least worth give way first. A record's worth
// is the number of tokens that used it, each counting half as much after every kHalfLife tokens:
// of two records that were used once the older goes, but one that most tokens use outlasts many
// that came once (the paper has the age alone). An incoming record takes over a freed slot, so
// nothing is ever moved (the paper copies the last rows over the deleted ones).
#ifndef SLUICE_LIB_CACHE_NEURON_WINDOW_H_
#define SLUICE_LIB_CACHE_NEURON_WINDOW_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace sluice {

// A record that has just been given a slot and must be read into it.
struct SlotFill {
  uint32_t record = 0;
  uint32_t slot = 0;
};

// Threads: const methods may overlap; the others need the object to themselves.
class NeuronWindow {
 public:
  static constexpr uint32_t kNoSlot = UINT32_MAX;
  static constexpr uint32_t kWindowAuto = 0;  // as many tokens as the slots hold
  static constexpr uint32_t kHalfLife = 64;   // tokens

  // Everything is allocated here. num_slots is cut to num_records; >= 1 each.
  NeuronWindow(uint32_t num_records, uint32_t num_slots, uint32_t window_tokens);

  // Moves the window forward by one token.
  //   active   record indices, strictly ascending, each < num_records
  //   missing  out (cleared first), ascending by record: members of `active` that owned no slot;
  //            each has one now and counts as resident: the caller fills it, or calls Drop().
  // kInvalidArgument: not ascending. kOutOfRange: an index is >= num_records.
  // kResourceExhausted: `active` alone needs more slots than there are (use AdvanceBatch). On
  // any error the window has not moved. O(num_active + num_slots); no allocation once `missing`
  // has capacity num_slots.
  absl::Status Advance(absl::Span<const uint32_t> active, std::vector<SlotFill>* missing);

  // The same token in several calls, for an active set larger than the slots: `batch` is the
  // next part of it (at most num_slots), `first` says that a new token begins (the very first
  // call begins one anyhow). A member of the batch keeps its slot until the next call. Slots are
  // taken, in this order: free ones, those of the records of least worth (not of this token), then
  // those of this token's earlier batches, the most recently used first: a scan that is repeated
  // for each token then keeps the part of it that fits, where the opposite would keep nothing.
  // What leaves a fixed window at this token stays until its slot is needed or the next token
  // begins, because a later batch may name it. Errors, cost as Advance().
  absl::Status AdvanceBatch(absl::Span<const uint32_t> batch, bool first,
                            std::vector<SlotFill>* missing);

  // Slot of a record, or kNoSlot.
  uint32_t slot(uint32_t record) const { return slot_of_[record]; }

  // Frees the slots of records whose read did not succeed; fills that no longer say which slot
  // the record owns are passed over.
  void Drop(absl::Span<const SlotFill> fills);

  // Forgets everything but num_forced_evictions().
  void Clear();

  uint32_t num_records() const { return num_records_; }
  uint32_t num_slots() const { return num_slots_; }
  uint32_t num_used() const { return num_used_; }  // slots that hold a record
  // Tokens that a record stays without being used: as many as those that gave way last had been
  // idle, in the mean; all tokens so far before any did; no more than a fixed window has; 0 while
  // nothing is resident.
  uint32_t span_tokens() const;
  // How often records that were still inside a fixed window were forgotten for lack of slots. 0
  // with kWindowAuto, whose window is whatever the slots hold.
  uint64_t num_forced_evictions() const { return num_forced_evictions_; }

  // Bytes that a window of this size allocates, for the memory plan.
  static uint64_t BytesFor(uint32_t num_records, uint32_t num_slots);

 private:
  struct Slot {
    // Of its record: the token whose records, used once, are worth the same. It stays what it is
    // until the record is used again, so nothing has to be aged.
    int64_t worth = 0;
    uint64_t used = 0;  // the last call that used it, see Moment()
    uint32_t record = kNoRecord;
  };
  static constexpr uint32_t kNoRecord = UINT32_MAX;

  // Calls in order: the token's number, above which of its batches.
  static constexpr int kBatchBits = 24;
  static uint64_t Moment(uint64_t token) { return token << kBatchBits; }
  uint64_t TokenOf(const Slot& slot) const { return slot.used >> kBatchBits; }

  absl::Status Check(absl::Span<const uint32_t> active) const;
  void BeginToken();
  int64_t AfterUse(int64_t worth) const;
  uint32_t UseResidents(absl::Span<const uint32_t> active);
  void FreeUnusedFor(uint64_t num_tokens);
  void MakeRoom(uint32_t num_wanted);
  uint32_t EvictLeastWorth(uint32_t num_victims);
  void EvictNewest(uint32_t num_victims);
  template <typename Rank>
  uint32_t EvictLowest(uint32_t num_victims, Rank rank);
  void FillMissing(absl::Span<const uint32_t> active, std::vector<SlotFill>* missing);
  void Release(uint32_t slot);
  uint32_t TakeFree();

  uint32_t num_records_;
  uint32_t num_slots_;
  uint32_t window_tokens_;
  uint32_t num_used_ = 0;
  uint64_t token_ = 0;  // number of the current token; the first is 1
  uint64_t now_ = 0;    // the current call
  bool left_over_ = false;  // a batch may have left what a fixed window has passed
  uint64_t num_idle_ = 0;     // tokens, summed over the records that are giving way
  uint64_t idle_tokens_ = 0;  // the mean of those that gave way last; 0: none did
  uint64_t num_forced_evictions_ = 0;
  std::vector<Slot> slots_;
  std::vector<uint32_t> slot_of_;  // record -> slot
  std::vector<int64_t> worth_of_;  // record -> its worth when it last lost a slot
  // Free slots from next_free_ on, first freed first used. They are freed in ascending order, so
  // that adjacent records, which tend to come together, get adjacent slots where they can: one
  // plain read then fills several.
  std::vector<uint32_t> free_;
  size_t next_free_ = 0;
  std::vector<uint16_t> ranks_;  // scratch, by slot
};

}  // namespace sluice

#endif  // SLUICE_LIB_CACHE_NEURON_WINDOW_H_
