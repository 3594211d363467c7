// Monotonic time in nanoseconds.
#ifndef SLUICE_LIB_BASE_CLOCK_H_
#define SLUICE_LIB_BASE_CLOCK_H_

#include <chrono>
#include <cstdint>

namespace sluice {

inline int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace sluice

#endif  // SLUICE_LIB_BASE_CLOCK_H_
