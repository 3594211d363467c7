// sluice_backend_...
#include "sluice_backend.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "capi/src/handles.h"
#include "capi/src/status.h"
#include "capi/src/structs.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

absl::Status Create(const sluice_model* handle, sluice_backend** out) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(out, "backend"));
  *out = nullptr;
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModel> model, FindModel(handle));
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<WeightBackend> made, model->CreateWeightBackend());
  SLUICE_ASSIGN_OR_RETURN(std::shared_ptr<BackendHandle> backend,
                          BackendHandle::Create(std::move(made)));
  *out = Backends().Add(std::move(backend));
  return absl::OkStatus();
}

int32_t NumberOf(RowType type) {
  switch (type) {
    case RowType::kF16:
      return SLUICE_ELEMENT_F16;
    case RowType::kBf16:
      return SLUICE_ELEMENT_BF16;
    case RowType::kF32:
      break;
  }
  return SLUICE_ELEMENT_F32;
}

// NULL where there is none.
const float* BiasPointer(absl::Span<const float> bias) {
  return bias.empty() ? nullptr : bias.data();
}

absl::Status CopyLayer(const sluice_backend* handle, uint32_t layer, sluice_layer_info* info) {
  SLUICE_ASSIGN_OR_RETURN(const auto backend, FindBackend(handle));
  SLUICE_ASSIGN_OR_RETURN(const BackendLayer found, backend->layer(layer));
  sluice_layer_info c = {};
  c.d_model = found.d_model;
  c.d_ffn = found.d_ffn;
  c.element = NumberOf(found.row_type);
  c.neurons_per_record = found.neurons_per_record;
  c.num_records = found.num_records;
  c.num_slots = found.num_slots;
  c.has_predictor = found.has_predictor ? 1 : 0;
  c.has_lookahead = found.has_lookahead ? 1 : 0;
  c.up_bias = BiasPointer(found.up_bias);
  c.down_bias = BiasPointer(found.down_bias);
  return WriteStruct(c, info, "sluice_layer_info");
}

absl::Status Forward(const sluice_backend* handle, uint32_t layer, size_t num_tokens,
                     const float* x, float* y) {
  SLUICE_ASSIGN_OR_RETURN(const auto backend, FindBackend(handle));
  SLUICE_ASSIGN_OR_RETURN(const BackendLayer info, backend->layer(layer));
  const size_t d_model = info.d_model;
  SLUICE_RETURN_IF_ERROR(CheckArray(x, num_tokens, d_model * sizeof(float), "x"));
  SLUICE_RETURN_IF_ERROR(CheckArray(y, num_tokens, d_model * sizeof(float), "y"));
  return backend->Run([&](WeightBackend& b) {
    return b.Forward(layer, {x, num_tokens * d_model}, {y, num_tokens * d_model});
  });
}

absl::Status Predict(const sluice_backend* handle, uint32_t layer, const float* x,
                     absl::Span<uint32_t> neurons, size_t* count) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(count, "neuron_count"));
  *count = 0;
  SLUICE_ASSIGN_OR_RETURN(const auto backend, FindBackend(handle));
  SLUICE_ASSIGN_OR_RETURN(const BackendLayer info, backend->layer(layer));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(x, "x"));
  SLUICE_RETURN_IF_ERROR(
      CheckArray(neurons.data(), neurons.size(), sizeof(uint32_t), "neurons"));
  return backend->Run([&](WeightBackend& b) -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const absl::Span<const uint32_t> active,
                            b.Predict(layer, {x, info.d_model}));
    *count = active.size();
    if (active.size() > neurons.size()) {
      return TooLittleRoom(neurons.size(), "neurons", active.size());
    }
    std::copy(active.begin(), active.end(), neurons.begin());
    return absl::OkStatus();
  });
}

absl::Status Acquire(const sluice_backend* handle, uint32_t layer,
                     absl::Span<const uint32_t> neurons, uint32_t more, const void** up_rows,
                     const void** down_rows) {
  SLUICE_ASSIGN_OR_RETURN(const auto backend, FindBackend(handle));
  SLUICE_ASSIGN_OR_RETURN(const bool goes_on, ReadFlag(more, "more"));
  const size_t count = neurons.size();
  SLUICE_RETURN_IF_ERROR(CheckArray(neurons.data(), count, sizeof(uint32_t), "neurons"));
  SLUICE_RETURN_IF_ERROR(CheckArray(up_rows, count, sizeof(void*), "up_rows"));
  SLUICE_RETURN_IF_ERROR(CheckArray(down_rows, count, sizeof(void*), "down_rows"));
  return backend->Run([&](WeightBackend& b) {
    return b.Acquire(layer, neurons, goes_on, {up_rows, count}, {down_rows, count});
  });
}

