// What sessions and backends have in common as handles: one call at a time, cancelled from
// anywhere, closed at any time.
#ifndef SLUICE_CAPI_EXCLUSIVE_H_
#define SLUICE_CAPI_EXCLUSIVE_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "capi/src/status.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {

// Threads: any. Object has Cancel(), for any thread; the rest of it belongs to one call.
template <typename Object>
class Exclusive {
 public:
  // `type` is for messages: "session".
  Exclusive(std::unique_ptr<Object> object, const char* type)
      : type_(type), object_(std::move(object)) {}
  virtual ~Exclusive() = default;
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

  // Runs `body` with the object to itself. kFailedPrecondition: another call runs. After a
  // defect (kInternal, an exception) the handle answers kInternal for good: nobody knows what
  // state the object is in.
  absl::Status Run(absl::FunctionRef<absl::Status(Object& object)> body) {
    SLUICE_RETURN_IF_ERROR(Begin());
    try {
      absl::Status status = body(*object_);
      End(absl::IsInternal(status));
      return status;
    } catch (...) {
      End(true);
      return CaughtStatus();
    }
  }

  // For short looks at an object that no call is changing. kFailedPrecondition: one is.
  absl::Status Look(absl::FunctionRef<void(const Object& object)> body) {
    std::lock_guard<std::mutex> lock(mutex_);
    SLUICE_RETURN_IF_ERROR(CheckUsable());
    body(*object_);
    return absl::OkStatus();
  }

  void Cancel() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (object_ != nullptr) object_->Cancel();
  }

  // Ends the object; what runs is cancelled and waited for, unless this is one of its callbacks.
  void Close() {
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    if (!busy_) {
      object_.reset();
      return;
    }
    object_->Cancel();
    if (runner_ == std::this_thread::get_id()) return;  // End() does the rest
    idle_.wait(lock, [this] { return !busy_; });
  }

 protected:
  // Before the object is free for other calls.
  virtual void OnCallEnd(const Object&) {}

 private:
  absl::Status CheckUsable() const {
    if (closed_) {
      return absl::InvalidArgumentError(absl::StrCat("the ", type_, " was closed meanwhile"));
    }
    if (busy_) {
      return absl::FailedPreconditionError(
          absl::StrCat("another call on this ", type_, " has not returned yet"));
    }
    if (defect_) {
      return absl::InternalError(
          absl::StrCat("an earlier call on this ", type_, " met a defect; close it"));
    }
    return absl::OkStatus();
  }

  absl::Status Begin() {
    std::lock_guard<std::mutex> lock(mutex_);
    SLUICE_RETURN_IF_ERROR(CheckUsable());
    busy_ = true;
    runner_ = std::this_thread::get_id();
    return absl::OkStatus();
  }

  void End(bool defect) noexcept {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      OnCallEnd(*object_);
      defect_ = defect_ || defect;
      busy_ = false;
      if (closed_) object_.reset();
    }
    idle_.notify_all();
  }

  const char* const type_;
  std::mutex mutex_;  // guards what follows; while busy_, the object belongs to runner_
  std::condition_variable idle_;
  std::unique_ptr<Object> object_;  // nullptr once it has ended
  std::thread::id runner_;
  bool busy_ = false;
  bool closed_ = false;
  bool defect_ = false;
};

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_EXCLUSIVE_H_
