// Early returns for absl::Status. Distribution packages of abseil predate its own macros.
#ifndef SLUICE_LIB_BASE_STATUS_MACROS_H_
#define SLUICE_LIB_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace sluice {

// The same code with `context: ` put in front of the message.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace sluice

#define SLUICE_RETURN_IF_ERROR(expr)                      \
  do {                                                    \
    if (::absl::Status sluice_status_ = (expr); !sluice_status_.ok()) return sluice_status_; \
  } while (false)

#define SLUICE_MACRO_CONCAT_INNER(a, b) a##b
#define SLUICE_MACRO_CONCAT(a, b) SLUICE_MACRO_CONCAT_INNER(a, b)
#define SLUICE_ASSIGN_OR_RETURN_IMPL(holder, lhs, expr) \
  auto holder = (expr);                                 \
  if (!holder.ok()) return std::move(holder).status();  \
  lhs = *std::move(holder)
#define SLUICE_ASSIGN_OR_RETURN(lhs, expr) \
  SLUICE_ASSIGN_OR_RETURN_IMPL(SLUICE_MACRO_CONCAT(sluice_or_, __LINE__), lhs, expr)

#endif  // SLUICE_LIB_BASE_STATUS_MACROS_H_
