#include "lib/model/lookahead.h"

#include <algorithm>
#include <cstddef>

#include "lib/base/clock.h"
#include "lib/base/status_macros.h"

namespace sluice {

Lookahead::Lookahead(bool enabled, uint32_t d_ffn, uint32_t max_rank, uint32_t max_records,
                     NeuronCache* cache, const Weights* weights, BundleLoader* loader,
                     ThreadPool* pool, const std::atomic<bool>* cancelled)
    : cache_(cache),
      weights_(weights),
      loader_(loader),
      pool_(pool),
      cancelled_(cancelled),
      gain_(enabled && weights->has_lookahead(), weights->num_layers()) {
  if (!gain_.enabled()) return;
  neurons_.reserve(d_ffn);
  scratch_.resize(size_t{max_rank} + d_ffn);
  candidates_.reserve(max_records);
  guess_.reserve(max_records);
  fills_.reserve(max_records);
  reads_.reserve(max_records);
}

uint64_t Lookahead::BytesFor(uint32_t d_ffn, uint32_t max_rank, uint32_t max_records) {
  return uint64_t{d_ffn} * 8 + uint64_t{max_rank} * 4 +
         uint64_t{max_records} * (8 + 4 + sizeof(SlotFill) + sizeof(RecordRead));
}

absl::Status Lookahead::Start(uint32_t layer, const float* x, bool asked) {
  const bool on = asked ? gain_.enabled() : gain_.on();
  if (!on || layer >= weights_->num_layers()) return absl::OkStatus();
  const LowRankPredictor& predictor = weights_->layer(layer).lookahead;
  if (!predictor.present()) return absl::OkStatus();
  LayerSlots& slots = cache_->layer(layer);
  LayerSlots::Lease lease = LayerSlots::Lease::Try(&slots);
  if (!lease.held()) return absl::OkStatus();
  predictor.Predict(x, 1, pool_, cancelled_, scratch_.data(), &neurons_);
  if (cancelled_->load(std::memory_order_relaxed)) return absl::OkStatus();

  const int64_t start = NowNs();
  ListCandidates(predictor, slots);
  // The layer itself decides about what does not fit: a quarter of the slots remain for that.
  const size_t most = slots.window.num_slots() / 4 * 3;
  if (guess_.size() >= most) return absl::OkStatus();
  size_t keep = static_cast<size_t>(gain_.share(layer) * static_cast<double>(candidates_.size()));
  keep = std::min(keep, most - guess_.size());
  std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(keep),
                   candidates_.end(), [](const auto& a, const auto& b) { return a > b; });
  AddToGuess(keep);
  // The guess is the first part of the layer's token; what it really needs is the second.
  SLUICE_RETURN_IF_ERROR(slots.window.AdvanceBatch(guess_, /*first=*/true, &fills_));
  layer_ = layer;
  lease_ = std::move(lease);
  reads_.clear();
  for (const SlotFill& fill : fills_) reads_.push_back({fill.record, slots.slot_data(fill.slot)});
  meter_.records += fills_.size();
  meter_.memory_ns += NowNs() - start;
  return loader_->Submit(layer, reads_);
}

// The records of the neurons guessed: into guess_ what has a slot, into candidates_ the others with
// the best score of their neurons.
void Lookahead::ListCandidates(const LowRankPredictor& predictor, const LayerSlots& slots) {
  candidates_.clear();
  guess_.clear();
  const float* scores = predictor.Scores(scratch_.data(), 1);
  uint32_t last = UINT32_MAX;
  for (const uint32_t neuron : neurons_) {
    const uint32_t record = slots.layout.record_of(neuron);
    const bool resident = slots.window.slot(record) != NeuronWindow::kNoSlot;
    if (record != last) {
      if (resident) {
        guess_.push_back(record);
      } else {
        candidates_.emplace_back(scores[neuron], record);
      }
    } else if (!resident) {
      candidates_.back().first = std::max(candidates_.back().first, scores[neuron]);
    }
    last = record;
  }
}

// The first `count` candidates, from the back, so that nothing has to be copied aside.
void Lookahead::AddToGuess(size_t count) {
  std::sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(count),
            [](const auto& a, const auto& b) { return a.second < b.second; });
  size_t from = guess_.size(), to = from + count;
  guess_.resize(to);
  while (count > 0) {
    const uint32_t record = candidates_[count - 1].second;
    if (from > 0 && guess_[from - 1] > record) {
      guess_[--to] = guess_[--from];
    } else {
      guess_[--to] = record;
      --count;
    }
  }
}

LayerSlots::Lease Lookahead::Take(std::vector<SlotFill>* fills) {
  fills->clear();
  std::swap(*fills, fills_);
  LendTo(nullptr);
  return std::move(lease_);
}

void Lookahead::LendTo(const std::shared_ptr<IdleHolder>& holder) {
  if (lease_.held()) lease_.SetIdleHolder(holder);
}

void Lookahead::Learn(uint32_t layer, absl::Span<const SlotFill> fills,
                      absl::Span<const uint32_t> needed, size_t missing) {
  size_t used = 0;
  auto next = needed.begin();
  for (const SlotFill& fill : fills) {
    next = std::lower_bound(next, needed.end(), fill.record);
    used += next != needed.end() && *next == fill.record;
  }
  meter_.used += used;
  gain_.Learn(layer, fills.size(), used, missing);
}

void Lookahead::Abandon() {
  loader_->Cancel();
  if (!lease_.held()) return;
  cache_->layer(layer_).window.Drop(fills_);
  fills_.clear();
  lease_.Release();
}

}  // namespace sluice
