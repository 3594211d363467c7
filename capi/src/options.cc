#include "capi/src/options.h"

#include <algorithm>
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
  SLUICE_ASSIGN_OR_RETURN(options.ffn_only, ReadFlag(c.ffn_only, "ffn_only"));
  SLUICE_ASSIGN_OR_RETURN(options.resident_type, ReadResidentType(c.resident_type));
  SLUICE_ASSIGN_OR_RETURN(options.kv_type, ReadKvType(c.kv_type));
  SLUICE_ASSIGN_OR_RETURN(options.techniques, ReadTechniques(c.disabled));
  if (c.device_curve_path != nullptr) options.device_curve_path = c.device_curve_path;
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
  c.needed_bytes_per_token = stats.needed_bytes_per_token;
  c.gap_bytes_per_token = stats.gap_bytes_per_token;
  c.lookahead_hit_rate = stats.lookahead_hit_rate;
  c.lookahead_wasted_bytes_per_token = stats.lookahead_wasted_bytes_per_token;
  c.window_forced_evictions = stats.window_forced_evictions;
  c.prefill_bytes = stats.prefill_bytes;
  c.reused_tokens = stats.reused_tokens;
  CopyText(stats.lookahead, c.lookahead);
  CopyText(stats.engine, c.engine);
  CopyText(stats.engine_reason, c.engine_reason);
  return WriteStruct(c, theirs, "sluice_stats");
}

}  // namespace sluice::capi

sluice_status sluice_model_options_init(sluice_model_options* options, size_t struct_size) {
  return sluice::capi::Enter(
      [&] { return sluice::capi::InitStruct(options, struct_size, "sluice_model_options"); });
}
