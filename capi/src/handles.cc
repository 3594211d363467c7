#include "capi/src/handles.h"

#include "absl/strings/str_cat.h"
#include "capi/src/status.h"
#include "lib/base/blocked_signals.h"
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

absl::Status Closed() { return absl::InvalidArgumentError("the session was closed meanwhile"); }

}  // namespace

uintptr_t NewHandleValue() {
  static std::atomic<uintptr_t> next{kFirstHandle};
  return next.fetch_add(kHandleStep, std::memory_order_relaxed);
}

// What one of a handle's threads is for.
struct SessionHandle::Job {
  std::shared_ptr<SessionHandle> handle;  // keeps it while the thread lives
  std::thread previous;
  Body body;
  Done done;
};

SessionHandle::~SessionHandle() {
  if (!thread_.joinable()) return;
  // Closed by its own callback, nobody has waited for the thread; and the last to let go of the
  // handle is most often that thread, at its very end.
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

absl::Status SessionHandle::CheckUsable() const {
  if (closed_) return Closed();
  if (busy_) {
    return absl::FailedPreconditionError("another call on this session has not returned yet");
  }
  if (defect_) {
    return absl::InternalError("an earlier call on this session met a defect; close it");
  }
  return absl::OkStatus();
}

absl::Status SessionHandle::Begin() {
  SLUICE_RETURN_IF_ERROR(CheckUsable());
  if (looking_ > 0) {
    return absl::FailedPreconditionError("a call that reads this session has not returned yet");
  }
  busy_ = true;
  runner_ = std::this_thread::get_id();
  return absl::OkStatus();
}

void SessionHandle::End(bool defect) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    position_.store(session_->position(), std::memory_order_relaxed);
    defect_ = defect_ || defect;
    busy_ = false;
    if (closed_) session_.reset();
  }
  idle_.notify_all();
}

absl::Status SessionHandle::RunBody(absl::FunctionRef<absl::Status(Session&)> body) {
  try {
    absl::Status status = body(*session_);
    End(absl::IsInternal(status));
    return status;
  } catch (...) {
    End(true);
    return CaughtStatus();
  }
}

absl::Status SessionHandle::Run(absl::FunctionRef<absl::Status(Session&)> body) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    SLUICE_RETURN_IF_ERROR(Begin());
  }
  return RunBody(body);
}

absl::Status SessionHandle::Start(Body body, Done done) {
  const auto job = std::make_shared<Job>();
  job->handle = shared_from_this();
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
    return absl::ResourceExhaustedError("no thread can be started for the generation");
  }
  runner_ = thread_.get_id();
  return absl::OkStatus();
}

void SessionHandle::Work(Job& job) {
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

absl::Status SessionHandle::Look(absl::FunctionRef<absl::Status(const Session&)> body) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    SLUICE_RETURN_IF_ERROR(CheckUsable());
    ++looking_;
  }
  try {
    absl::Status status = body(*session_);
    EndLook();
    return status;
  } catch (...) {
    EndLook();
    return CaughtStatus();
  }
}

void SessionHandle::EndLook() noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    --looking_;
    if (closed_ && !busy_ && looking_ == 0) session_.reset();
  }
  idle_.notify_all();
}

absl::StatusOr<Stats> SessionHandle::CopyStats() {
  std::lock_guard<std::mutex> lock(mutex_);
  // A callback of the session's own runs on the thread that changes them, which waits for it.
  const bool within = busy_ && !closed_ && runner_ == std::this_thread::get_id();
  if (!within) SLUICE_RETURN_IF_ERROR(CheckUsable());
  return session_->stats();
}

void SessionHandle::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (session_ != nullptr) session_->Cancel();
}

bool SessionHandle::IsCallback() const {
  const std::thread::id self = std::this_thread::get_id();
  return (busy_ && runner_ == self) || working_ == self;
}

void SessionHandle::Close() {
  std::thread last;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    const auto idle = [this] { return !busy_ && looking_ == 0; };
    if (!idle()) session_->Cancel();
    if (!IsCallback()) idle_.wait(lock, idle);
    if (idle()) session_.reset();  // otherwise the end of what runs does it
    if (IsCallback()) return;
    last = std::move(thread_);
  }
  if (last.joinable()) last.join();
}

ModelTable& Models() {
  static ModelTable* table = new ModelTable;
  return *table;
}

SessionTable& Sessions() {
  static SessionTable* table = new SessionTable;
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

}  // namespace sluice::capi
