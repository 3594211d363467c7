#include "capi/src/handles.h"

#include "absl/strings/str_cat.h"
#include "capi/src/status.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

// Garbage-collected hosts take values below a page for a defect; steps of 16 look aligned.
constexpr uintptr_t kFirstHandle = 0x10000;
constexpr uintptr_t kHandleStep = 16;

absl::Status NotAHandle(const void* handle, const char* type) {
  if (handle == nullptr) return absl::InvalidArgumentError(absl::StrCat("the ", type, " is NULL"));
  return absl::InvalidArgumentError(
      absl::StrCat("not a ", type, " handle, or one that is closed"));
}

}  // namespace

uintptr_t NewHandleValue() {
  static std::atomic<uintptr_t> next{kFirstHandle};
  return next.fetch_add(kHandleStep, std::memory_order_relaxed);
}

absl::StatusOr<Stats> SessionHandle::CopyStats() {
  Stats stats;
  SLUICE_RETURN_IF_ERROR(Peek([&](const Session& session) { stats = session.stats(); }));
  return stats;
}

absl::StatusOr<std::shared_ptr<BackendHandle>> BackendHandle::Create(
    std::unique_ptr<WeightBackend> backend) {
  std::vector<BackendLayer> layers;
  for (uint32_t i = 0; i < backend->num_layers(); ++i) {
    absl::StatusOr<BackendLayer> layer = backend->layer(i);
    if (!layer.ok()) return absl::InternalError(layer.status().message());
    layers.push_back(*std::move(layer));
  }
  return std::shared_ptr<BackendHandle>(
      new BackendHandle(std::move(backend), std::move(layers)));
}

absl::StatusOr<BackendStats> BackendHandle::CopyStats() {
  BackendStats stats;
  SLUICE_RETURN_IF_ERROR(Peek([&](const WeightBackend& backend) { stats = backend.stats(); }));
  return stats;
}

absl::StatusOr<BackendLayer> BackendHandle::layer(uint32_t layer) const {
  if (layer < layers_.size()) return layers_[layer];
  return absl::InvalidArgumentError(
      absl::StrCat("layer ", layer, " of a model with ", layers_.size(), " layers"));
}

ModelTable& Models() {
  static ModelTable* table = new ModelTable;
  return *table;
}

SessionTable& Sessions() {
  static SessionTable* table = new SessionTable;
  return *table;
}

BackendTable& Backends() {
  static BackendTable* table = new BackendTable;
  return *table;
}

absl::StatusOr<std::shared_ptr<FlashModel>> FindModel(const sluice_model* handle) {
  std::shared_ptr<FlashModel> model = Models().Find(handle);
  if (model == nullptr) return NotAHandle(handle, "model");
  return model;
}

absl::StatusOr<std::shared_ptr<SessionHandle>> FindSession(const sluice_session* handle) {
  std::shared_ptr<SessionHandle> session = Sessions().Find(handle);
  if (session == nullptr) return NotAHandle(handle, "session");
  return session;
}

absl::StatusOr<std::shared_ptr<BackendHandle>> FindBackend(const sluice_backend* handle) {
  std::shared_ptr<BackendHandle> backend = Backends().Find(handle);
  if (backend == nullptr) return NotAHandle(handle, "backend");
  return backend;
}

absl::Status CheckNotNull(const void* pointer, const char* name) {
  if (pointer != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is NULL"));
}

absl::Status CheckArray(const void* pointer, size_t count, size_t element_bytes,
                        const char* name) {
  if (count == 0) return absl::OkStatus();
  if (count > PTRDIFF_MAX / element_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a count of ", count, " for ", name, " is more than memory can hold"));
  }
  return CheckNotNull(pointer, name);
}

absl::Status TooLittleRoom(size_t room, const char* what, size_t needed) {
  return absl::InvalidArgumentError(
      absl::StrCat("room for ", room, " ", what, " was given, ", needed, " are needed"));
}

}  // namespace sluice::capi
