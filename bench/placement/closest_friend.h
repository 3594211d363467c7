// The baseline of "LLM in a flash", appendix D: every neuron is stored together with the neuron
// that is active with it most often, and both are always loaded.
#ifndef SLUICE_BENCH_PLACEMENT_CLOSEST_FRIEND_H_
#define SLUICE_BENCH_PLACEMENT_CLOSEST_FRIEND_H_

#include <cstdint>
#include <vector>

#include "bench/placement/predicted_sets.h"
#include "bench/placement/read_simulation.h"

namespace sluice::bench {

// By neuron; its own id where it is never active with another.
std::vector<uint32_t> ClosestFriends(const Sets& sets, uint32_t num_neurons);

struct FriendReads {
  Reads reads;
  uint64_t most_copies = 0;        // of one neuron in the file
  double resident_duplicates = 0;  // share of the loaded bundles in slots that are there already
};

// Records hold half as many pairs as they held bundles; the slots are as many bytes. A neuron
// that is resident as someone's friend is not read.
FriendReads SimulateFriends(const Sets& sets, const RecordLayout& layout,
                            const std::vector<uint32_t>& friends, uint32_t num_slots,
                            const DeviceCurve& curve);

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_PLACEMENT_CLOSEST_FRIEND_H_
