#include "tests/support/fault_engine.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sluice::testing {
namespace {

constexpr int kLateReaps = 3;
constexpr uint64_t kShortUnit = 512;
constexpr uint64_t kMisdirection = 4096;

}  // namespace

FaultEngine::FaultEngine(std::unique_ptr<IoEngine> inner, FaultPlan plan)
    : inner_(std::move(inner)),
      plan_(std::move(plan)),
      counts_(std::make_shared<FaultCounts>()),
      random_(plan_.seed) {}

FaultEngine::~FaultEngine() = default;

size_t FaultEngine::in_flight() const {
  return inner_->in_flight() + ready_.size() + held_.size();
}

bool FaultEngine::ChooseFault(uint64_t read_index, Fault* fault) {
  for (const ScriptedFault& scripted : plan_.script) {
    const bool fits = scripted.persistent ? read_index >= scripted.read_index
                                          : read_index == scripted.read_index;
    if (!fits) continue;
    *fault = scripted.fault;
    return true;
  }
  if (plan_.random_one_in == 0 || random_() % plan_.random_one_in != 0) return false;
  *fault = plan_.random_faults[random_() % plan_.random_faults.size()];
  return true;
}

absl::Status FaultEngine::Submit(absl::Span<const IoRead> reads) {
  const uint64_t call = counts_->submits++;
  if (call == plan_.failing_submit || (plan_.submit_stays_broken && call > plan_.failing_submit)) {
    ++counts_->faults;
    return absl::UnavailableError("injected: Submit fails");
  }
  if (reads.size() > queue_depth() - in_flight()) {
    return absl::InvalidArgumentError("more reads than the queue has room for");
  }
  std::vector<IoRead> forwarded;
  for (const IoRead& read : reads) {
    Pending pending{read, false, {}};
    pending.faulty = ChooseFault(counts_->reads_seen++, &pending.fault);
    if (pending.faulty) ++counts_->faults;
    if (pending.faulty && pending.fault.kind == FaultKind::kErrno) {
      ready_.push_back({read.tag, -pending.fault.error_number});
      continue;
    }
    if (free_slots_.empty()) {
      free_slots_.push_back(pending_.size());
      pending_.emplace_back();
    }
    const size_t slot = free_slots_.back();
    free_slots_.pop_back();
    pending_[slot] = pending;
    IoRead inner_read = read;
    inner_read.tag = slot;
    if (pending.faulty && pending.fault.kind == FaultKind::kWrongOffset) {
      inner_read.offset += std::max<uint64_t>(kMisdirection, capabilities().alignment);
    }
    forwarded.push_back(inner_read);
  }
  return forwarded.empty() ? absl::OkStatus() : inner_->Submit(forwarded);
}

int64_t FaultEngine::ShortLength(const Pending& pending, int64_t result) const {
  const uint64_t got = static_cast<uint64_t>(result);
  switch (pending.fault.kind) {
    case FaultKind::kShortAligned: {
      const uint64_t unit =
          capabilities().alignment > 1 ? capabilities().alignment : kShortUnit;
      return static_cast<int64_t>(got / 2 / unit * unit);
    }
    case FaultKind::kShortOdd:
      return static_cast<int64_t>((got / 2) | 1);
    case FaultKind::kZero:
      return 0;
    default:
      return result;
  }
}

// Returns `bytes`, and overwrites what the inner engine had read beyond them: a caller that
// trusts the rest of a short read sees rubbish.
int64_t FaultEngine::Shorten(const Pending& pending, int64_t result, uint64_t bytes) {
  uint64_t position = 0;
  for (const IoSegment& segment : pending.read.segments) {
    const uint64_t left = bytes - std::min(bytes, position);
    const uint64_t keep = std::min<uint64_t>(left, segment.bytes);
    std::memset(segment.data + keep, 0xa5, segment.bytes - keep);
    position += segment.bytes;
  }
  return std::min<int64_t>(result, static_cast<int64_t>(bytes));
}

void FaultEngine::FlipByte(const Pending& pending, int64_t result) {
  uint64_t position = random_() % static_cast<uint64_t>(result);
  for (const IoSegment& segment : pending.read.segments) {
    if (position < segment.bytes) {
      segment.data[position] ^= std::byte{1};
      return;
    }
    position -= segment.bytes;
  }
}

void FaultEngine::Spoil(const IoCompletion& raw) {
  const Pending pending = pending_[raw.tag];
  free_slots_.push_back(raw.tag);
  IoCompletion completion{pending.read.tag, raw.result};
  if (raw.result > 0) {
    if (pending.faulty) {
      const int64_t kept = ShortLength(pending, raw.result);
      if (kept < raw.result) {
        completion.result = Shorten(pending, raw.result, static_cast<uint64_t>(kept));
      }
      if (pending.fault.kind == FaultKind::kFlippedByte) FlipByte(pending, raw.result);
    }
    const uint64_t end = pending.read.offset + static_cast<uint64_t>(completion.result);
    if (end > plan_.file_bytes) {
      const uint64_t left =
          plan_.file_bytes - std::min(plan_.file_bytes, pending.read.offset);
      completion.result = Shorten(pending, completion.result, left);
    }
  }
  if (pending.faulty && pending.fault.kind == FaultKind::kLate) {
    held_.push_back({completion, kLateReaps});
  } else {
    ready_.push_back(completion);
  }
}

absl::Status FaultEngine::Reap(size_t min_complete, std::chrono::milliseconds timeout,
                               std::vector<IoCompletion>* out) {
  const uint64_t call = counts_->reaps++;
  if (call == plan_.failing_reap) {
    ++counts_->faults;
    return absl::UnavailableError("injected: Reap fails");
  }
  const size_t wanted = std::min(min_complete, in_flight());
  for (Held& held : held_) --held.reaps_left;
  const auto due = std::stable_partition(held_.begin(), held_.end(),
                                         [](const Held& held) { return held.reaps_left > 0; });
  for (auto held = due; held != held_.end(); ++held) ready_.push_back(held->completion);
  held_.erase(due, held_.end());

  std::vector<IoCompletion> raw;
  const size_t missing = wanted - std::min(wanted, ready_.size());
  const absl::Status status =
      inner_->Reap(std::min(missing, inner_->in_flight()), timeout, &raw);
  for (const IoCompletion& completion : raw) Spoil(completion);
  while (ready_.size() < wanted && !held_.empty()) {
    ready_.push_back(held_.back().completion);
    held_.pop_back();
  }
  if (plan_.reorder) std::shuffle(ready_.begin(), ready_.end(), random_);
  out->insert(out->end(), ready_.begin(), ready_.end());
  ready_.clear();
  return status;
}

}  // namespace sluice::testing
