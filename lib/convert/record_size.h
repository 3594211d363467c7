// How many neurons share a record on a device that has been measured.
#ifndef SLUICE_LIB_CONVERT_RECORD_SIZE_H_
#define SLUICE_LIB_CONVERT_RECORD_SIZE_H_

#include <cstdint>

#include "lib/io/device_curve.h"

namespace sluice {

// The number at which reading costs least for each neuron that is needed: a larger record costs
// less per byte, but more of its neurons are there for nothing. Of equal ones the smaller, since
// a record takes its room in memory, too.
//   bundle_bytes  of one neuron, 1 to 64 MiB
//   placed        neurons that are needed together lie side by side
// 1 to 16.
uint32_t NeuronsPerRecordFor(const DeviceCurve& curve, uint64_t bundle_bytes, bool placed);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_RECORD_SIZE_H_
