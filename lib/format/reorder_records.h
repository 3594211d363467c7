// Puts the neurons of a layer into another order, where its records lie.
#ifndef SLUICE_LIB_FORMAT_REORDER_RECORDS_H_
#define SLUICE_LIB_FORMAT_REORDER_RECORDS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "lib/format/bundle_output.h"
#include "lib/format/record_layout.h"

namespace sluice {

// Place p gets the bundle that was at order[p] (a permutation of the layer's neurons).
//   checksums  the layer's part of the table, 8 bytes for each record: verified, then replaced
// Memory: the layer, and a few MiB. On an error the layer may be half written.
absl::Status ReorderRecords(const RecordLayout& layout, uint32_t layer, uint64_t uuid,
                            absl::Span<const uint32_t> order, absl::Span<std::byte> checksums,
                            BundleOutput* file);

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_REORDER_RECORDS_H_
