// What the opaque handles of sluice.h stand for. A handle is a number in a pointer's clothes, given
// out once and never followed: so a NULL, closed, foreign or mistyped handle is found out without
// touching memory, and an object outlives the calls that are using it.
#ifndef SLUICE_CAPI_HANDLES_H_
#define SLUICE_CAPI_HANDLES_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "capi/src/exclusive.h"
#include "sluice.h"
#include "sluice/flash_model.h"
#include "sluice_backend.h"

namespace sluice::capi {

// A value that no handle had before, of any type.
uintptr_t NewHandleValue();

// Threads: any.
template <typename Handle, typename Object>
class HandleTable {
 public:
  Handle* Add(std::shared_ptr<Object> object) {
    const uintptr_t value = NewHandleValue();
    std::lock_guard<std::mutex> lock(mutex_);
    objects_.emplace(value, std::move(object));
    return reinterpret_cast<Handle*>(value);
  }
  // nullptr when it is not, or no longer, a handle of this type.
  std::shared_ptr<Object> Find(const Handle* handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    return found == objects_.end() ? nullptr : found->second;
  }
  std::shared_ptr<Object> Remove(const Handle* handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<Object> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

 private:
  std::mutex mutex_;
  absl::flat_hash_map<uintptr_t, std::shared_ptr<Object>> objects_;
};

// One session, one call at a time. Threads: any.
class SessionHandle : public Exclusive<Session> {
 public:
  SessionHandle(std::unique_ptr<Session> session, uint32_t vocab_size)
      : Exclusive(std::move(session), "session"), vocab_size_(vocab_size) {
    Peek([this](const Session& s) { OnCallEnd(s); }).IgnoreError();
  }

  // kFailedPrecondition: a call that may change the session runs, and this is no callback of it.
  absl::StatusOr<Stats> CopyStats();

  // As of the last call that ended.
  uint32_t position() const { return position_.load(std::memory_order_relaxed); }
  uint32_t vocab_size() const { return vocab_size_; }

 protected:
  void OnCallEnd(const Session& session) override {
    position_.store(session.position(), std::memory_order_relaxed);
  }

 private:
  const uint32_t vocab_size_;
  std::atomic<uint32_t> position_{0};
};

// One weight backend, one call at a time. Threads: any.
class BackendHandle : public Exclusive<WeightBackend> {
 public:
  // kInternal: a backend that does not know its own layers.
  static absl::StatusOr<std::shared_ptr<BackendHandle>> Create(
      std::unique_ptr<WeightBackend> backend);

  absl::StatusOr<BackendStats> CopyStats();

  // What never changes, also while a call runs. kInvalidArgument: no such layer.
  absl::StatusOr<BackendLayer> layer(uint32_t layer) const;

 private:
  BackendHandle(std::unique_ptr<WeightBackend> backend, std::vector<BackendLayer> layers)
      : Exclusive(std::move(backend), "backend"), layers_(std::move(layers)) {}

  const std::vector<BackendLayer> layers_;
};

using ModelTable = HandleTable<sluice_model, FlashModel>;
using SessionTable = HandleTable<sluice_session, SessionHandle>;
using BackendTable = HandleTable<sluice_backend, BackendHandle>;

// Process-wide, and never destroyed: threads may still be in a call while the process ends.
ModelTable& Models();
SessionTable& Sessions();
BackendTable& Backends();

// kInvalidArgument when it is NULL, closed or something else.
absl::StatusOr<std::shared_ptr<FlashModel>> FindModel(const sluice_model* handle);
absl::StatusOr<std::shared_ptr<SessionHandle>> FindSession(const sluice_session* handle);
absl::StatusOr<std::shared_ptr<BackendHandle>> FindBackend(const sluice_backend* handle);

// kInvalidArgument "`name` is NULL" when it is.
absl::Status CheckNotNull(const void* pointer, const char* name);
// The same for an array: NULL is fine for no elements. Refuses counts that no array can have.
absl::Status CheckArray(const void* pointer, size_t count, size_t element_bytes,
                        const char* name);
// kInvalidArgument: the caller's array does not hold what it is for.
absl::Status TooLittleRoom(size_t room, const char* what, size_t needed);

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_HANDLES_H_
