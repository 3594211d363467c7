// sluice_session_...: made, fed, measured and closed.
#include "absl/types/span.h"
#include "capi/src/handles.h"
#include "capi/src/options.h"
#include "capi/src/status.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

// Where a callback goes, C's way; a null function is no callback.
struct ProgressCallback {
  sluice_progress_fn function;
  void* user_data;
};

absl::Status Create(const sluice_model* handle, sluice_session** out) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(out, "session"));
  *out = nullptr;
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModel> model, FindModel(handle));
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, model->CreateSession());
  *out = Sessions().Add(
      std::make_shared<SessionHandle>(std::move(session), model->info().vocab_size));
  return absl::OkStatus();
}

// Room for one token's logits at `out`; none when it is NULL.
absl::Span<float> LogitsAt(float* out, const SessionHandle& session) {
  return {out, out == nullptr ? 0 : size_t{session.vocab_size()}};
}

absl::Status Prefill(const sluice_session* handle, absl::Span<const int32_t> tokens,
                     float* last_logits, ProgressCallback progress) {
  SLUICE_ASSIGN_OR_RETURN(const auto session, FindSession(handle));
  SLUICE_RETURN_IF_ERROR(CheckArray(tokens.data(), tokens.size(), sizeof(int32_t), "tokens"));
  PrefillOptions options;
  if (progress.function != nullptr) {
    options.on_progress = [progress](uint32_t done, uint32_t total) {
      return progress.function(done, total, progress.user_data) == 0;
    };
  }
  return session->Run([&](Session& s) {
    return s.Prefill(tokens, LogitsAt(last_logits, *session), options);
  });
}

}  // namespace
}  // namespace sluice::capi

using sluice::capi::Enter;
using sluice::capi::EnterQuietly;

sluice_status sluice_session_create(sluice_model* model, sluice_session** session) {
  return Enter([&] { return sluice::capi::Create(model, session); });
}

void sluice_session_close(sluice_session* session) {
  EnterQuietly([&] {
    if (const auto found = sluice::capi::Sessions().Remove(session)) found->Close();
  });
}

uint32_t sluice_session_position(const sluice_session* session) {
  uint32_t position = 0;
  EnterQuietly([&] {
    if (const auto found = sluice::capi::Sessions().Find(session)) position = found->position();
  });
  return position;
}

sluice_status sluice_session_reset(sluice_session* session) {
  return Enter([&]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const auto found, sluice::capi::FindSession(session));
    return found->Run([](sluice::Session& s) {
      s.Reset();
      return absl::OkStatus();
    });
  });
}

sluice_status sluice_session_prefill(sluice_session* session, const int32_t* tokens,
                                     size_t token_count, float* last_logits,
                                     sluice_progress_fn progress, void* user_data) {
  return Enter([&] {
    return sluice::capi::Prefill(session, {tokens, token_count}, last_logits,
                                 {progress, user_data});
  });
}

sluice_status sluice_session_decode(sluice_session* session, int32_t token, float* logits) {
  return Enter([&]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const auto found, sluice::capi::FindSession(session));
    return found->Run([&](sluice::Session& s) {
      return s.Decode(token, sluice::capi::LogitsAt(logits, *found));
    });
  });
}

void sluice_session_cancel(sluice_session* session) {
  EnterQuietly([&] {
    if (const auto found = sluice::capi::Sessions().Find(session)) found->Cancel();
  });
}

sluice_status sluice_session_stats_copy(const sluice_session* session, sluice_stats* stats) {
  return Enter([&]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const auto found, sluice::capi::FindSession(session));
    SLUICE_RETURN_IF_ERROR(sluice::capi::CheckNotNull(stats, "stats"));
    SLUICE_ASSIGN_OR_RETURN(const sluice::Stats copy, found->CopyStats());
    return sluice::capi::WriteStats(copy, stats);
  });
}

sluice_status sluice_session_stats_reset(sluice_session* session) {
  return Enter([&]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const auto found, sluice::capi::FindSession(session));
    return found->Run([](sluice::Session& s) {
      s.ResetStats();
      return absl::OkStatus();
    });
  });
}