absl::Status Hint(const sluice_backend* handle, uint32_t layer, const float* x) {
  SLUICE_ASSIGN_OR_RETURN(const auto backend, FindBackend(handle));
  SLUICE_ASSIGN_OR_RETURN(const BackendLayer info, backend->layer(layer));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(x, "x"));
  return backend->Run([&](WeightBackend& b) { return b.Hint(layer, {x, info.d_model}); });
}

absl::Status CopyStats(const sluice_backend* handle, sluice_backend_stats* stats) {
  SLUICE_ASSIGN_OR_RETURN(const auto backend, FindBackend(handle));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(stats, "stats"));
  SLUICE_ASSIGN_OR_RETURN(const BackendStats copy, backend->CopyStats());
  sluice_backend_stats c = {};
  c.direct_io = copy.direct_io ? 1 : 0;
  c.tokens = copy.tokens;
  c.records_needed = copy.records_needed;
  c.records_missing = copy.records_missing;
  c.reads = copy.reads;
  c.bytes = copy.bytes;
  c.neurons_predicted = copy.neurons_predicted;
  c.neurons_active = copy.neurons_active;
  c.io_ms = static_cast<double>(copy.io_ns) / 1e6;
  c.total_ms = static_cast<double>(copy.total_ns) / 1e6;
  return WriteStruct(c, stats, "sluice_backend_stats");
}

}  // namespace
}  // namespace sluice::capi

using sluice::capi::Enter;
using sluice::capi::EnterQuietly;

sluice_status sluice_backend_create(sluice_model* model, sluice_backend** backend) {
  return Enter([&] { return sluice::capi::Create(model, backend); });
}

void sluice_backend_close(sluice_backend* backend) {
  EnterQuietly([&] {
    if (const auto found = sluice::capi::Backends().Remove(backend)) found->Close();
  });
}

sluice_status sluice_backend_layer_copy(const sluice_backend* backend, uint32_t layer,
                                        sluice_layer_info* info) {
  return Enter([&] { return sluice::capi::CopyLayer(backend, layer, info); });
}

sluice_status sluice_backend_forward(sluice_backend* backend, uint32_t layer, size_t num_tokens,
                                     const float* x, float* y) {
  return Enter([&] { return sluice::capi::Forward(backend, layer, num_tokens, x, y); });
}

sluice_status sluice_backend_predict(sluice_backend* backend, uint32_t layer, const float* x,
                                     uint32_t* neurons, size_t neuron_capacity,
                                     size_t* neuron_count) {
  return Enter([&] {
    return sluice::capi::Predict(backend, layer, x, {neurons, neuron_capacity}, neuron_count);
  });
}

sluice_status sluice_backend_acquire(sluice_backend* backend, uint32_t layer,
                                     const uint32_t* neurons, size_t neuron_count,
                                     uint32_t more, const void** up_rows,
                                     const void** down_rows) {
  return Enter([&] {
    return sluice::capi::Acquire(backend, layer, {neurons, neuron_count}, more, up_rows,
                                 down_rows);
  });
}

sluice_status sluice_backend_release(sluice_backend* backend, uint32_t layer) {
  return Enter([&]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const auto found, sluice::capi::FindBackend(backend));
    return found->Run([&](sluice::WeightBackend& b) { return b.Release(layer); });
  });
}

sluice_status sluice_backend_hint(sluice_backend* backend, uint32_t layer, const float* x) {
  return Enter([&] { return sluice::capi::Hint(backend, layer, x); });
}

void sluice_backend_cancel(sluice_backend* backend) {
  EnterQuietly([&] {
    if (const auto found = sluice::capi::Backends().Find(backend)) found->Cancel();
  });
}

sluice_status sluice_backend_stats_copy(const sluice_backend* backend,
                                        sluice_backend_stats* stats) {
  return Enter([&] { return sluice::capi::CopyStats(backend, stats); });
}
