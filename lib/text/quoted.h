// How a hostile file's own words appear in an error message.
#ifndef SLUICE_LIB_TEXT_QUOTED_H_
#define SLUICE_LIB_TEXT_QUOTED_H_

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace sluice {

// In double quotes, escaped to ASCII, and cut: a message is one readable line.
inline std::string Quoted(absl::string_view text) {
  constexpr size_t kMaxBytes = 60;
  const bool cut = text.size() > kMaxBytes;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxBytes)), cut ? "...\"" : "\"");
}

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_QUOTED_H_
