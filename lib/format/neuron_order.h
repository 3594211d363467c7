// The order of a layer's neurons in the file: order[place] = neuron of the checkpoint.
#ifndef SLUICE_LIB_FORMAT_NEURON_ORDER_H_
#define SLUICE_LIB_FORMAT_NEURON_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sluice {

// kInvalidArgument, beginning with `what`, unless `order` holds each of [0, count) once.
absl::Status CheckOrder(absl::Span<const uint32_t> order, uint64_t count, absl::string_view what);

// Rows of `data` (one for each of `order`) in their new places.
void ReorderRows(absl::Span<const uint32_t> order, absl::Span<const std::byte> data,
                 absl::Span<std::byte> out);

// As the manifest holds it: every neuron as hex digits, as many for each as the last one needs.
// (As JSON numbers, the orders of a large model would take megabytes of every process that opens
// it.)
std::string OrderToText(absl::Span<const uint32_t> order);
// kDataLoss, beginning with `what`, unless the text is an order of `count` neurons.
absl::StatusOr<std::vector<uint32_t>> OrderFromText(absl::string_view text, uint32_t count,
                                                    absl::string_view what);

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_NEURON_ORDER_H_
