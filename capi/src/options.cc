#include "capi/src/options.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "capi/src/handles.h"
#include "capi/src/status.h"
#include "capi/src/structs.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

absl::StatusOr<Mode> ReadMode(int32_t mode) {
  switch (mode) {
    case SLUICE_MODE_AUTO:
      return Mode::kAuto;
    case SLUICE_MODE_SPARSE:
      return Mode::kSparse;
    case SLUICE_MODE_DENSE:
      return Mode::kDense;
    default:
      return OutOfRange("mode", mode, "SLUICE_MODE_AUTO, _SPARSE or _DENSE");
  }
}

int32_t NumberOf(Mode mode) {
  switch (mode) {
    case Mode::kSparse:
      return SLUICE_MODE_SPARSE;
    case Mode::kDense:
      return SLUICE_MODE_DENSE;
    case Mode::kAuto:
      break;
  }
  return SLUICE_MODE_AUTO;
}

absl::StatusOr<Engine> ReadEngine(int32_t engine) {
  switch (engine) {
    case SLUICE_ENGINE_AUTO:
      return Engine::kAuto;
    case SLUICE_ENGINE_URING:
      return Engine::kUring;
    case SLUICE_ENGINE_PREAD:
      return Engine::kPread;
    default:
      return OutOfRange("engine", engine, "SLUICE_ENGINE_AUTO, _URING or _PREAD");
  }
}

absl::StatusOr<ResidentType> ReadResidentType(int32_t type) {
  switch (type) {
    case SLUICE_RESIDENT_AUTO:
      return ResidentType::kAuto;
    case SLUICE_RESIDENT_Q8:
      return ResidentType::kQ8;
    default:
      return OutOfRange("resident_type", type, "SLUICE_RESIDENT_AUTO or _Q8");
  }
}

absl::StatusOr<KvType> ReadKvType(int32_t type) {
  switch (type) {
    case SLUICE_KV_F32:
      return KvType::kF32;
    case SLUICE_KV_F16:
      return KvType::kF16;
    default:
      return OutOfRange("kv_type", type, "SLUICE_KV_F32 or _F16");
  }
}

absl::StatusOr<Techniques> ReadTechniques(uint32_t disabled) {
  Techniques techniques;
  const auto take = [&disabled](uint32_t bit, bool* technique) {
    if ((disabled & bit) != 0) *technique = false;
    disabled &= ~bit;
  };
  take(SLUICE_DISABLE_WINDOW, &techniques.window);
  take(SLUICE_DISABLE_BUNDLES, &techniques.bundles);
  take(SLUICE_DISABLE_JOIN, &techniques.join);
  take(SLUICE_DISABLE_OVERLAP, &techniques.overlap);
  take(SLUICE_DISABLE_LOOKAHEAD, &techniques.lookahead);
  take(SLUICE_DISABLE_RESIDENT, &techniques.keep_resident);
  if (disabled == 0) return techniques;
  return absl::UnimplementedError(
      absl::StrCat("disabled has bits that stand for no technique here: ", disabled));
}

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

// The whole text or, for a smaller place, its beginning; with a NUL in any case.
template <size_t size>
void CopyText(absl::string_view text, char (&out)[size]) {
  const size_t count = std::min(text.size(), size - 1);
  std::memcpy(out, text.data(), count);
  out[count] = '\0';
}

}  // namespace

absl::StatusOr<ModelOptions> ReadModelOptions(const sluice_model_options* theirs) {
  ModelOptions options;
  if (theirs == nullptr) return options;
  sluice_model_options c = {};
  SLUICE_RETURN_IF_ERROR(ReadStruct(theirs, "sluice_model_options", &c));
  options.dram_budget_bytes = c.dram_budget_bytes;
  options.context_tokens = c.context_tokens;
  options.max_sessions = c.max_sessions;
  options.window_tokens = c.window_tokens;
  options.threads = c.threads;
  options.queue_depth = c.queue_depth;
  options.prefill_chunk_tokens = c.prefill_chunk_tokens;
  SLUICE_ASSIGN_OR_RETURN(options.mode, ReadMode(c.mode));
  SLUICE_ASSIGN_OR_RETURN(options.engine, ReadEngine(c.engine));
  SLUICE_ASSIGN_OR_RETURN(const bool skip_verify, ReadFlag(c.skip_verify, "skip_verify"));
  options.verify_checksums = !skip_verify;
  SLUICE_ASSIGN_OR_RETURN(options.resident_type, ReadResidentType(c.resident_type));
  SLUICE_ASSIGN_OR_RETURN(options.kv_type, ReadKvType(c.kv_type));
  SLUICE_ASSIGN_OR_RETURN(options.techniques, ReadTechniques(c.disabled));
  if (c.device_curve_path != nullptr) options.device_curve_path = c.device_curve_path;
  return options;
}

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
  return options;
}

