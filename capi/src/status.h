// From absl::Status to the numbers of sluice.h, and the one wrapper of every entry point.
#ifndef SLUICE_CAPI_STATUS_H_
#define SLUICE_CAPI_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "sluice.h"

namespace sluice::capi {

// The status of sluice.h that stands for `code`. ABI.md has the table.
sluice_status CodeOf(absl::StatusCode code);

// Keeps the status's text for sluice_last_error_message() on this thread ("" when it is OK) and
// gives its number. Throws nothing: when there is no room for the text, a fixed one stands in.
sluice_status Report(const absl::Status& status) noexcept;
sluice_status ReportOutOfMemory() noexcept;

// Inside a catch block: the status of what was caught, its text kept. May throw bad_alloc.
absl::Status CaughtStatus();

// Runs an entry point's body, a callable that returns absl::Status; nothing is thrown past here.
template <typename Body>
sluice_status Enter(Body&& body) noexcept {
  try {
    try {
      return Report(std::forward<Body>(body)());
    } catch (...) {
      return Report(CaughtStatus());
    }
  } catch (...) {
    return ReportOutOfMemory();  // not even the error's text found room
  }
}

// The same for entry points that return no status: what fails is dropped, and the last error
// message stays, so that a host may clean up before it reads it.
template <typename Body>
void EnterQuietly(Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
  } catch (...) {
  }
}

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_STATUS_H_
