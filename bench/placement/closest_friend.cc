#include "bench/placement/closest_friend.h"

#include <algorithm>

namespace sluice::bench {
namespace {

class FriendLayer {
 public:
  FriendLayer(const RecordLayout& layout, const std::vector<uint32_t>& friends,
              uint32_t num_slots, const DeviceCurve& curve)
      : friends_(friends), per_record_(std::max(layout.neurons_per_record / 2, 1u)),
        record_bytes_(layout.neurons_per_record > 1 ? layout.record_bytes
                                                    : 2 * layout.record_bytes),
        num_records_((layout.num_neurons + per_record_ - 1) / per_record_), owners_(friends.size()),
        reads_(num_records_, record_bytes_,
               static_cast<uint32_t>(uint64_t{num_slots} * layout.record_bytes / record_bytes_),
               curve) {
    for (uint32_t n = 0; n < friends.size(); ++n) {
      if (friends[n] != n) owners_[friends[n]].push_back(n);
    }
  }

  void Token(const std::vector<uint32_t>& active) {
    records_.clear();
    for (const uint32_t n : active) records_.push_back(RecordFor(n));
    std::sort(records_.begin(), records_.end());
    records_.erase(std::unique(records_.begin(), records_.end()), records_.end());
    reads_.Token(records_);
  }

  FriendReads Finish() const {
    FriendReads out;
    out.reads = reads_.Finish();
    for (const auto& owners : owners_) {
      out.most_copies = std::max<uint64_t>(out.most_copies, owners.size() + 1);
    }
    std::vector<bool> seen(friends_.size());
    double bundles = 0, duplicates = 0;
    for (uint32_t n = 0; n < friends_.size(); ++n) {
      if (!Resident(n / per_record_)) continue;
      for (const uint32_t held : {n, friends_[n]}) {
        ++bundles;
        duplicates += seen[held];
        seen[held] = true;
      }
    }
    out.resident_duplicates = bundles > 0 ? duplicates / bundles : 0;
    return out;
  }

 private:
  bool Resident(uint32_t record) const {
    return reads_.window().slot(record) != NeuronWindow::kNoSlot;
  }
  // The resident record that holds the neuron, or its own.
  uint32_t RecordFor(uint32_t n) const {
    const uint32_t own = n / per_record_;
    if (Resident(own)) return own;
    for (const uint32_t owner : owners_[n]) {
      if (Resident(owner / per_record_)) return owner / per_record_;
    }
    return own;
  }

  const std::vector<uint32_t>& friends_;
  const uint32_t per_record_;
  const uint64_t record_bytes_;
  const uint32_t num_records_;
  Sets owners_;  // by neuron: whose friend it is
  LayerReads reads_;
  std::vector<uint32_t> records_;
};

}  // namespace

std::vector<uint32_t> ClosestFriends(const Sets& sets, uint32_t num_neurons) {
  Sets tokens(num_neurons);
  for (uint32_t t = 0; t < sets.size(); ++t) {
    for (const uint32_t n : sets[t]) tokens[n].push_back(t);
  }
  std::vector<uint32_t> friends(num_neurons), together(num_neurons);
  for (uint32_t n = 0; n < num_neurons; ++n) {
    std::fill(together.begin(), together.end(), 0u);
    for (const uint32_t t : tokens[n]) {
      for (const uint32_t other : sets[t]) ++together[other];
    }
    together[n] = 0;
    const auto best = std::max_element(together.begin(), together.end());
    friends[n] = *best == 0 ? n : static_cast<uint32_t>(best - together.begin());
  }
  return friends;
}

FriendReads SimulateFriends(const Sets& sets, const RecordLayout& layout,
                            const std::vector<uint32_t>& friends, uint32_t num_slots,
                            const DeviceCurve& curve) {
  FriendLayer layer(layout, friends, num_slots, curve);
  for (const std::vector<uint32_t>& active : sets) layer.Token(active);
  return layer.Finish();
}

}  // namespace sluice::bench
