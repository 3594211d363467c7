#include "sluice/weight_backend.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/weight_backend_impl.h"

namespace sluice {
namespace {

RowType RowTypeOf(ElementType type) {
  switch (type) {
    case ElementType::kF16:
      return RowType::kF16;
    case ElementType::kBF16:
      return RowType::kBf16;
    case ElementType::kF32:
      break;
  }
  return RowType::kF32;
}

absl::Span<const float> BiasSpan(const float* bias, size_t size) {
  return {bias, bias == nullptr ? 0 : size};
}

bool Overlap(absl::Span<const float> x, absl::Span<float> y) {
  const std::less<const float*> before;
  return before(x.data(), y.data() + y.size()) && before(y.data(), x.data() + x.size());
}

}  // namespace

void WeightBackendImpl::Idle::GiveUp() {
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (lock.owns_lock() && ffn_ != nullptr) ffn_->lookahead().Abandon();
}

void WeightBackendImpl::Idle::End() {
  std::lock_guard<std::mutex> lock(mutex_);
  ffn_->lookahead().Abandon();
  ffn_ = nullptr;
}

// The time that a call takes. What is still being read ahead when it ends is there for the asking.
class WeightBackendImpl::Call {
 public:
  Call(WeightBackendImpl* backend, int64_t* total_ns)
      : backend_(backend), total_ns_(total_ns), start_ns_(NowNs()),
        lock_(backend->idle_->mutex()) {}
  ~Call() {
    backend_->context_->ffn->lookahead().LendTo(backend_->idle_);
    if (total_ns_ != nullptr) *total_ns_ += NowNs() - start_ns_;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  WeightBackendImpl* const backend_;
  int64_t* const total_ns_;
  const int64_t start_ns_;
  const std::lock_guard<std::mutex> lock_;
};

WeightBackendImpl::WeightBackendImpl(std::shared_ptr<FlashModelImpl> model,
                                     SessionContext* context)
    : model_(std::move(model)),
      context_(context),
      idle_(std::make_shared<Idle>(context->ffn.get())),
      at_start_(context->loader->stats()),
      acquired_(model_->config().num_layers) {
  context_->cancelled.store(false, std::memory_order_relaxed);
  context_->ffn->meter() = FfnMeter();
  context_->ffn->lookahead().meter() = LookaheadMeter();
}

WeightBackendImpl::~WeightBackendImpl() {
  idle_->End();
  acquired_.clear();
  model_->TakeBack(context_);
}

absl::Status WeightBackendImpl::CheckLayer(uint32_t layer) const {
  if (layer < num_layers()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("layer ", layer, " of a model with ", num_layers(), " layers"));
}

absl::Status WeightBackendImpl::CheckInput(absl::Span<const float> x) const {
  const size_t d_model = model_->config().d_model;
  if (x.size() == d_model) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("an input of ", x.size(), " values, expected d_model = ", d_model));
}

absl::Status WeightBackendImpl::CheckNotAcquired(uint32_t layer) const {
  if (!acquired_[layer].held()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("rows of layer ", layer, " are acquired; release them first"));
}

absl::Status WeightBackendImpl::CheckNeurons(uint32_t layer,
                                             absl::Span<const uint32_t> neurons) const {
  for (size_t i = 1; i < neurons.size(); ++i) {
    if (neurons[i] > neurons[i - 1]) continue;
    return absl::InvalidArgumentError(absl::StrCat("neurons are not strictly ascending: ",
                                                   neurons[i - 1], " before ", neurons[i]));
  }
  const uint32_t d_ffn = model_->config().d_ffn;
  if (neurons.empty() || neurons.back() < d_ffn) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("neuron ", neurons.back(), " of layer ", layer,
                                                 " with ", d_ffn, " neurons"));
}

// The status of a call that is over; a cancellation has then been used up.
absl::Status WeightBackendImpl::Settle(absl::Status status) {
  if (absl::IsCancelled(status)) context_->cancelled.store(false, std::memory_order_relaxed);
  return status;
}

absl::StatusOr<BackendLayer> WeightBackendImpl::layer(uint32_t layer) const {
  SLUICE_RETURN_IF_ERROR(CheckLayer(layer));
  const LayerSlots& slots = model_->cache().layer(layer);
  const LayerWeights& weights = model_->weights().layer(layer);
  BackendLayer info;
  info.d_model = slots.layout.row_elements;
  info.d_ffn = slots.layout.num_neurons;
  info.row_type = RowTypeOf(slots.layout.type);
  info.neurons_per_record = slots.layout.neurons_per_record;
  info.num_records = slots.layout.num_records;
  info.num_slots = slots.window.num_slots();
  info.has_predictor = weights.predictor.present();
  info.has_lookahead =
      weights.lookahead.present() && context_->ffn->lookahead().gain().enabled();
  info.up_bias = BiasSpan(weights.up_bias, info.d_ffn);
  info.down_bias = BiasSpan(weights.down_bias, info.d_model);
  return info;
}

absl::Status WeightBackendImpl::Forward(uint32_t layer, absl::Span<const float> x,
                                        absl::Span<float> y) {
  SLUICE_RETURN_IF_ERROR(CheckLayer(layer));
  const size_t d_model = model_->config().d_model;
  if (x.size() % d_model != 0 || y.size() != x.size()) {
    return absl::InvalidArgumentError(absl::StrCat("an input of ", x.size(), " and an output of ",
                                                   y.size(), " values, expected the same multiple"
                                                   " of d_model = ", d_model));
  }
  if (Overlap(x, y)) return absl::InvalidArgumentError("input and output overlap");
  const Call call(this, &total_ns_);
  SLUICE_RETURN_IF_ERROR(CheckNotAcquired(layer));
  if (x.empty()) return absl::OkStatus();
  return Settle(RunChunks(layer, x, y));
}

