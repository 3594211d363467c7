// Generation from text and from tokens, on the caller's thread or on one of its own.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "capi/src/handles.h"
#include "capi/src/options.h"
#include "capi/src/status.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

// Where a callback goes, C's way; a null function is no callback.
struct TokenCallback {
  sluice_token_fn function;
  void* user_data;
};
struct DoneCallback {
  sluice_done_fn function;
  void* user_data;
};

int32_t NumberOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return SLUICE_FINISH_STOP;
    case FinishReason::kLength:
      return SLUICE_FINISH_LENGTH;
    case FinishReason::kCancelled:
      break;
  }
  return SLUICE_FINISH_CANCELLED;
}

absl::StatusOr<GenerateOptions> ReadOptions(const sluice_generate_options* c_options,
                                            TokenCallback on_token) {
  SLUICE_ASSIGN_OR_RETURN(GenerateOptions options, ReadGenerateOptions(c_options));
  if (on_token.function != nullptr) {
    options.on_token = [on_token](int32_t token, const std::string& text) {
      return on_token.function(token, text.c_str(), text.size(), on_token.user_data) == 0;
    };
  }
  return options;
}

// Copies, of text and of token ids.
absl::StatusOr<std::string> ReadPrompt(absl::Span<const char> prompt) {
  SLUICE_RETURN_IF_ERROR(CheckArray(prompt.data(), prompt.size(), 1, "prompt"));
  return std::string(prompt.begin(), prompt.end());
}
absl::StatusOr<std::vector<int32_t>> ReadPrompt(absl::Span<const int32_t> prompt) {
  SLUICE_RETURN_IF_ERROR(CheckArray(prompt.data(), prompt.size(), sizeof(int32_t), "tokens"));
  return std::vector<int32_t>(prompt.begin(), prompt.end());
}

absl::StatusOr<GenerateResult> GenerateFrom(Session& session, const std::string& prompt,
                                            const GenerateOptions& options) {
  return session.Generate(prompt, options);
}
absl::StatusOr<GenerateResult> GenerateFrom(Session& session, const std::vector<int32_t>& prompt,
                                            const GenerateOptions& options) {
  return session.GenerateFromTokens(prompt, options);
}

// `finish_reason` may be NULL.
absl::Status ReasonOf(const absl::StatusOr<GenerateResult>& result, int32_t* finish_reason) {
  if (result.ok() && finish_reason != nullptr) *finish_reason = NumberOf(result->finish_reason);
  return result.status();
}

// Element: char or int32_t.
template <typename Element>
absl::Status Generate(const sluice_session* handle, absl::Span<const Element> c_prompt,
                      const sluice_generate_options* c_options, int32_t* finish_reason,
                      TokenCallback on_token) {
  SLUICE_ASSIGN_OR_RETURN(const auto session, FindSession(handle));
  SLUICE_ASSIGN_OR_RETURN(const auto prompt, ReadPrompt(c_prompt));
  SLUICE_ASSIGN_OR_RETURN(const GenerateOptions options, ReadOptions(c_options, on_token));
  return session->Run(
      [&](Session& s) { return ReasonOf(GenerateFrom(s, prompt, options), finish_reason); });
}

// What the blocking call would have returned and left for sluice_last_error_message().
void Tell(DoneCallback on_done, const absl::Status& status, int32_t finish_reason) {
  std::string text;
  const char* message = "";
  if (!status.ok()) {
    try {
      text.assign(status.message().data(), status.message().size());
    } catch (...) {
    }
    message = text.empty() ? "out of memory" : text.c_str();
  }
  on_done.function(CodeOf(status.code()), message, finish_reason, on_done.user_data);
}

template <typename Element>
absl::Status GenerateStart(const sluice_session* handle, absl::Span<const Element> c_prompt,
                           const sluice_generate_options* c_options, TokenCallback on_token,
                           DoneCallback on_done) {
  SLUICE_ASSIGN_OR_RETURN(const auto session, FindSession(handle));
  if (on_done.function == nullptr) return absl::InvalidArgumentError("on_done is NULL");
  SLUICE_ASSIGN_OR_RETURN(auto prompt, ReadPrompt(c_prompt));
  SLUICE_ASSIGN_OR_RETURN(GenerateOptions options, ReadOptions(c_options, on_token));
  const auto reason = std::make_shared<int32_t>(SLUICE_FINISH_CANCELLED);
  return session->Start(
      [prompt = std::move(prompt), options = std::move(options), reason](Session& s) {
        return ReasonOf(GenerateFrom(s, prompt, options), reason.get());
      },
      [on_done, reason](const absl::Status& status) { Tell(on_done, status, *reason); });
}

}  // namespace
}  // namespace sluice::capi

using absl::MakeConstSpan;
using sluice::capi::Enter;

sluice_status sluice_session_generate(sluice_session* session, const char* prompt,
                                      size_t prompt_bytes,
                                      const sluice_generate_options* options,
                                      int32_t* finish_reason, sluice_token_fn on_token,
                                      void* user_data) {
  return Enter([&] {
    return sluice::capi::Generate(session, MakeConstSpan(prompt, prompt_bytes), options,
                                  finish_reason, {on_token, user_data});
  });
}

sluice_status sluice_session_generate_tokens(sluice_session* session, const int32_t* tokens,
                                             size_t token_count,
                                             const sluice_generate_options* options,
                                             int32_t* finish_reason, sluice_token_fn on_token,
                                             void* user_data) {
  return Enter([&] {
    return sluice::capi::Generate(session, MakeConstSpan(tokens, token_count), options,
                                  finish_reason, {on_token, user_data});
  });
}

sluice_status sluice_session_generate_start(sluice_session* session, const char* prompt,
                                            size_t prompt_bytes,
                                            const sluice_generate_options* options,
                                            sluice_token_fn on_token, sluice_done_fn on_done,
                                            void* user_data) {
  return Enter([&] {
    return sluice::capi::GenerateStart(session, MakeConstSpan(prompt, prompt_bytes), options,
                                       {on_token, user_data}, {on_done, user_data});
  });
}

sluice_status sluice_session_generate_tokens_start(sluice_session* session, const int32_t* tokens,
                                                   size_t token_count,
                                                   const sluice_generate_options* options,
                                                   sluice_token_fn on_token,
                                                   sluice_done_fn on_done, void* user_data) {
  return Enter([&] {
    return sluice::capi::GenerateStart(session, MakeConstSpan(tokens, token_count), options,
                                       {on_token, user_data}, {on_done, user_data});
  });
}
