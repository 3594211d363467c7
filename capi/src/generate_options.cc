// sluice_generate_options, with the callbacks that look on while tokens are chosen.
#include <cmath>
#include <vector>

#include "capi/src/handles.h"
#include "capi/src/options.h"
#include "capi/src/status.h"
#include "capi/src/structs.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

// Zero means the default, for every one of them; a NaN fails each comparison.
absl::Status ReadSampling(const sluice_generate_options& c, SamplingOptions* sampling) {
  if (!(c.temperature >= 0) || !std::isfinite(c.temperature)) {
    return OutOfRange("temperature", c.temperature, "0 or more");
  }
  if (!(c.top_p >= 0 && c.top_p <= 1)) return OutOfRange("top_p", c.top_p, "0 to 1");
  if (!(c.min_p >= 0 && c.min_p <= 1)) return OutOfRange("min_p", c.min_p, "0 to 1");
  if (!(c.repetition_penalty >= 0) || !std::isfinite(c.repetition_penalty)) {
    return OutOfRange("repetition_penalty", c.repetition_penalty, "0 or more");
  }
  sampling->temperature = c.temperature;
  sampling->top_k = c.top_k;
  sampling->min_p = c.min_p;
  sampling->seed = c.seed;
  if (c.top_p > 0) sampling->top_p = c.top_p;
  if (c.repetition_penalty > 0) sampling->repetition_penalty = c.repetition_penalty;
  return absl::OkStatus();
}

void SetCallbacks(const sluice_generate_options& c, GenerateOptions* options) {
  void* const user_data = c.sampling_user_data;
  if (const sluice_logits_fn on_logits = c.on_logits; on_logits != nullptr) {
    options->on_logits = [=](uint32_t position, absl::Span<float> logits) {
      return on_logits(logits.data(), logits.size(), position, user_data) == 0;
    };
  }
  if (const sluice_logprobs_fn on_logprobs = c.on_logprobs; on_logprobs != nullptr) {
    options->on_logprobs = [=](const TokenLogprob& chosen, absl::Span<const TokenLogprob> top) {
      const sluice_token_logprob c_chosen = {chosen.token, chosen.logprob};
      std::vector<sluice_token_logprob> c_top;
      for (const TokenLogprob& one : top) c_top.push_back({one.token, one.logprob});
      return on_logprobs(&c_chosen, c_top.data(), c_top.size(), user_data) == 0;
    };
  }
}

}  // namespace

absl::StatusOr<GenerateOptions> ReadGenerateOptions(const sluice_generate_options* theirs) {
  GenerateOptions options;
  if (theirs == nullptr) return options;
  sluice_generate_options c = {};
  SLUICE_RETURN_IF_ERROR(ReadStruct(theirs, "sluice_generate_options", &c));
  if (c.reserved32 != 0) return UnknownMember("sluice_generate_options");
  if (c.max_tokens > 0) options.max_tokens = c.max_tokens;
  SLUICE_RETURN_IF_ERROR(ReadSampling(c, &options.sampling));
  SLUICE_ASSIGN_OR_RETURN(options.ignore_eos, ReadFlag(c.ignore_eos, "ignore_eos"));
  SLUICE_ASSIGN_OR_RETURN(const bool bare, ReadFlag(c.no_special_tokens, "no_special_tokens"));
  options.add_special_tokens = !bare;
  SLUICE_RETURN_IF_ERROR(CheckArray(c.stop, c.stop_count, sizeof *c.stop, "stop"));
  for (size_t i = 0; i < c.stop_count; ++i) {
    SLUICE_RETURN_IF_ERROR(CheckNotNull(c.stop[i], "a stop string"));
    options.stop.emplace_back(c.stop[i]);
  }
  SLUICE_ASSIGN_OR_RETURN(options.whole_prompt, ReadFlag(c.whole_prompt, "whole_prompt"));
  if (c.top_logprobs > kMaxTopLogprobs) {
    return OutOfRange("top_logprobs", c.top_logprobs, "at most 256");
  }
  static_assert(kMaxTopLogprobs == 256);
  options.top_logprobs = c.top_logprobs;
  SetCallbacks(c, &options);
  return options;
}

}  // namespace sluice::capi

sluice_status sluice_generate_options_init(sluice_generate_options* options, size_t struct_size) {
  return sluice::capi::Enter(
      [&] { return sluice::capi::InitStruct(options, struct_size, "sluice_generate_options"); });
}