// Calls for one token each with the layers in turn are a pass, as a session's token is. Anything
// else is a pass of no tokens: nothing is read ahead then, and its time says nothing.
absl::Status WeightBackendImpl::RunChunks(uint32_t layer, absl::Span<const float> x,
                                          absl::Span<float> y) {
  FfnStep& ffn = *context_->ffn;
  const size_t d_model = model_->config().d_model, num_tokens = x.size() / d_model;
  const bool in_turn = num_tokens == 1 && (layer == 0 || layer == next_layer_);
  if (!in_turn || layer == 0 || !in_pass_) ffn.BeginPass(in_turn ? num_tokens : 0);
  in_pass_ = in_turn;
  next_layer_ = 0;
  const size_t chunk = model_->options().prefill_chunk_tokens;
  for (size_t first = 0; first < num_tokens; first += chunk) {
    const size_t count = std::min(chunk, num_tokens - first), at = first * d_model;
    const absl::Status status = ffn.Run(layer, count, x.data() + at, y.data() + at);
    if (status.ok()) continue;
    ffn.EndPass();
    return status;
  }
  tokens_ += num_tokens;
  if (num_tokens == 1 && layer + 1 < num_layers()) {
    next_layer_ = layer + 1;
  } else {
    ffn.EndPass();
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const uint32_t>> WeightBackendImpl::Predict(
    uint32_t layer, absl::Span<const float> x) {
  SLUICE_RETURN_IF_ERROR(CheckLayer(layer));
  SLUICE_RETURN_IF_ERROR(CheckInput(x));
  const Call call(this, &total_ns_);
  context_->ffn->Tend();
  return context_->ffn->Predict(layer, x.data());
}

absl::Status WeightBackendImpl::Acquire(uint32_t layer, absl::Span<const uint32_t> neurons,
                                        bool more, absl::Span<const void*> up_rows,
                                        absl::Span<const void*> down_rows) {
  SLUICE_RETURN_IF_ERROR(CheckLayer(layer));
  SLUICE_RETURN_IF_ERROR(CheckNeurons(layer, neurons));
  if (up_rows.size() != neurons.size() || down_rows.size() != neurons.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("room for ", up_rows.size(), " up rows and ", down_rows.size(),
                     " down rows of ", neurons.size(), " neurons"));
  }
  const Call call(this, &total_ns_);
  SLUICE_RETURN_IF_ERROR(CheckNotAcquired(layer));
  absl::StatusOr<LayerSlots::Lease> lease = context_->ffn->Fetch(layer, neurons, more);
  if (!lease.ok()) return Settle(lease.status());
  next_layer_ = 0;
  acquired_[layer] = *std::move(lease);
  if (!more) ++tokens_;
  LayerSlots& slots = model_->cache().layer(layer);
  for (size_t i = 0; i < neurons.size(); ++i) {
    const uint32_t n = neurons[i];
    const std::byte* record = slots.slot_data(slots.window.slot(slots.layout.record_of(n)));
    up_rows[i] = record + slots.layout.up_offset(n);
    down_rows[i] = record + slots.layout.down_offset(n);
  }
  return absl::OkStatus();
}

absl::Status WeightBackendImpl::Release(uint32_t layer) {
  SLUICE_RETURN_IF_ERROR(CheckLayer(layer));
  const Call call(this, nullptr);
  if (!acquired_[layer].held()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no rows of layer ", layer, " are acquired"));
  }
  acquired_[layer].Release();
  context_->ffn->Tend();
  return absl::OkStatus();
}

absl::Status WeightBackendImpl::Hint(uint32_t layer, absl::Span<const float> x) {
  SLUICE_RETURN_IF_ERROR(CheckLayer(layer));
  SLUICE_RETURN_IF_ERROR(CheckInput(x));
  const Call call(this, nullptr);
  Lookahead& lookahead = context_->ffn->lookahead();
  const bool known = model_->weights().layer(layer).lookahead.present();
  if (!known || lookahead.holds(layer)) return absl::OkStatus();
  if (lookahead.holds()) lookahead.Abandon();
  next_layer_ = 0;  // the pass says nothing any more about reading ahead by itself
  const absl::Status status = lookahead.Start(layer, x.data(), /*asked=*/true);
  if (!status.ok()) lookahead.Abandon();
  return status;
}

BackendStats WeightBackendImpl::stats() const {
  const std::lock_guard<std::mutex> lock(idle_->mutex());
  const FfnMeter& meter = context_->ffn->meter();
  const LookaheadMeter& ahead = context_->ffn->lookahead().meter();
  const LoaderStats& loader = context_->loader->stats();
  BackendStats stats;
  stats.tokens = tokens_;
  stats.records_needed = meter.records_needed;
  stats.records_missing = meter.records_missing;
  stats.records_ahead = ahead.records;
  stats.records_ahead_used = ahead.used;
  stats.reads = loader.reads - at_start_.reads;
  stats.bytes = loader.bytes - at_start_.bytes;
  stats.neurons_predicted = meter.neurons_predicted;
  stats.neurons_active = meter.neurons_active;
  stats.io_ns = loader.waiting_ns - at_start_.waiting_ns + loader.starting_ns -
                at_start_.starting_ns;
  stats.total_ns = total_ns_;
  const IoCapabilities& io = context_->loader->capabilities();
  stats.engine = io.engine;
  stats.engine_reason = io.reason;
  stats.direct_io = io.direct_io;
  return stats;
}

}  // namespace sluice
