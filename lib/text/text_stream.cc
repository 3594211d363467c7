#include "lib/text/text_stream.h"

#include <utility>

#include "absl/strings/match.h"
#include "lib/text/utf8.h"

namespace sluice {
namespace {

enum class StopState { kNone, kBegun, kComplete };

// What the stop strings say about a text that begins here.
StopState StateAt(absl::string_view text, const std::vector<std::string>& stop_strings) {
  StopState state = StopState::kNone;
  for (const std::string& stop : stop_strings) {
    if (absl::StartsWith(text, stop)) return StopState::kComplete;
    if (absl::StartsWith(stop, text)) state = StopState::kBegun;
  }
  return state;
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stop_strings) {
  for (std::string& stop : stop_strings) {
    if (!stop.empty()) stop_strings_.push_back(RepairUtf8(stop));
  }
}

std::string TextStream::Push(absl::string_view bytes) {
  if (stopped_) return std::string();
  incomplete_.append(bytes.data(), bytes.size());
  DrainUtf8(&incomplete_, &held_);
  return TakeCertain(/*at_end=*/false);
}

std::string TextStream::Finish() {
  if (stopped_) return std::string();
  held_ += RepairUtf8(incomplete_);
  incomplete_.clear();
  return TakeCertain(/*at_end=*/true);
}

std::string TextStream::TakeCertain(bool at_end) {
  // Both are whole UTF-8, so a stop string is found at a character's beginning or not at all.
  size_t certain = stop_strings_.empty() ? held_.size() : 0;
  for (; certain < held_.size(); ++certain) {
    const StopState state = StateAt(absl::string_view(held_).substr(certain), stop_strings_);
    if (state == StopState::kComplete) {
      stopped_ = true;
      held_.resize(certain);
      incomplete_.clear();
      break;
    }
    if (state == StopState::kBegun && !at_end) break;
  }
  std::string text = held_.substr(0, certain);
  held_.erase(0, certain);
  return text;
}

}  // namespace sluice
