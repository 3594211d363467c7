#include "capi/src/status.h"

#include <exception>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"

namespace sluice::capi {
namespace {

constexpr char kOutOfMemory[] = "out of memory";

// `fixed` wins over `text`: it is what can be said without an allocation.
struct LastError {
  std::string text;
  const char* fixed = nullptr;
};

LastError& OfThisThread() {
  static thread_local LastError error;
  return error;
}

}  // namespace

sluice_status CodeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return SLUICE_OK;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return SLUICE_INVALID_ARGUMENT;
    case absl::StatusCode::kNotFound:
      return SLUICE_NOT_FOUND;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kPermissionDenied:
      return SLUICE_IO;
    case absl::StatusCode::kDataLoss:
      return SLUICE_CORRUPT;
    case absl::StatusCode::kUnimplemented:
      return SLUICE_UNSUPPORTED;
    case absl::StatusCode::kResourceExhausted:
      return SLUICE_OUT_OF_MEMORY;
    case absl::StatusCode::kFailedPrecondition:
      return SLUICE_BAD_STATE;
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kAborted:
      return SLUICE_CANCELLED;
    default:  // kUnknown, kInternal and the like, and what abseil may add
      return SLUICE_INTERNAL;
  }
}

sluice_status Report(const absl::Status& status) noexcept {
  LastError& error = OfThisThread();
  error.fixed = nullptr;
  error.text.clear();
  if (status.ok()) return SLUICE_OK;
  try {
    error.text.assign(status.message().data(), status.message().size());
  } catch (...) {
    error.fixed = kOutOfMemory;
  }
  return CodeOf(status.code());
}

sluice_status ReportOutOfMemory() noexcept {
  OfThisThread().fixed = kOutOfMemory;
  return SLUICE_OUT_OF_MEMORY;
}

absl::Status CaughtStatus() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(kOutOfMemory);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("an exception that nobody expected: ", e.what()));
  } catch (...) {
    return absl::InternalError("an exception of an unknown type");
  }
}

}  // namespace sluice::capi

using sluice::capi::OfThisThread;

const char* sluice_last_error_message(void) {
  const auto& error = OfThisThread();
  return error.fixed != nullptr ? error.fixed : error.text.c_str();
}

const char* sluice_status_name(sluice_status status) {
  switch (status) {
    case SLUICE_OK:
      return "OK";
    case SLUICE_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case SLUICE_NOT_FOUND:
      return "NOT_FOUND";
    case SLUICE_IO:
      return "IO";
    case SLUICE_CORRUPT:
      return "CORRUPT";
    case SLUICE_UNSUPPORTED:
      return "UNSUPPORTED";
    case SLUICE_OUT_OF_MEMORY:
      return "OUT_OF_MEMORY";
    case SLUICE_BAD_STATE:
      return "BAD_STATE";
    case SLUICE_CANCELLED:
      return "CANCELLED";
    case SLUICE_INTERNAL:
      return "INTERNAL";
    default:
      return "UNKNOWN";
  }
}
