// The neuron window as plain sets: what it promises, written down without any regard to cost.
#ifndef SLUICE_TESTS_UNIT_CACHE_WINDOW_MODEL_H_
#define SLUICE_TESTS_UNIT_CACHE_WINDOW_MODEL_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "lib/cache/neuron_window.h"

namespace sluice::testing {

// Which of several records of the same rank gives way is not promised: the model says what is
// missing, looks at what the window then holds, and judges it.
class WindowModel {
 public:
  using Records = std::set<uint32_t>;

  WindowModel(size_t num_slots, uint64_t window_tokens)
      : num_slots_(num_slots), window_tokens_(window_tokens) {}

  // One token, or one batch of it, of which Judge() must hear next. Returns the records that were
  // not resident, ascending.
  std::vector<uint32_t> Token(const std::vector<uint32_t>& active) {
    Begin();
    return Use(active, /*whole_token=*/true);
  }
  std::vector<uint32_t> Batch(const std::vector<uint32_t>& batch, bool first) {
    if (first || now_ == 0) Begin();
    return Use(batch, /*whole_token=*/false);
  }

  // Whether the window may hold these records now; goes on with them.
  bool Judge(const Records& found) {
    std::vector<Rank> gone, stayed;
    uint64_t idle = 0;
    for (const auto& [record, use] : residents_) {
      if (wanted_.count(record) != 0) continue;
      const bool stays = found.count(record) != 0;
      (stays ? stayed : gone).push_back(RankOf(record, use));
      if (stays) continue;
      idle += now_ - use.token;
      if (window_tokens_ != 0 && InWindow(use, now_)) ++forced_evictions_;
    }
    if (!gone.empty()) idle_tokens_ = std::max<uint64_t>((idle + gone.size() / 2) / gone.size(), 1);
    for (const Rank& each : gone) residents_.erase(each.second);
    for (const uint32_t record : wanted_) UseOne(record);
    const bool lowest = gone.empty() || stayed.empty() ||
                        std::max_element(gone.begin(), gone.end())->first <=
                            std::min_element(stayed.begin(), stayed.end())->first;
    return gone.size() == num_victims_ && lowest && residents() == found;
  }

  void Drop(uint32_t record) {
    residents_.erase(record);
    for (Records& members : history_) members.erase(record);
  }

  void Clear() {
    residents_.clear();
    history_.clear();
    worth_.clear();
    now_ = 0;
    idle_tokens_ = 0;
  }

  Records residents() const {
    Records out;
    for (const auto& [record, use] : residents_) out.insert(record);
    return out;
  }

  // Members of the last window_tokens active sets.
  Records LastActiveSets() const {
    Records out;
    for (const Records& members : history_) out.insert(members.begin(), members.end());
    return out;
  }

  uint64_t span_tokens() const {
    if (residents_.empty()) return 0;
    const uint64_t span = idle_tokens_ != 0 ? idle_tokens_ : now_;
    return window_tokens_ == 0 ? span : std::min(span, window_tokens_);
  }
  uint64_t forced_evictions() const { return forced_evictions_; }

 private:
  struct LastUse {
    uint64_t token = 0;
    uint64_t moment = 0;  // the call
  };
  // What gives way first; the record.
  using Rank = std::pair<std::pair<int, int64_t>, uint32_t>;

  bool InWindow(const LastUse& use, uint64_t now) const {
    return window_tokens_ == 0 || use.token + window_tokens_ > now;
  }

  void Begin() {
    const uint64_t before = now_++;
    if (before > 0) ForgetOutside(before, {});
    history_.emplace_back();
    if (window_tokens_ != 0 && history_.size() > window_tokens_) history_.pop_front();
  }

  void ForgetOutside(uint64_t now, const Records& kept) {
    for (auto it = residents_.begin(); it != residents_.end();) {
      const bool stays = kept.count(it->first) != 0 || InWindow(it->second, now);
      it = stays ? std::next(it) : residents_.erase(it);
    }
  }

  std::vector<uint32_t> Use(const std::vector<uint32_t>& active, bool whole_token) {
    wanted_ = Records(active.begin(), active.end());
    std::vector<uint32_t> missing;
    for (uint32_t record : wanted_) {
      if (residents_.count(record) == 0) missing.push_back(record);
    }
    if (whole_token) ForgetOutside(now_, wanted_);
    const size_t together = residents_.size() + missing.size();
    num_victims_ = together > num_slots_ ? together - num_slots_ : 0;
    ++moment_;
    history_.back().insert(wanted_.begin(), wanted_.end());
    return missing;
  }

  void UseOne(uint32_t record) {
    const auto it = residents_.find(record);
    if (it == residents_.end() || it->second.token != now_) {
      // The sum of 2^(age / half-life) over the uses, as the token of a single use.
      const double scale = NeuronWindow::kHalfLife;
      const auto now = static_cast<int64_t>(now_);
      const auto known = worth_.find(record);
      const double before =
          known == worth_.end() ? 0 : std::exp2(static_cast<double>(known->second - now) / scale);
      worth_[record] = now + std::llround(std::log2(1 + before) * scale);
    }
    residents_[record] = {now_, moment_};
  }

  // Records that this token has not used go by their worth (old ones are all worth the same), then
  // those of its earlier calls, the newest first.
  Rank RankOf(uint32_t record, const LastUse& use) const {
    if (use.token == now_) return {{1, -static_cast<int64_t>(use.moment)}, record};
    const int64_t least = static_cast<int64_t>(now_) - 16 * int64_t{NeuronWindow::kHalfLife};
    return {{0, std::max(worth_.at(record), least)}, record};
  }

  size_t num_slots_;
  uint64_t window_tokens_;
  uint64_t now_ = 0;
  uint64_t moment_ = 0;
  uint64_t idle_tokens_ = 0;
  uint64_t forced_evictions_ = 0;
  Records wanted_;
  size_t num_victims_ = 0;
  std::map<uint32_t, LastUse> residents_;
  std::map<uint32_t, int64_t> worth_;
  std::deque<Records> history_;  // active sets of the window's tokens
};

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_CACHE_WINDOW_MODEL_H_
