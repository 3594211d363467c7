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

absl::Status Closed() { return absl::InvalidArgumentError("the session was closed meanwhile"); }

}  // namespace

uintptr_t NewHandleValue() {
  static std::atomic<uintptr_t> next{kFirstHandle};
  return next.fetch_add(kHandleStep, std::memory_order_relaxed);
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
  std::lock_guard<std::mutex> lock(mutex_);
  SLUICE_RETURN_IF_ERROR(CheckUsable());
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

absl::Status SessionHandle::Run(absl::FunctionRef<absl::Status(Session&)> body) {
  SLUICE_RETURN_IF_ERROR(Begin());
  try {
    absl::Status status = body(*session_);
    End(absl::IsInternal(status));
    return status;
  } catch (...) {
    End(true);
    return CaughtStatus();
  }
}

absl::StatusOr<Stats> SessionHandle::CopyStats() {
  std::lock_guard<std::mutex> lock(mutex_);
  SLUICE_RETURN_IF_ERROR(CheckUsable());
  return session_->stats();
}

void SessionHandle::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (session_ != nullptr) session_->Cancel();
}

void SessionHandle::Close() {
  std::unique_lock<std::mutex> lock(mutex_);
  closed_ = true;
  if (!busy_) {
    session_.reset();
    return;
  }
  session_->Cancel();
  if (runner_ == std::this_thread::get_id()) return;  // End() does the rest
  idle_.wait(lock, [this] { return !busy_; });
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
