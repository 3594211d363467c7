#include "lib/text/bpe.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace sluice {

MergeTable::MergeTable(size_t num_merges) : places_(num_merges + num_merges / 3 + 1) {}

size_t MergeTable::PlaceOf(int32_t left, int32_t right) const {
  // abseil's hash differs from process to process, so no file can be made to collide.
  const uint64_t hash = absl::Hash<std::pair<int32_t, int32_t>>{}({left, right});
  size_t place = static_cast<size_t>(((hash >> 32) * places_.size()) >> 32);
  while (places_[place].left >= 0 &&
         (places_[place].left != left || places_[place].right != right)) {
    place = place + 1 == places_.size() ? 0 : place + 1;
  }
  return place;
}

void MergeTable::Insert(const Merge& merge) { places_[PlaceOf(merge.left, merge.right)] = merge; }

const MergeTable::Merge* MergeTable::Find(int32_t left, int32_t right) const {
  const Merge& merge = places_[PlaceOf(left, right)];
  return merge.left < 0 ? nullptr : &merge;
}

void BpeMerger::CollectCandidates(const std::vector<int32_t>& ids) {
  symbols_.clear();
  heap_.clear();
  symbols_.reserve(ids.size());
  const int32_t num_ids = static_cast<int32_t>(ids.size());
  for (int32_t i = 0; i < num_ids; ++i) {
    symbols_.push_back({ids[i], i - 1, i + 1 < num_ids ? i + 1 : kNone});
  }
  for (int32_t i = 0; i + 1 < num_ids; ++i) {
    if (const MergeTable::Merge* merge = merges_.Find(ids[i], ids[i + 1])) {
      heap_.push_back({merge->rank, i, merge->result});
    }
  }
  std::make_heap(heap_.begin(), heap_.end(), Later);
}

void BpeMerger::PushCandidate(int32_t left_position) {
  const Symbol& left = symbols_[left_position];
  const MergeTable::Merge* merge = merges_.Find(left.id, symbols_[left.next].id);
  if (merge == nullptr) return;
  heap_.push_back({merge->rank, left_position, merge->result});
  std::push_heap(heap_.begin(), heap_.end(), Later);
}

void BpeMerger::Apply(const Candidate& candidate) {
  Symbol& left = symbols_[candidate.position];
  if (left.id == kRemoved || left.next == kNone) return;
  Symbol& right = symbols_[left.next];
  // The pair may have changed since it was noted. What it makes is compared, not its rank: two
  // pairs can make the same token, and then the earlier note still counts (Hugging Face's rule).
  const MergeTable::Merge* merge = merges_.Find(left.id, right.id);
  if (merge == nullptr || merge->result != candidate.result) return;
  left.id = candidate.result;
  left.next = right.next;
  right.id = kRemoved;
  if (left.next != kNone) symbols_[left.next].prev = candidate.position;
  if (left.prev != kNone) PushCandidate(left.prev);
  if (left.next != kNone) PushCandidate(candidate.position);
}

void BpeMerger::MergePiece(std::vector<int32_t>* ids) {
  if (ids->size() < 2) return;
  CollectCandidates(*ids);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    const Candidate candidate = heap_.back();
    heap_.pop_back();
    Apply(candidate);
  }
  ids->clear();
  for (int32_t at = 0; at != kNone; at = symbols_[at].next) ids->push_back(symbols_[at].id);
}

}  // namespace sluice
