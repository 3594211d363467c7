// In which order a layer's neurons lie in the file: those that tokens need together lie side by
// side, so that what is missing is read in fewer and longer pieces.
#ifndef SLUICE_LIB_CONVERT_PLACEMENT_H_
#define SLUICE_LIB_CONVERT_PLACEMENT_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lib/base/thread_pool.h"

namespace sluice {

// A permutation of [0, num_neurons): order[position in the file] = neuron.
//   active_sets  by token, strictly ascending neuron ids; ids from num_neurons on are passed over
//   pool         or nullptr: on this thread alone
// Neurons are linked into chains, the pair that is active together most often first, and chains
// at their ends until none of them ever meet. What then remains lies in the order of how often it
// is active; neurons that never are come last, by id. The same result for any number of threads.
// O(sum of squared set sizes) time; memory for the sets twice, 128 candidates for each neuron and
// a block of counter rows: never num_neurons squared.
std::vector<uint32_t> PlaceByCoactivation(absl::Span<const std::vector<uint32_t>> active_sets,
                                          uint32_t num_neurons, ThreadPool* pool);

// inverse[order[p]] = p.
std::vector<uint32_t> InverseOrder(absl::Span<const uint32_t> order);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_PLACEMENT_H_
