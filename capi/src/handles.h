// What the opaque handles of sluice.h stand for. A handle is a number in a pointer's clothes, given
// out once and never followed: so a NULL, closed, foreign or mistyped handle is found out without
// touching memory, and an object outlives the calls that are using it.
#ifndef SLUICE_CAPI_HANDLES_H_
#define SLUICE_CAPI_HANDLES_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sluice.h"
#include "sluice/flash_model.h"

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
class SessionHandle : public std::enable_shared_from_this<SessionHandle> {
 public:
  using Body = std::function<absl::Status(Session& session)>;
  using Done = std::function<void(const absl::Status& status)>;

  SessionHandle(std::unique_ptr<Session> session, uint32_t vocab_size)
      : vocab_size_(vocab_size), position_(session->position()), session_(std::move(session)) {}
  ~SessionHandle();

  // Runs `body` with the session to itself. kFailedPrecondition: another call runs. After a
  // defect (kInternal, an exception) the session answers kInternal for good: nobody knows what
  // state it is in.
  absl::Status Run(absl::FunctionRef<absl::Status(Session& session)> body);

  // The same on a thread of the handle's own, all signals blocked; returns at once. When `body` is
  // over, the session is free again, and then `done` runs on that thread with the status. What is
  // started while a `done` still runs waits for its end: no two of the handle's threads are ever in
  // the host's code. kResourceExhausted: no thread.
  absl::Status Start(Body body, Done done);

  // Runs `body`, which changes nothing. Any number of these overlap; kFailedPrecondition while one
  // of the above runs.
  absl::Status Look(absl::FunctionRef<absl::Status(const Session& session)> body);
  // As Look(); a callback of the call that runs may ask, too.
  absl::StatusOr<Stats> CopyStats();

  void Cancel();
  // Ends the session; what runs is cancelled and waited for, threads included, unless this is one
  // of its callbacks.
  void Close();

  // As of the last call that ended.
  uint32_t position() const { return position_.load(std::memory_order_relaxed); }
  uint32_t vocab_size() const { return vocab_size_; }

 private:
  struct Job;
  absl::Status CheckUsable() const;
  absl::Status Begin();
  absl::Status RunBody(absl::FunctionRef<absl::Status(Session& session)> body);
  void End(bool defect) noexcept;
  void EndLook() noexcept;
  void Work(Job& job);
  bool IsCallback() const;

  const uint32_t vocab_size_;
  std::atomic<uint32_t> position_{0};
  std::mutex mutex_;  // guards what follows; while busy_, the session belongs to runner_
  std::condition_variable idle_;
  std::unique_ptr<Session> session_;  // nullptr once it has ended
  std::thread::id runner_;
  std::thread thread_;       // the one started last; it joins the one before
  std::thread::id working_;  // the one of them that is in a body or in a `done`
  uint32_t looking_ = 0;     // bodies of Look()
  bool busy_ = false;
  bool closed_ = false;
  bool defect_ = false;
};

using ModelTable = HandleTable<sluice_model, FlashModel>;
using SessionTable = HandleTable<sluice_session, SessionHandle>;

// Process-wide, and never destroyed: threads may still be in a call while the process ends.
ModelTable& Models();
SessionTable& Sessions();

// kInvalidArgument when it is NULL, closed or something else.
absl::StatusOr<std::shared_ptr<FlashModel>> FindModel(const sluice_model* handle);
absl::StatusOr<std::shared_ptr<SessionHandle>> FindSession(const sluice_session* handle);

// kInvalidArgument "`name` is NULL" when it is.
absl::Status CheckNotNull(const void* pointer, const char* name);
// The same for an array: NULL is fine for no elements. Refuses counts that no array can have.
absl::Status CheckArray(const void* pointer, size_t count, size_t element_bytes,
                        const char* name);

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_HANDLES_H_
