// JSON from files nobody vouches for.
#ifndef SLUICE_LIB_BASE_JSON_GUARD_H_
#define SLUICE_LIB_BASE_JSON_GUARD_H_

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

inline constexpr int kMaxJsonDepth = 64;

// Parses `text` as one JSON value. kInvalidArgument, beginning with `what` (a path, say), with the
// byte where it went wrong: not JSON, deeper than kMaxJsonDepth (found before the tree is built: a
// deep tree overflows the stack of whoever copies it), a key twice in one object, invalid UTF-8,
// trailing text; or so many values that
// the tree would take many times the text's memory. Never throws.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view what);

}  // namespace sluice

#endif  // SLUICE_LIB_BASE_JSON_GUARD_H_
