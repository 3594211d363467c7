// What sessions and backends have in common as handles: one call at a time, on the caller's thread
// or one of its own, cancelled from anywhere, closed at any time.
#ifndef SLUICE_CAPI_EXCLUSIVE_H_
#define SLUICE_CAPI_EXCLUSIVE_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "capi/src/status.h"
#include "lib/base/blocked_signals.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {

// Owned by shared_ptr. Threads: any. Object has Cancel(), for any thread; the rest of it belongs to
// one call.
template <typename Object>
class Exclusive : public std::enable_shared_from_this<Exclusive<Object>> {
 public:
  using Body = std::function<absl::Status(Object& object)>;
  using Done = std::function<void(const absl::Status& status)>;

  // `type` is for messages: "session".
  Exclusive(std::unique_ptr<Object> object, const char* type)
      : type_(type), object_(std::move(object)) {}
  virtual ~Exclusive();
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

  // Runs `body` with the object to itself. kFailedPrecondition: another call runs. After a
  // defect (kInternal, an exception) the handle answers kInternal for good: nobody knows what
  // state the object is in.
  absl::Status Run(absl::FunctionRef<absl::Status(Object& object)> body);

  // The same on a thread of the handle's own, all signals blocked; returns at once. When `body` is
  // over, the object is free again, and then `done` runs on that thread with the status. What is
  // started while a `done` still runs waits for its end: no two of the handle's threads are ever in
  // the host's code. kResourceExhausted: no thread.
  absl::Status Start(Body body, Done done);

  // Runs `body`, which changes nothing. Any number of these overlap; kFailedPrecondition while one
  // of the above runs, and those while one of these does.
  absl::Status Look(absl::FunctionRef<absl::Status(const Object& object)> body);
  // The same for a moment that a call can wait for; a callback of the call that runs may, too: it
  // is on the thread that changes the object, which waits for it.
  absl::Status Peek(absl::FunctionRef<void(const Object& object)> body);

  void Cancel();
  // Ends the object; what runs is cancelled and waited for, threads included, unless this is one
  // of its callbacks.
  void Close();

 protected:
  // Before the object is free for other calls. Must not throw.
  virtual void OnCallEnd(const Object&) {}

 private:
  struct Job;
  absl::Status CheckUsable() const;
  absl::Status Begin();
  absl::Status RunBody(absl::FunctionRef<absl::Status(Object& object)> body);
  void End(bool defect) noexcept;
  void EndLook() noexcept;
  void Work(Job& job);
  bool IsCallback() const;

  const char* const type_;
  std::mutex mutex_;  // guards what follows; while busy_, the object belongs to runner_
  std::condition_variable idle_;
  std::unique_ptr<Object> object_;  // nullptr once it has ended
  std::thread::id runner_;
  std::thread thread_;       // the one started last; it joins the one before
  std::thread::id working_;  // the one of them that is in a body or in a `done`
  uint32_t looking_ = 0;     // bodies of Look()
  bool busy_ = false;
  bool closed_ = false;
  bool defect_ = false;
};

// What one of a handle's threads is for.
template <typename Object>
struct Exclusive<Object>::Job {
  std::shared_ptr<Exclusive> handle;  // keeps it while the thread lives
  std::thread previous;
  Body body;
  Done done;
};

template <typename Object>
Exclusive<Object>::~Exclusive() {
  if (!thread_.joinable()) return;
  // Closed by its own callback, nobody has waited for the thread; and the last to let go of the
  // handle is most often that thread, at its very end.
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

template <typename Object>
absl::Status Exclusive<Object>::CheckUsable() const {
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

template <typename Object>
absl::Status Exclusive<Object>::Begin() {
  SLUICE_RETURN_IF_ERROR(CheckUsable());
  if (looking_ > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("a call that reads this ", type_, " has not returned yet"));
  }
  busy_ = true;
  runner_ = std::this_thread::get_id();
  return absl::OkStatus();
}

template <typename Object>
void Exclusive<Object>::End(bool defect) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    OnCallEnd(*object_);
    defect_ = defect_ || defect;
    busy_ = false;
    if (closed_) object_.reset();
  }
  idle_.notify_all();
}

template <typename Object>
absl::Status Exclusive<Object>::RunBody(absl::FunctionRef<absl::Status(Object&)> body) {
  try {
    absl::Status status = body(*object_);
    End(absl::IsInternal(status));
    return status;
  } catch (...) {
    End(true);
    return CaughtStatus();
  }
}

template <typename Object>
absl::Status Exclusive<Object>::Run(absl::FunctionRef<absl::Status(Object&)> body) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    SLUICE_RETURN_IF_ERROR(Begin());
  }
  return RunBody(body);
}

template <typename Object>
absl::Status Exclusive<Object>::Start(Body body, Done done) {
  const auto job = std::make_shared<Job>();
  job->handle = this->shared_from_this();
  job->body = std::move(body);
  job->done = std::move(done);
  std::lock_guard<std::mutex> lock(mutex_);
  SLUICE_RETURN_IF_ERROR(Begin());
  job->previous = std::move(thread_);
  try {
    const BlockedSignals blocked;
    thread_ = std::thread([job] { job->handle->Work(*job); });
  } catch (...) {
    thread_ = std::move(job->previous);
    busy_ = false;
    return absl::ResourceExhaustedError("no thread can be started for the call");
  }
  runner_ = thread_.get_id();
  return absl::OkStatus();
}

template <typename Object>
void Exclusive<Object>::Work(Job& job) {
  if (job.previous.joinable()) job.previous.join();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    working_ = std::this_thread::get_id();
  }
  // Without a text a status takes no memory: there is one for `done` whatever happens.
  absl::Status status(absl::StatusCode::kResourceExhausted, "");
  try {
    status = RunBody(job.body);
  } catch (...) {
  }
  try {
    job.done(status);
  } catch (...) {  // an exception of the host's must not end its process here
  }
  std::lock_guard<std::mutex> lock(mutex_);
  working_ = std::thread::id();
}

template <typename Object>
absl::Status Exclusive<Object>::Peek(absl::FunctionRef<void(const Object&)> body) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool within = busy_ && !closed_ && runner_ == std::this_thread::get_id();
  if (!within) SLUICE_RETURN_IF_ERROR(CheckUsable());
  body(*object_);
  return absl::OkStatus();
}

template <typename Object>
absl::Status Exclusive<Object>::Look(absl::FunctionRef<absl::Status(const Object&)> body) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    SLUICE_RETURN_IF_ERROR(CheckUsable());
    ++looking_;
  }
  try {
    absl::Status status = body(*object_);
    EndLook();
    return status;
  } catch (...) {
    EndLook();
    return CaughtStatus();
  }
}

template <typename Object>
void Exclusive<Object>::EndLook() noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    --looking_;
    if (closed_ && !busy_ && looking_ == 0) object_.reset();
  }
  idle_.notify_all();
}

template <typename Object>
void Exclusive<Object>::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (object_ != nullptr) object_->Cancel();
}

template <typename Object>
bool Exclusive<Object>::IsCallback() const {
  const std::thread::id self = std::this_thread::get_id();
  return (busy_ && runner_ == self) || working_ == self;
}

template <typename Object>
void Exclusive<Object>::Close() {
  std::thread last;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    const auto idle = [this] { return !busy_ && looking_ == 0; };
    if (!idle()) object_->Cancel();
    if (!IsCallback()) idle_.wait(lock, idle);
    if (idle()) object_.reset();  // otherwise the end of what runs does it
    if (IsCallback()) return;
    last = std::move(thread_);
  }
  if (last.joinable()) last.join();
}

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_EXCLUSIVE_H_
