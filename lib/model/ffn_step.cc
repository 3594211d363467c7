#include "lib/model/ffn_step.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "lib/base/checked.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/kernels/kernels.h"

namespace sluice {
namespace {

// When the active set is larger than the slots, this much is read at a time: a device's queue runs
// empty between batches, so they are long; but they push out what the window holds, so no more than
// this share of the slots.
constexpr uint64_t kBatchBytes = 64 << 20;
constexpr uint32_t kBatchShare = 2;
// The least work for one thread at a time: below it, handing over costs more than it saves.
constexpr size_t kGrainBytes = 64 << 10;
constexpr size_t kMinColumns = 256;
// Rows handed to AccumulateRows() at once, from the stack.
constexpr size_t kDownRows = 128;
// Tokens handed to RowDot() at once, from the stack. Any number gives the same bits.
constexpr size_t kUpTokens = 64;

// As torch.relu: NaN stays NaN, so that a broken weight is noticed and not hidden.
inline float Relu(float v) { return v <= 0 ? 0.0f : v; }

}  // namespace

FfnStep::FfnStep(const Shape& shape, NeuronCache* cache, const Weights* weights,
                 BundleLoader* loader, ThreadPool* pool, const std::atomic<bool>* cancelled)
    : shape_(shape), cache_(cache), weights_(weights), loader_(loader), pool_(pool),
      cancelled_(cancelled),
      lookahead_(shape.lookahead && shape.overlap && shape.window, shape.d_ffn, shape.max_rank,
                 shape.max_records, cache, weights, loader, pool, cancelled) {
  const size_t words = (shape.max_tokens + 63) / 64;
  predicted_.bits.resize(shape.d_ffn * words);
  if (shape.max_rank != 0) {
    active_.resize(shape.max_tokens);
    for (auto& ids : active_) ids.reserve(shape.d_ffn);
    predictor_scratch_.resize(shape.max_tokens * (shape.max_rank + shape.d_ffn));
  }
  outputs_.resize(shape.max_tokens * shape.d_ffn);
  needed_.reserve(shape.max_records);
  fills_.reserve(shape.max_records);
  ahead_fills_.reserve(shape.max_records);
  reads_.reserve(shape.max_records);
  resident_.reserve(shape.max_records);
  arrived_.reserve(shape.max_records);
  neurons_.reserve(shape.d_ffn);
  rows_.resize(shape.d_ffn);
  dots_.resize(shape.d_ffn);
}

uint64_t FfnStep::BytesFor(const Shape& s) {
  const uint64_t words = (s.max_tokens + 63) / 64;
  uint64_t bytes = s.d_ffn * words * 8 + s.max_tokens * s.d_ffn * 4;
  if (s.max_rank != 0) bytes += s.max_tokens * (2 * s.d_ffn + s.max_rank) * 4;
  bytes += s.max_records * (5 * 4 + 2 * sizeof(SlotFill) + sizeof(RecordRead));
  if (s.max_rank != 0) bytes += Lookahead::BytesFor(s.d_ffn, s.max_rank, s.max_records);
  return bytes + s.d_ffn * (4 + 8 + 4);
}

void FfnStep::BeginPass(size_t num_tokens) {
  one_token_ = num_tokens == 1;
  num_done_ = 0;
  if (one_token_) lookahead_.BeginPass();
}

void FfnStep::EndPass() {
  if (lookahead_.holds()) lookahead_.Abandon();
  if (one_token_ && num_done_ == weights_->num_layers()) lookahead_.EndPass();
}

absl::Status FfnStep::Run(uint32_t layer, size_t num_tokens, const float* x, float* y) {
  const LayerWeights& weights = weights_->layer(layer);
  LayerSlots& slots = cache_->layer(layer);
  if (observer_ != nullptr) observer_->OnInput(layer, num_tokens, x);
  ChooseActive(weights, num_tokens, x);
  std::fill(y, y + num_tokens * shape_.d_model, 0.0f);

  if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
  const int64_t start = NowNs();
  ListNeeded(slots.layout, num_tokens);
  const LayerSlots::Lease lease = Enter(layer, slots);
  meter_.memory_ns += NowNs() - start;
  if (!lease.held()) return absl::CancelledError("cancelled");
  fills_.clear();
  absl::Cleanup undo = [&] { Undo(slots); };  // by an exception too
  meter_.records_needed += needed_.size();
  if (MustLandFirst(slots)) SLUICE_RETURN_IF_ERROR(LandAhead(layer, slots));
  SLUICE_RETURN_IF_ERROR(RunBatches(layer, slots, num_tokens, x, y));
  std::move(undo).Cancel();
  slots.PublishWindow();
  ++num_done_;
  if (weights.down_bias != nullptr) {
    for (size_t t = 0; t < num_tokens; ++t) {
      kernels::Add(weights.down_bias, shape_.d_model, y + t * shape_.d_model);
    }
  }
  return absl::OkStatus();
}

absl::Status FfnStep::RunBatches(uint32_t layer, LayerSlots& slots, size_t num_tokens,
                                 const float* x, float* y) {
  const uint32_t num_slots = slots.window.num_slots();
  const size_t batch =
      needed_.size() <= num_slots
          ? std::max<size_t>(needed_.size(), 1)
          : std::clamp<size_t>(kBatchBytes / slots.layout.record_bytes, 1,
                               std::max(num_slots / kBatchShare, 1u));
  for (size_t first = 0; first < needed_.size() || first == 0; first += batch) {
    const auto records = absl::MakeConstSpan(needed_).subspan(first, batch);
    const bool whole = records.size() == needed_.size();
    const int64_t planning = NowNs();
    // A guess was the first part of this token.
    const absl::Status status =
        whole && !entered_ahead_
            ? slots.window.Advance(records, &fills_)
            : slots.window.AdvanceBatch(records, first == 0 && !entered_ahead_, &fills_);
    if (status.ok() && entered_ahead_ && whole) {
      lookahead_.Learn(layer, ahead_fills_, needed_, fills_.size());
    }
    meter_.memory_ns += NowNs() - planning;
    SLUICE_RETURN_IF_ERROR(status);
    meter_.records_missing += fills_.size();
    SLUICE_RETURN_IF_ERROR(RunBatch(layer, slots, records, num_tokens, x, y));
    fills_.clear();
  }
  return absl::OkStatus();
}

void FfnStep::ChooseActive(const LayerWeights& weights, size_t num_tokens, const float* x) {
  const size_t words = (num_tokens + 63) / 64;
  predicted_.words = words;
  const bool dense = !weights.predictor.present();
  all_neurons_ = dense || observer_ != nullptr;
  const auto begin = predicted_.bits.begin();
  const auto end = begin + static_cast<ptrdiff_t>(shape_.d_ffn * words);
  if (dense) {
    const size_t rest = num_tokens % 64;
    const uint64_t last = rest == 0 ? ~uint64_t{0} : (uint64_t{1} << rest) - 1;
    std::fill(begin, end, ~uint64_t{0});
    for (size_t n = 0; n < shape_.d_ffn; ++n) predicted_.bits[n * words + words - 1] = last;
    meter_.neurons_predicted += num_tokens * shape_.d_ffn;
    return;
  }
  weights.predictor.Predict(x, num_tokens, pool_, cancelled_, predictor_scratch_.data(),
                            active_.data());
  std::fill(begin, end, 0);
  for (size_t t = 0; t < num_tokens; ++t) {
    for (uint32_t n : active_[t]) predicted_.bits[n * words + t / 64] |= uint64_t{1} << (t % 64);
    meter_.neurons_predicted += active_[t].size();
  }
}

absl::Status FfnStep::RunBatch(uint32_t layer, LayerSlots& slots,
                               absl::Span<const uint32_t> records, size_t num_tokens,
                               const float* x, float* y) {
  SLUICE_RETURN_IF_ERROR(LoadAndComputeUp(layer, slots, records, num_tokens, x));
  // Everything is here (what was only guessed too, so that the lease covers all reads): the down
  // products of non-zero neurons in ascending id order.
  ListNeurons(slots, records);
  CountAndMask(layer, num_tokens);
  ComputeDown(slots.layout, num_tokens, y);
  if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
  return absl::OkStatus();
}

absl::Status FfnStep::LoadAndComputeUp(uint32_t layer, LayerSlots& slots,
                                       absl::Span<const uint32_t> records, size_t num_tokens,
                                       const float* x) {
  const int64_t start = NowNs();
  SortOut(slots, records);
  meter_.memory_ns += NowNs() - start;
  if (!reads_.empty()) SLUICE_RETURN_IF_ERROR(loader_->Submit(layer, reads_));
  const bool may_guess = one_token_ && !all_neurons_ && records.size() == needed_.size();
  if (may_guess) SLUICE_RETURN_IF_ERROR(lookahead_.Start(layer + 1, x));

  // The part that is here already, while the reads fly; then each piece as it lands.
  if (shape_.overlap) ComputeUp(layer, slots, resident_, num_tokens, x);
  while (loader_->pending(layer) > 0) {
    if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
    const size_t least =
        shape_.overlap ? std::max(kLeastPiece, loader_->pending(layer) / 2) : SIZE_MAX;
    SLUICE_RETURN_IF_ERROR(TakeArrivals(layer, least, slots));
    if (shape_.overlap) ComputeUp(layer, slots, arrived_, num_tokens, x);
  }
  if (!shape_.overlap) ComputeUp(layer, slots, records, num_tokens, x);
  if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("cancelled");
  return absl::OkStatus();
}

// Lists the neurons of `records` that some token uses, with their bundles in the slots.
void FfnStep::ListNeurons(LayerSlots& slots, absl::Span<const uint32_t> records) {
  const RecordLayout& layout = slots.layout;
  neurons_.clear();
  for (uint32_t record : records) {
    const std::byte* data = slots.slot_data(slots.window.slot(record));
    const uint32_t first = record * layout.neurons_per_record;
    const uint32_t end = std::min(first + layout.neurons_per_record, layout.num_neurons);
    for (uint32_t n = first; n < end; ++n) {
      if (!all_neurons_ && !predicted_.Any(n)) continue;
      rows_[neurons_.size()] = data + layout.up_offset(n);
      neurons_.push_back(n);
    }
  }
}

void FfnStep::ComputeUp(uint32_t layer, LayerSlots& slots, absl::Span<const uint32_t> records,
                        size_t num_tokens, const float* x) {
  if (records.empty()) return;
  ListNeurons(slots, records);
  const float* up_bias = weights_->layer(layer).up_bias;
  if (num_tokens == 1) {
    ComputeUpOneToken(up_bias, slots.layout, x);
  } else {
    ComputeUpManyTokens(up_bias, slots.layout, num_tokens, x);
  }
}

void FfnStep::ComputeUpOneToken(const float* up_bias, const RecordLayout& layout,
                                const float* x) {
  const size_t grain = std::max<size_t>(kGrainBytes / layout.row_bytes(), 1);
  pool_->ParallelFor(neurons_.size(), grain, [&](size_t begin, size_t end) {
    kernels::GatherDot(layout.type, rows_.data() + begin, end - begin, layout.row_elements, x,
                       dots_.data() + begin);
    for (size_t i = begin; i < end; ++i) {
      const uint32_t n = neurons_[i];
      outputs_[n] = Relu(up_bias == nullptr ? dots_[i] : dots_[i] + up_bias[n]);
    }
  });
}

void FfnStep::ComputeUpManyTokens(const float* up_bias, const RecordLayout& layout,
                                  size_t num_tokens, const float* x) {
  const size_t grain = std::max<size_t>(kGrainBytes / (layout.row_bytes() * num_tokens), 1);
  pool_->ParallelFor(neurons_.size(), grain, [&](size_t begin, size_t end) {
    const float* inputs[kUpTokens];
    size_t tokens[kUpTokens];
    float dots[kUpTokens];
    for (size_t i = begin; i < end; ++i) {
      if (cancelled_->load(std::memory_order_relaxed)) return;
      const uint32_t n = neurons_[i];
      float* out = outputs_.data() + n * num_tokens;
      const float bias = up_bias == nullptr ? 0.0f : up_bias[n];
      std::fill(out, out + num_tokens, 0.0f);
      for (size_t t = 0; t < num_tokens;) {
        size_t count = 0;
        for (; t < num_tokens && count < kUpTokens; ++t) {
          if (!all_neurons_ && !predicted_.Has(n, t)) continue;
          inputs[count] = x + t * layout.row_elements;
          tokens[count++] = t;
        }
        kernels::RowDot(layout.type, rows_[i], layout.row_elements, inputs, count, dots);
        for (size_t k = 0; k < count; ++k) {
          out[tokens[k]] = Relu(up_bias == nullptr ? dots[k] : dots[k] + bias);
        }
      }
    }
  });
}

// Reports and counts the neurons at hand; what was computed only for the observer is taken out.
void FfnStep::CountAndMask(uint32_t layer, size_t num_tokens) {
  if (observer_ != nullptr) {
    observer_->OnNeurons(layer, num_tokens, neurons_, outputs_.data(), predicted_);
    for (uint32_t n : neurons_) {
      for (size_t t = 0; t < num_tokens; ++t) {
        if (!predicted_.Has(n, t)) outputs_[n * num_tokens + t] = 0;
      }
    }
  }
  for (uint32_t n : neurons_) {
    for (size_t t = 0; t < num_tokens; ++t) {
      if (outputs_[n * num_tokens + t] != 0) ++meter_.neurons_active;
    }
  }
}

void FfnStep::ComputeDown(const RecordLayout& layout, size_t num_tokens, float* y) {
  const size_t down = layout.down_offset(0) - layout.up_offset(0);
  const size_t columns = shape_.d_model;
  const auto one = [&](size_t t, size_t column_begin, size_t column_end) {
    const void* rows[kDownRows];
    float values[kDownRows];
    size_t count = 0;
    const auto flush = [&] {
      kernels::AccumulateRows(layout.type, rows, values, count, y + t * columns, column_begin,
                              column_end);
      count = 0;
    };
    for (size_t i = 0; i < neurons_.size(); ++i) {
      const float value = outputs_[neurons_[i] * num_tokens + t];
      if (value == 0) continue;
      rows[count] = static_cast<const std::byte*>(rows_[i]) + down;
      values[count++] = value;
      if (count == kDownRows) flush();
    }
    if (count > 0) flush();
  };
  if (num_tokens == 1) {
    const size_t share = DivideRoundUp(columns, static_cast<size_t>(pool_->num_threads()));
    pool_->ParallelFor(columns, std::max(kMinColumns, static_cast<size_t>(RoundUp(share, 64))),
                       [&](size_t begin, size_t end) { one(0, begin, end); });
    return;
  }
  pool_->ParallelFor(num_tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      if (cancelled_->load(std::memory_order_relaxed)) return;
      one(t, 0, columns);
    }
  });
}

}  // namespace sluice
