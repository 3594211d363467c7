// sluice_model_...
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "capi/src/handles.h"
#include "capi/src/options.h"
#include "capi/src/status.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

absl::Status Plan(const char* path, const sluice_model_options* options,
                  sluice_memory_plan* plan) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(path, "path"));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(plan, "plan"));
  SLUICE_ASSIGN_OR_RETURN(const ModelOptions model_options, ReadModelOptions(options));
  SLUICE_ASSIGN_OR_RETURN(const MemoryPlan made, PlanMemory(path, model_options));
  return WritePlan(made, plan);
}

absl::Status Open(const char* path, const sluice_model_options* options, sluice_model** out) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(out, "model"));
  *out = nullptr;
  SLUICE_RETURN_IF_ERROR(CheckNotNull(path, "path"));
  SLUICE_ASSIGN_OR_RETURN(const ModelOptions model_options, ReadModelOptions(options));
  SLUICE_ASSIGN_OR_RETURN(std::shared_ptr<FlashModel> model,
                          FlashModel::Open(path, model_options));
  *out = Models().Add(std::move(model));
  return absl::OkStatus();
}

absl::Status Tokenize(const sluice_model* handle, absl::Span<const char> text, bool add_special,
                      absl::Span<int32_t> tokens, size_t* count) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(count, "token_count"));
  *count = 0;
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModel> model, FindModel(handle));
  SLUICE_RETURN_IF_ERROR(CheckArray(text.data(), text.size(), 1, "text"));
  SLUICE_RETURN_IF_ERROR(CheckArray(tokens.data(), tokens.size(), sizeof(int32_t), "tokens"));
  SLUICE_ASSIGN_OR_RETURN(
      const std::vector<int32_t> ids,
      model->Tokenize(std::string(text.begin(), text.end()), add_special));
  *count = ids.size();
  if (ids.size() > tokens.size()) return TooLittleRoom(tokens.size(), "tokens", ids.size());
  std::copy(ids.begin(), ids.end(), tokens.begin());
  return absl::OkStatus();
}

absl::Status Detokenize(const sluice_model* handle, absl::Span<const int32_t> tokens,
                        absl::Span<char> text, size_t* text_bytes) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(text_bytes, "text_bytes"));
  *text_bytes = 0;
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModel> model, FindModel(handle));
  SLUICE_RETURN_IF_ERROR(CheckArray(tokens.data(), tokens.size(), sizeof(int32_t), "tokens"));
  SLUICE_RETURN_IF_ERROR(CheckArray(text.data(), text.size(), 1, "text"));
  SLUICE_ASSIGN_OR_RETURN(const std::string made, model->Detokenize(tokens));
  *text_bytes = made.size();
  if (made.size() >= text.size()) {
    return TooLittleRoom(text.size(), "bytes", made.size() + 1);
  }
  std::memcpy(text.data(), made.c_str(), made.size() + 1);
  return absl::OkStatus();
}

}  // namespace
}  // namespace sluice::capi

using sluice::capi::Enter;
using sluice::capi::EnterQuietly;

sluice_status sluice_model_plan(const char* path, const sluice_model_options* options,
                                sluice_memory_plan* plan) {
  return Enter([&] { return sluice::capi::Plan(path, options, plan); });
}

sluice_status sluice_model_open(const char* path, const sluice_model_options* options,
                                sluice_model** model) {
  return Enter([&] { return sluice::capi::Open(path, options, model); });
}

void sluice_model_close(sluice_model* model) {
  EnterQuietly([&] { sluice::capi::Models().Remove(model); });
}

sluice_status sluice_model_info_copy(const sluice_model* model, sluice_model_info* info) {
  return Enter([&]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const auto found, sluice::capi::FindModel(model));
    return sluice::capi::WriteInfo(found->info(), info);
  });
}

sluice_status sluice_model_plan_copy(const sluice_model* model, sluice_memory_plan* plan) {
  return Enter([&]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const auto found, sluice::capi::FindModel(model));
    return sluice::capi::WritePlan(found->plan(), plan);
  });
}

sluice_status sluice_model_tokenize(const sluice_model* model, const char* text,
                                    size_t text_bytes, int32_t add_special, int32_t* tokens,
                                    size_t token_capacity, size_t* token_count) {
  return Enter([&] {
    return sluice::capi::Tokenize(model, {text, text_bytes}, add_special != 0,
                                  {tokens, token_capacity}, token_count);
  });
}

sluice_status sluice_model_detokenize(const sluice_model* model, const int32_t* tokens,
                                      size_t token_count, char* text, size_t text_capacity,
                                      size_t* text_bytes) {
  return Enter([&] {
    return sluice::capi::Detokenize(model, {tokens, token_count}, {text, text_capacity},
                                    text_bytes);
  });
}
