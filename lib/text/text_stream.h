// Turns a stream of token bytes into chunks that are always whole UTF-8, and watches for stop
// strings.
#ifndef SLUICE_LIB_TEXT_TEXT_STREAM_H_
#define SLUICE_LIB_TEXT_TEXT_STREAM_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace sluice {

// Bytes that can still become a character, and text that can still become a stop string, are held
// back. The chunks joined are the whole text; bytes that can never become a character come out as
// U+FFFD (one for each maximal ill-formed part). A stop string itself is not part of the text.
class TextStream {
 public:
  // Empty stop strings are passed over. Invalid UTF-8 in one counts as U+FFFD, as in the text.
  explicit TextStream(std::vector<std::string> stop_strings);

  // Takes a token's bytes; returns the text that is now certain (perhaps empty).
  // O(bytes and what is held, times the stop strings).
  std::string Push(absl::string_view bytes);
  // At the end: the rest of what was held back. After a stop string: nothing.
  std::string Finish();
  // Whether a stop string has been completed; what comes later is passed over. Where several could
  // match, the one that begins first wins, and among those the longest that has been seen whole.
  // So the text does not depend on where the tokens are cut: a stop string that has been seen
  // whole waits for one that began before it and is not complete (Finish() ends the wait).
  bool stopped() const { return stopped_; }

 private:
  // Moves out of held_ what is certain; `at_end`: nothing more will come.
  std::string TakeCertain(bool at_end);

  std::vector<std::string> stop_strings_;
  std::string incomplete_;  // at most three bytes, the beginning of a character
  std::string held_;        // valid UTF-8, the beginning of a stop string
  bool stopped_ = false;
};

}  // namespace sluice

#endif  // SLUICE_LIB_TEXT_TEXT_STREAM_H_
