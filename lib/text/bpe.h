// Byte-pair merges.
#ifndef SLUICE_LIB_TEXT_BPE_H_
#define SLUICE_LIB_TEXT_BPE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice {

// Which pairs of tokens merge, in which order, into what. A table of our own because it lies in
// memory for as long as the model does: 4/3 of the entries, and no more (the usual hash maps keep
// up to 16/7).
class MergeTable {
 public:
  struct Merge {
    int32_t left = -1;   // -1: a free place
    int32_t right = -1;
    uint32_t rank = 0;   // smaller merges first
    int32_t result = -1;
  };

  // Room for `num_merges`, all that will be inserted.
  explicit MergeTable(size_t num_merges = 0);

  // Of two merges of the same pair the later one counts, as in Hugging Face's.
  void Insert(const Merge& merge);
  // nullptr when the pair does not merge. Valid until the next Insert().
  const Merge* Find(int32_t left, int32_t right) const;

  uint64_t resident_bytes() const { return places_.capacity() * sizeof(Merge); }

 private:
  // The place of the pair, or the free place where it belongs.
  size_t PlaceOf(int32_t left, int32_t right) const;

  std::vector<Merge> places_;  // at least one is always free
};

// Merges one piece after the other; keeps its buffers. Threads: one to each.
class BpeMerger {
 public:
  explicit BpeMerger(const MergeTable& merges) : merges_(merges) {}

  // Replaces `*ids`, those of a piece's single characters, by those of its tokens.
  // O(n log n) for n ids, 24 n bytes of scratch. n <= kMaxPieceIds.
  static constexpr size_t kMaxPieceIds = size_t{1} << 30;
  void MergePiece(std::vector<int32_t>* ids);

 private:
  // Symbols form a list; the right half of a merge leaves it.
  struct Symbol {
    int32_t id;  // kRemoved when it has left
    int32_t prev;
    int32_t next;
  };
  struct Candidate {
    uint32_t rank;
    int32_t position;  // of the left symbol
    int32_t result;
  };
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kRemoved = -2;

  // Which of two candidates comes later: a heap keeps the first one at its front.
  static bool Later(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
  void CollectCandidates(const std::vector<int32_t>& ids);
  void PushCandidate(int32_t left_position);
  void Apply(const Candidate& candidate);

  const MergeTable& merges_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_BPE_H_
