// Corrects a device curve by the reads that are made anyway.
#ifndef SLUICE_LIB_LOADER_COST_ESTIMATE_H_
#define SLUICE_LIB_LOADER_COST_ESTIMATE_H_

#include <cstdint>

#include "lib/io/device_curve.h"

namespace sluice {

// What a full queue costs, taken to be linear: microseconds a request and microseconds a byte. The
// curve is the prior of a least-squares fit over what was observed; older observations fade, so
// that a device that is throttled, or no longer is, is followed. Threads: one at a time.
class CostEstimate {
 public:
  // The line through the curve's costs of the smallest and the largest read that are planned.
  CostEstimate(const DeviceCurve& curve, uint64_t smallest_bytes, uint64_t largest_bytes);

  // While `busy_ns` passed with reads in flight, `reads` of them with `bytes` together came.
  void Observe(uint64_t reads, uint64_t bytes, int64_t busy_ns);

  // True once so many observations have come since it was last true that plans should follow.
  bool TakeUpdate();

  double us_per_read() const { return us_per_read_; }
  double us_per_byte() const { return us_per_byte_; }
  // The line as a curve. Only for sizes like those that were observed.
  DeviceCurve Curve() const;

 private:
  void Solve();

  uint64_t smallest_bytes_, largest_bytes_;
  double prior_us_per_read_, prior_us_per_byte_;
  double us_per_read_, us_per_byte_;
  // Sums of the normal equations, in units of the prior.
  double rr_ = 0, rb_ = 0, bb_ = 0, rt_ = 0, bt_ = 0;
  uint32_t since_update_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_LOADER_COST_ESTIMATE_H_
