#include "lib/loader/cost_estimate.h"

#include <algorithm>
#include <vector>

namespace sluice {
namespace {

// An observation counts half as much when so many others have followed: 0.5 ^ (1 / 2000).
constexpr double kFade = 0.99965;
// The pull of the prior: little beside what is observed, and enough to say how a cost is split
// where all observations have reads of the same size.
constexpr double kPriorWeight = 0.2;
// Fewer reads than this do not fill a queue, and say more about waiting than about cost.
constexpr uint64_t kFewestReads = 16;
constexpr uint32_t kObservationsPerUpdate = 500;
// How far the estimate may leave the prior: beyond it the clock or the model is wrong.
constexpr double kMostChange = 30;

}  // namespace

CostEstimate::CostEstimate(const DeviceCurve& curve, uint64_t smallest_bytes,
                           uint64_t largest_bytes)
    : smallest_bytes_(smallest_bytes), largest_bytes_(std::max(largest_bytes, smallest_bytes + 1)) {
  const double small_us = curve.CostUs(smallest_bytes_);
  const double large_us = curve.CostUs(largest_bytes_);
  const double more = static_cast<double>(largest_bytes_ - smallest_bytes_);
  // A curve that is flat, or all bytes, still leaves something to scale.
  prior_us_per_byte_ = std::max((large_us - small_us) / more, large_us / 1e9);
  prior_us_per_read_ =
      std::max(small_us - prior_us_per_byte_ * static_cast<double>(smallest_bytes_),
               small_us / 1e3);
  us_per_read_ = prior_us_per_read_;
  us_per_byte_ = prior_us_per_byte_;
}

void CostEstimate::Observe(uint64_t reads, uint64_t bytes, int64_t busy_ns) {
  if (reads < kFewestReads || busy_ns <= 0) return;
  // In units of what the prior says that each part costs, and relative to the whole, so that
  // large observations do not drown small ones.
  const double us = static_cast<double>(busy_ns) / 1e3;
  const double r = static_cast<double>(reads) * prior_us_per_read_ / us;
  const double b = static_cast<double>(bytes) * prior_us_per_byte_ / us;
  for (double* sum : {&rr_, &rb_, &bb_, &rt_, &bt_}) *sum *= kFade;
  rr_ += r * r;
  rb_ += r * b;
  bb_ += b * b;
  rt_ += r;
  bt_ += b;
  if (++since_update_ >= kObservationsPerUpdate) Solve();
}

// Least squares for the factors by which the prior is wrong, each held near 1 by the prior.
void CostEstimate::Solve() {
  const double weight = kPriorWeight * (rr_ + bb_) / (kObservationsPerUpdate + rt_ + bt_);
  const double rr = rr_ + weight, bb = bb_ + weight;
  const double rt = rt_ + weight, bt = bt_ + weight;
  const double determinant = rr * bb - rb_ * rb_;
  if (!(determinant > 0)) return;
  const double read = (rt * bb - bt * rb_) / determinant;
  const double byte = (bt * rr - rt * rb_) / determinant;
  us_per_read_ = prior_us_per_read_ * std::clamp(read, 1 / kMostChange, kMostChange);
  us_per_byte_ = prior_us_per_byte_ * std::clamp(byte, 1 / kMostChange, kMostChange);
}

bool CostEstimate::TakeUpdate() {
  if (since_update_ < kObservationsPerUpdate) return false;
  since_update_ = 0;
  return true;
}

DeviceCurve CostEstimate::Curve() const {
  std::vector<CurvePoint> points;
  for (const uint64_t bytes : {smallest_bytes_, largest_bytes_}) {
    const double us = us_per_read_ + us_per_byte_ * static_cast<double>(bytes);
    points.push_back({bytes, 1, static_cast<double>(bytes) / (us * 1e3), us});
  }
  const absl::StatusOr<DeviceCurve> curve = DeviceCurve::FromPoints(points, "observed reads");
  return curve.ok() ? *curve : DeviceCurve::Generic();
}

}  // namespace sluice
