/* Version, status names, the log, and the layout of the structs of ABI 1. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

static void ignore_log(int32_t level, const char* text, void* user_data) {
  (void)level;
  (void)text;
  (void)user_data;
}

void test_library(void) {
  CHECK(strcmp(sluice_version(), SLUICE_VERSION_STRING) == 0);
  CHECK(sluice_abi() == SLUICE_ABI);
  CHECK(strcmp(sluice_status_name(SLUICE_OK), "OK") == 0);
  CHECK(strcmp(sluice_status_name(SLUICE_CANCELLED), "CANCELLED") == 0);
  CHECK(strcmp(sluice_status_name(SLUICE_INTERNAL), "INTERNAL") == 0);
  CHECK(strcmp(sluice_status_name(10), "UNKNOWN") == 0);
  CHECK(strcmp(sluice_status_name(-1), "UNKNOWN") == 0);
  CHECK(sluice_last_error_message() != NULL);
  sluice_log_set(ignore_log, NULL);
  sluice_log_set(NULL, NULL);
}

/* What compiled hosts rely on. A struct may grow behind `end`; nothing before it ever moves. */
struct place {
  const char* name;
  size_t now;
  size_t abi1;
};
#define MEMBER(type, member, offset) {#type "." #member, offsetof(type, member), offset}
#define END(type, size) \
  {#type " end", offsetof(type, reserved) + sizeof(((type*)0)->reserved), size}

static const struct place places[] = {
    MEMBER(sluice_model_options, struct_size, 0),
    MEMBER(sluice_model_options, context_tokens, 4),
    MEMBER(sluice_model_options, dram_budget_bytes, 8),
    MEMBER(sluice_model_options, max_sessions, 16),
    MEMBER(sluice_model_options, window_tokens, 20),
    MEMBER(sluice_model_options, mode, 24),
    MEMBER(sluice_model_options, engine, 28),
    MEMBER(sluice_model_options, threads, 32),
    MEMBER(sluice_model_options, queue_depth, 36),
    MEMBER(sluice_model_options, prefill_chunk_tokens, 40),
    MEMBER(sluice_model_options, skip_verify, 44),
    MEMBER(sluice_model_options, reserved, 48),
    END(sluice_model_options, 80),
    MEMBER(sluice_model_options, resident_type, 80),
    MEMBER(sluice_model_options, kv_type, 84),
    MEMBER(sluice_model_options, ffn_only, 88),
    MEMBER(sluice_model_options, disabled, 92),
    MEMBER(sluice_model_options, device_curve_path, 96),
    MEMBER(sluice_memory_plan, struct_size, 0),
    MEMBER(sluice_memory_plan, fits, 4),
    MEMBER(sluice_memory_plan, floor_bytes, 8),
    MEMBER(sluice_memory_plan, recommended_bytes, 16),
    MEMBER(sluice_memory_plan, budget_bytes, 24),
    MEMBER(sluice_memory_plan, resident_bytes, 32),
    MEMBER(sluice_memory_plan, predictor_bytes, 40),
    MEMBER(sluice_memory_plan, kv_bytes, 48),
    MEMBER(sluice_memory_plan, slot_bytes, 56),
    MEMBER(sluice_memory_plan, scratch_bytes, 64),
    MEMBER(sluice_memory_plan, io_bytes, 72),
    MEMBER(sluice_memory_plan, context_tokens, 80),
    MEMBER(sluice_memory_plan, max_sessions, 84),
    MEMBER(sluice_memory_plan, mode, 88),
    MEMBER(sluice_memory_plan, reserved32, 92),
    END(sluice_memory_plan, 128),
    MEMBER(sluice_model_info, struct_size, 0),
    MEMBER(sluice_model_info, num_layers, 4),
    MEMBER(sluice_model_info, d_model, 8),
    MEMBER(sluice_model_info, d_ffn, 12),
    MEMBER(sluice_model_info, num_heads, 16),
    MEMBER(sluice_model_info, vocab_size, 20),
    MEMBER(sluice_model_info, max_positions, 24),
    MEMBER(sluice_model_info, has_tokenizer, 28),
    MEMBER(sluice_model_info, has_predictors, 32),
    MEMBER(sluice_model_info, reserved32, 36),
    MEMBER(sluice_model_info, file_bytes, 40),
    END(sluice_model_info, 80),
    MEMBER(sluice_model_info, family, 80),
    MEMBER(sluice_model_info, eos_count, 96),
    MEMBER(sluice_model_info, eos_ids, 100),
    MEMBER(sluice_stats, struct_size, 0),
    MEMBER(sluice_stats, direct_io, 4),
    MEMBER(sluice_stats, tokens, 8),
    MEMBER(sluice_stats, total_ms_per_token, 16),
    MEMBER(sluice_stats, io_ms_per_token, 24),
    MEMBER(sluice_stats, memory_ms_per_token, 32),
    MEMBER(sluice_stats, compute_ms_per_token, 40),
    MEMBER(sluice_stats, io_busy_ms_per_token, 48),
    MEMBER(sluice_stats, bytes_per_token, 56),
    MEMBER(sluice_stats, reads_per_token, 64),
    MEMBER(sluice_stats, mean_read_bytes, 72),
    MEMBER(sluice_stats, read_gb_per_s, 80),
    MEMBER(sluice_stats, hit_rate, 88),
    MEMBER(sluice_stats, active_fraction, 96),
    MEMBER(sluice_stats, predicted_fraction, 104),
    MEMBER(sluice_stats, window_tokens, 112),
    MEMBER(sluice_stats, prefill_tokens, 120),
    MEMBER(sluice_stats, prefill_ms, 128),
    MEMBER(sluice_stats, peak_rss_bytes, 136),
    MEMBER(sluice_stats, engine, 144),
    MEMBER(sluice_stats, engine_reason, 160),
    END(sluice_stats, 448),
    MEMBER(sluice_stats, needed_bytes_per_token, 448),
    MEMBER(sluice_stats, gap_bytes_per_token, 456),
    MEMBER(sluice_stats, lookahead_hit_rate, 464),
    MEMBER(sluice_stats, lookahead_wasted_bytes_per_token, 472),
    MEMBER(sluice_stats, lookahead, 480),
    MEMBER(sluice_stats, window_forced_evictions, 512),
    MEMBER(sluice_stats, prefill_bytes, 520),
    MEMBER(sluice_stats, reused_tokens, 528),
    MEMBER(sluice_generate_options, struct_size, 0),
    MEMBER(sluice_generate_options, max_tokens, 4),
    MEMBER(sluice_generate_options, temperature, 8),
    MEMBER(sluice_generate_options, top_p, 12),
    MEMBER(sluice_generate_options, min_p, 16),
    MEMBER(sluice_generate_options, repetition_penalty, 20),
    MEMBER(sluice_generate_options, top_k, 24),
    MEMBER(sluice_generate_options, ignore_eos, 28),
    MEMBER(sluice_generate_options, seed, 32),
    MEMBER(sluice_generate_options, stop, 40),
    MEMBER(sluice_generate_options, stop_count, 48),
    MEMBER(sluice_generate_options, no_special_tokens, 56),
    MEMBER(sluice_generate_options, reserved32, 60),
    END(sluice_generate_options, 96),
    MEMBER(sluice_generate_options, whole_prompt, 96),
    MEMBER(sluice_generate_options, top_logprobs, 100),
    MEMBER(sluice_generate_options, on_logits, 104),
    MEMBER(sluice_generate_options, on_logprobs, 112),
    MEMBER(sluice_generate_options, sampling_user_data, 120),
    MEMBER(sluice_token_logprob, token, 0),
    MEMBER(sluice_token_logprob, logprob, 4),
    MEMBER(sluice_source, struct_size, 0),
    MEMBER(sluice_source, kind, 4),
    MEMBER(sluice_source, path, 8),
    MEMBER(sluice_source, fd, 16),
    MEMBER(sluice_source, read_threads, 20),
    MEMBER(sluice_source, offset, 24),
    MEMBER(sluice_source, bytes, 32),
    MEMBER(sluice_source, read, 40),
    MEMBER(sluice_source, release, 48),
    MEMBER(sluice_source, user_data, 56),
    MEMBER(sluice_source, reserved, 64),
    END(sluice_source, 96),
    MEMBER(sluice_train_options, struct_size, 0),
    MEMBER(sluice_train_options, rank, 4),
    MEMBER(sluice_train_options, parameter_share, 8),
    MEMBER(sluice_train_options, seed, 16),
    MEMBER(sluice_train_options, threads, 24),
    MEMBER(sluice_train_options, reserved32, 28),
    MEMBER(sluice_train_options, reserved, 32),
    END(sluice_train_options, 64),
    MEMBER(sluice_convert_options, struct_size, 0),
    MEMBER(sluice_convert_options, dtype, 4),
    MEMBER(sluice_convert_options, calibration_path, 8),
    MEMBER(sluice_convert_options, device_curve_path, 16),
    MEMBER(sluice_convert_options, no_placement, 24),
    MEMBER(sluice_convert_options, reserved32, 28),
    MEMBER(sluice_convert_options, part_bytes, 32),
    MEMBER(sluice_convert_options, train, 40),
    MEMBER(sluice_convert_options, reserved, 48),
    END(sluice_convert_options, 80),
    MEMBER(sluice_convert_report, struct_size, 0),
    MEMBER(sluice_convert_report, has_tokenizer, 4),
    MEMBER(sluice_convert_report, records, 8),
    MEMBER(sluice_convert_report, record_bytes, 16),
    MEMBER(sluice_convert_report, bytes, 24),
    MEMBER(sluice_convert_report, seconds, 32),
    MEMBER(sluice_convert_report, peak_rss_bytes, 40),
    MEMBER(sluice_convert_report, num_parts, 48),
    MEMBER(sluice_convert_report, num_layers, 52),
    MEMBER(sluice_convert_report, reserved, 56),
    END(sluice_convert_report, 88),
    MEMBER(sluice_layer_quality, layer, 0),
    MEMBER(sluice_layer_quality, rank, 4),
    MEMBER(sluice_layer_quality, recall, 8),
    MEMBER(sluice_layer_quality, precision, 16),
    MEMBER(sluice_layer_quality, active_fraction, 24),
    MEMBER(sluice_layer_quality, predicted_fraction, 32),
    MEMBER(sluice_layer_quality, lookahead_recall, 40),
    MEMBER(sluice_layer_quality, lookahead_precision, 48),
    MEMBER(sluice_evaluation, struct_size, 0),
    MEMBER(sluice_evaluation, reserved32, 4),
    MEMBER(sluice_evaluation, perplexity, 8),
    MEMBER(sluice_evaluation, tokens, 16),
    MEMBER(sluice_evaluation, recall, 24),
    MEMBER(sluice_evaluation, precision, 32),
    MEMBER(sluice_evaluation, active_fraction, 40),
    MEMBER(sluice_evaluation, predicted_fraction, 48),
    MEMBER(sluice_evaluation, reserved, 56),
    END(sluice_evaluation, 88),
    MEMBER(sluice_device_point, read_bytes, 0),
    MEMBER(sluice_device_point, queue_depth, 8),
    MEMBER(sluice_device_point, reserved32, 12),
    MEMBER(sluice_device_point, gb_per_s, 16),
    MEMBER(sluice_device_point, us_per_read, 24),
    MEMBER(sluice_layer_info, struct_size, 0),
    MEMBER(sluice_layer_info, d_model, 4),
    MEMBER(sluice_layer_info, d_ffn, 8),
    MEMBER(sluice_layer_info, element, 12),
    MEMBER(sluice_layer_info, neurons_per_record, 16),
    MEMBER(sluice_layer_info, num_records, 20),
    MEMBER(sluice_layer_info, num_slots, 24),
    MEMBER(sluice_layer_info, has_predictor, 28),
    MEMBER(sluice_layer_info, has_lookahead, 32),
    MEMBER(sluice_layer_info, reserved32, 36),
    MEMBER(sluice_layer_info, up_bias, 40),
    MEMBER(sluice_layer_info, down_bias, 48),
    MEMBER(sluice_layer_info, reserved, 56),
    END(sluice_layer_info, 88),
    MEMBER(sluice_backend_stats, struct_size, 0),
    MEMBER(sluice_backend_stats, direct_io, 4),
    MEMBER(sluice_backend_stats, tokens, 8),
    MEMBER(sluice_backend_stats, records_needed, 16),
    MEMBER(sluice_backend_stats, records_missing, 24),
    MEMBER(sluice_backend_stats, reads, 32),
    MEMBER(sluice_backend_stats, bytes, 40),
    MEMBER(sluice_backend_stats, neurons_predicted, 48),
    MEMBER(sluice_backend_stats, neurons_active, 56),
    MEMBER(sluice_backend_stats, io_ms, 64),
    MEMBER(sluice_backend_stats, total_ms, 72),
    MEMBER(sluice_backend_stats, reserved, 80),
    END(sluice_backend_stats, 112),
};

void test_layout(void) {
  size_t i;
  if (sizeof(void*) != 8) return; /* the table is that of 64-bit hosts */
  for (i = 0; i < sizeof places / sizeof places[0]; ++i) {
    if (places[i].now != places[i].abi1) {
      printf("%s: at %zu, in ABI 1 at %zu\n", places[i].name, places[i].now, places[i].abi1);
    }
    CHECK(places[i].now == places[i].abi1);
  }
  /* Sizes of this version: a member appended to a struct shows here. */
  CHECK(sizeof(sluice_model_options) == 104);
  CHECK(sizeof(sluice_memory_plan) == 128);
  CHECK(sizeof(sluice_model_info) == 128);
  CHECK(sizeof(sluice_stats) == 536);
  CHECK(sizeof(sluice_generate_options) == 128);
  CHECK(sizeof(sluice_source) == 96);
  CHECK(sizeof(sluice_train_options) == 64);
  CHECK(sizeof(sluice_convert_options) == 80);
  CHECK(sizeof(sluice_convert_report) == 88);
  CHECK(sizeof(sluice_evaluation) == 88);
  CHECK(sizeof(sluice_layer_info) == 88);
  CHECK(sizeof(sluice_backend_stats) == 112);
  CHECK(sizeof(sluice_status) == 4);
  /* These come in arrays and have no struct_size: they never grow. */
  CHECK(sizeof(sluice_token_logprob) == 8);
  CHECK(sizeof(sluice_layer_quality) == 56);
  CHECK(sizeof(sluice_device_point) == 32);
}