absl::Status WritePlan(const MemoryPlan& plan, sluice_memory_plan* theirs) {
  sluice_memory_plan c = {};
  c.fits = plan.fits ? 1 : 0;
  c.floor_bytes = plan.floor_bytes;
  c.recommended_bytes = plan.recommended_bytes;
  c.budget_bytes = plan.budget_bytes;
  c.resident_bytes = plan.resident;
  c.predictor_bytes = plan.predictor;
  c.kv_bytes = plan.kv;
  c.slot_bytes = plan.slots;
  c.scratch_bytes = plan.scratch;
  c.io_bytes = plan.io;
  c.context_tokens = plan.context_tokens;
  c.max_sessions = plan.max_sessions;
  c.mode = NumberOf(plan.mode);
  return WriteStruct(c, theirs, "sluice_memory_plan");
}

absl::Status WriteInfo(const ModelInfo& info, sluice_model_info* theirs) {
  sluice_model_info c = {};
  c.num_layers = info.num_layers;
  c.d_model = info.d_model;
  c.d_ffn = info.d_ffn;
  c.num_heads = info.num_heads;
  c.vocab_size = info.vocab_size;
  c.max_positions = info.max_positions;
  c.has_tokenizer = info.has_tokenizer ? 1 : 0;
  c.has_predictors = info.has_predictors ? 1 : 0;
  c.file_bytes = info.file_bytes;
  CopyText(info.family, c.family);
  // eos_count says how many there are; the array holds the first of them.
  c.eos_count = static_cast<uint32_t>(info.eos_ids.size());
  std::copy_n(info.eos_ids.begin(), std::min(info.eos_ids.size(), std::size(c.eos_ids)),
              c.eos_ids);
  return WriteStruct(c, theirs, "sluice_model_info");
}

absl::Status WriteStats(const Stats& stats, sluice_stats* theirs) {
  sluice_stats c = {};
  c.direct_io = stats.direct_io ? 1 : 0;
  c.tokens = stats.tokens;
  c.total_ms_per_token = stats.total_ms_per_token;
  c.io_ms_per_token = stats.io_ms_per_token;
  c.memory_ms_per_token = stats.memory_ms_per_token;
  c.compute_ms_per_token = stats.compute_ms_per_token;
  c.io_busy_ms_per_token = stats.io_busy_ms_per_token;
  c.bytes_per_token = stats.bytes_per_token;
  c.reads_per_token = stats.reads_per_token;
  c.mean_read_bytes = stats.mean_read_bytes;
  c.read_gb_per_s = stats.read_gb_per_s;
  c.hit_rate = stats.hit_rate;
  c.active_fraction = stats.active_fraction;
  c.predicted_fraction = stats.predicted_fraction;
  c.window_tokens = stats.window_tokens;
  c.prefill_tokens = stats.prefill_tokens;
  c.prefill_ms = stats.prefill_ms;
  c.peak_rss_bytes = stats.peak_rss_bytes;
  CopyText(stats.engine, c.engine);
  CopyText(stats.engine_reason, c.engine_reason);
  return WriteStruct(c, theirs, "sluice_stats");
}

}  // namespace sluice::capi

sluice_status sluice_model_options_init(sluice_model_options* options, size_t struct_size) {
  return sluice::capi::Enter(
      [&] { return sluice::capi::InitStruct(options, struct_size, "sluice_model_options"); });
}

sluice_status sluice_generate_options_init(sluice_generate_options* options, size_t struct_size) {
  return sluice::capi::Enter(
      [&] { return sluice::capi::InitStruct(options, struct_size, "sluice_generate_options"); });
}
