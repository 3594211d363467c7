// The neuron window as plain sets: what it promises, written down without any regard to cost.
#ifndef SLUICE_TESTS_UNIT_CACHE_WINDOW_MODEL_H_
#define SLUICE_TESTS_UNIT_CACHE_WINDOW_MODEL_H_

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <vector>

namespace sluice::testing {

class WindowModel {
 public:
  WindowModel(size_t num_slots, uint64_t window_tokens)
      : num_slots_(num_slots), window_tokens_(window_tokens) {}

  // One token, or one batch of it. Returns the records that were not resident, ascending.
  std::vector<uint32_t> Token(const std::vector<uint32_t>& active) {
    Begin();
    return Use(active, /*whole_token=*/true);
  }
  std::vector<uint32_t> Batch(const std::vector<uint32_t>& batch, bool first) {
    if (first || now_ == 0) Begin();
    return Use(batch, /*whole_token=*/false);
  }

  void Drop(uint32_t record) {
    residents_.erase(record);
    for (std::set<uint32_t>& members : history_) members.erase(record);
  }

  void Clear() {
    residents_.clear();
    history_.clear();
    now_ = 0;
  }

  std::set<uint32_t> residents() const {
    std::set<uint32_t> out;
    for (const auto& [record, use] : residents_) out.insert(record);
    return out;
  }

  // Members of the last window_tokens active sets.
  std::set<uint32_t> LastActiveSets() const {
    std::set<uint32_t> out;
    for (const std::set<uint32_t>& members : history_) out.insert(members.begin(), members.end());
    return out;
  }

  uint64_t span_tokens() const {
    uint64_t span = 0;
    for (const auto& [record, use] : residents_) span = std::max(span, now_ - use.token + 1);
    return window_tokens_ == 0 ? span : std::min(span, window_tokens_);
  }
  uint64_t forced_evictions() const { return forced_evictions_; }

 private:
  struct LastUse {
    uint64_t token = 0;
    uint64_t moment = 0;  // no two alike
  };

  bool InWindow(const LastUse& use, uint64_t now) const {
    return window_tokens_ == 0 || use.token + window_tokens_ > now;
  }

  void Begin() {
    const uint64_t before = now_++;
    if (before > 0) ForgetOutside(before, {});
    history_.emplace_back();
    if (window_tokens_ != 0 && history_.size() > window_tokens_) history_.pop_front();
  }

  void ForgetOutside(uint64_t now, const std::set<uint32_t>& kept) {
    for (auto it = residents_.begin(); it != residents_.end();) {
      const bool stays = kept.count(it->first) != 0 || InWindow(it->second, now);
      it = stays ? std::next(it) : residents_.erase(it);
    }
  }

  std::vector<uint32_t> Use(const std::vector<uint32_t>& active, bool whole_token) {
    const std::set<uint32_t> wanted(active.begin(), active.end());
    std::vector<uint32_t> missing;
    for (uint32_t record : wanted) {
      if (residents_.count(record) == 0) missing.push_back(record);
    }
    if (whole_token) ForgetOutside(now_, wanted);
    while (residents_.size() + missing.size() > num_slots_) EvictOne(wanted);
    for (uint32_t record : wanted) residents_[record] = {now_, ++moment_};
    history_.back().insert(wanted.begin(), wanted.end());
    return missing;
  }

  void EvictOne(const std::set<uint32_t>& wanted) {
    auto victim = residents_.end();
    for (auto it = residents_.begin(); it != residents_.end(); ++it) {
      if (wanted.count(it->first) != 0) continue;
      if (victim == residents_.end() || GoesFirst(it->second, victim->second)) victim = it;
    }
    if (window_tokens_ != 0 && InWindow(victim->second, now_)) ++forced_evictions_;
    residents_.erase(victim);
  }

  bool GoesFirst(const LastUse& a, const LastUse& b) const {
    const bool a_current = a.token == now_;
    const bool b_current = b.token == now_;
    if (a_current != b_current) return b_current;
    return a_current ? a.moment > b.moment : a.moment < b.moment;
  }

  size_t num_slots_;
  uint64_t window_tokens_;
  uint64_t now_ = 0;
  uint64_t moment_ = 0;
  uint64_t forced_evictions_ = 0;
  std::map<uint32_t, LastUse> residents_;
  std::deque<std::set<uint32_t>> history_;  // active sets of the window's tokens
};

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_CACHE_WINDOW_MODEL_H_
