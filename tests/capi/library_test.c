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
  CHECK(sizeof(sluice_model_options) == 88);
  CHECK(sizeof(sluice_memory_plan) == 128);
  CHECK(sizeof(sluice_model_info) == 80);
  CHECK(sizeof(sluice_stats) == 536);
  CHECK(sizeof(sluice_generate_options) == 128);
  CHECK(sizeof(sluice_token_logprob) == 8);
  CHECK(sizeof(sluice_status) == 4);
}
