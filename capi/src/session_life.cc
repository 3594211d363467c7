// What a session holds, and how that is kept: tokens, rewind, clone, save and load.
#include <algorithm>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "capi/src/handles.h"
#include "capi/src/status.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

absl::Status CopyTokens(const sluice_session* handle, absl::Span<int32_t> out, size_t* count) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(count, "token_count"));
  *count = 0;
  SLUICE_ASSIGN_OR_RETURN(const auto session, FindSession(handle));
  SLUICE_RETURN_IF_ERROR(CheckArray(out.data(), out.size(), sizeof(int32_t), "tokens"));
  return session->Look([&](const Session& s) -> absl::Status {
    const absl::Span<const int32_t> tokens = s.tokens();
    *count = tokens.size();
    if (tokens.size() > out.size()) {
      return TooLittleRoom(out.size(), "tokens", tokens.size());
    }
    std::copy(tokens.begin(), tokens.end(), out.begin());
    return absl::OkStatus();
  });
}

absl::Status Clone(const sluice_session* handle, sluice_session** out) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(out, "clone"));
  *out = nullptr;
  SLUICE_ASSIGN_OR_RETURN(const auto session, FindSession(handle));
  std::unique_ptr<Session> clone;
  SLUICE_RETURN_IF_ERROR(session->Look([&](const Session& s) -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(clone, s.Clone());
    return absl::OkStatus();
  }));
  *out = Sessions().Add(
      std::make_shared<SessionHandle>(std::move(clone), session->vocab_size()));
  return absl::OkStatus();
}

absl::Status Save(const sluice_session* handle, const char* path) {
  SLUICE_ASSIGN_OR_RETURN(const auto session, FindSession(handle));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(path, "path"));
  return session->Look([&](const Session& s) { return s.Save(path); });
}

absl::Status Load(const sluice_session* handle, const char* path) {
  SLUICE_ASSIGN_OR_RETURN(const auto session, FindSession(handle));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(path, "path"));
  return session->Run([&](Session& s) { return s.Load(path); });
}

}  // namespace
}  // namespace sluice::capi

using sluice::capi::Enter;

sluice_status sluice_session_tokens_copy(const sluice_session* session, int32_t* tokens,
                                         size_t token_capacity, size_t* token_count) {
  return Enter([&] {
    return sluice::capi::CopyTokens(session, {tokens, token_capacity}, token_count);
  });
}

sluice_status sluice_session_rewind(sluice_session* session, uint32_t position) {
  return Enter([&]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const auto found, sluice::capi::FindSession(session));
    return found->Run([&](sluice::Session& s) { return s.Rewind(position); });
  });
}

sluice_status sluice_session_clone(const sluice_session* session, sluice_session** clone) {
  return Enter([&] { return sluice::capi::Clone(session, clone); });
}

sluice_status sluice_session_save(const sluice_session* session, const char* path) {
  return Enter([&] { return sluice::capi::Save(session, path); });
}

sluice_status sluice_session_load(sluice_session* session, const char* path) {
  return Enter([&] { return sluice::capi::Load(session, path); });
}
