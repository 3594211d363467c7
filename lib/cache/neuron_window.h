// Which records of one FFN layer own a DRAM slot: the neuron window of "LLM in a flash"
// (section 3.1, and 3.3 for the data structure), counted in records. Bookkeeping only: no I/O, no
// weights, no locks.
//
// A record is resident while it was active in one of the last `window_tokens` tokens, as long as
// the slots suffice; when they do not, the records whose last token is oldest give way first. An
// incoming record takes over a freed slot, so nothing is ever moved (the paper copies the last
// rows over the deleted ones).
#ifndef SLUICE_LIB_CACHE_NEURON_WINDOW_H_
#define SLUICE_LIB_CACHE_NEURON_WINDOW_H_

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
  // call begins one anyhow). A member of the batch keeps its slot until the next call. Victims
  // are, in this order: free slots, records whose window has passed or whose last token is oldest
  // (not of this token), then records of this token's earlier batches, the most recently used
  // first: a scan that is repeated for each token then keeps the part of it that fits, where
  // least-recently-used would keep nothing.
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
  // Tokens that the window spans now: those since the oldest resident record was last active,
  // this one included, and no more than a fixed window has; 0 while nothing is resident.
  uint32_t span_tokens() const;
  // How often records that were still inside a fixed window were forgotten for lack of slots. 0
  // with kWindowAuto, whose window is whatever the slots hold.
  uint64_t num_forced_evictions() const { return num_forced_evictions_; }

  // Bytes that a window of this size allocates, for the memory plan.
  static uint64_t BytesFor(uint32_t num_records, uint32_t num_slots);

 private:
  // A slot is always in one of two rings, which are linked through it: the resident one, ordered
  // by last token and then by when it was touched, or the free one, first freed first used. That
  // order lets adjacent records, which tend to leave together, be followed by adjacent ones, so
  // that one plain read fills several slots.
  struct Slot {
    uint64_t token = 0;  // that was last to use it
    uint32_t record = 0;
    uint32_t before = 0;
    uint32_t after = 0;
  };

  absl::Status Check(absl::Span<const uint32_t> active) const;
  void BeginToken();
  uint32_t TakeOutHits(absl::Span<const uint32_t> active);
  void FreeUnusedFor(uint64_t num_tokens);
  void MakeRoom(uint32_t num_wanted);
  void Settle(absl::Span<const uint32_t> active, std::vector<SlotFill>* missing);
  void Release(uint32_t slot);
  void Evict(uint32_t slot);
  void Unlink(uint32_t slot);
  void PushBack(uint32_t ring, uint32_t slot);

  uint32_t num_records_;
  uint32_t num_slots_;
  uint32_t window_tokens_;
  uint32_t resident_ring_;  // positions in slots_ of the rings' ends, after the slots themselves
  uint32_t free_ring_;
  uint32_t num_used_ = 0;
  uint64_t token_ = 0;  // number of the current token; the first is 1
  uint64_t num_forced_evictions_ = 0;
  std::vector<Slot> slots_;
  std::vector<uint32_t> slot_of_;  // record -> slot
};

}  // namespace sluice

#endif  // SLUICE_LIB_CACHE_NEURON_WINDOW_H_
