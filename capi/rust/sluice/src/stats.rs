//! What a session's tokens cost.
use crate::text::{struct_size, text_in};
use sluice_sys as sys;

/// Means over the tokens decoded since the session was made or its statistics were reset.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Whether reads bypass the page cache.
    pub direct_io: bool,
    /// Tokens decoded.
    pub tokens: u64,
    /// The sum of the next three.
    pub total_ms_per_token: f64,
    /// Compute waited for reads.
    pub io_ms_per_token: f64,
    /// Window, slots, read planning.
    pub memory_ms_per_token: f64,
    /// Everything else.
    pub compute_ms_per_token: f64,
    /// Reads were in flight.
    pub io_busy_ms_per_token: f64,
    /// From storage.
    pub bytes_per_token: f64,
    /// Requests to storage.
    pub reads_per_token: f64,
    /// Of one request.
    pub mean_read_bytes: f64,
    /// While reading; 1e9 bytes.
    pub read_gb_per_s: f64,
    /// Needed records that were in memory.
    pub hit_rate: f64,
    /// Neurons with non-zero output.
    pub active_fraction: f64,
    /// Neurons computed.
    pub predicted_fraction: f64,
    /// Tokens that a neuron stays in DRAM unused.
    pub window_tokens: f64,
    /// Of prompts.
    pub prefill_tokens: u64,
    /// For prompts.
    pub prefill_ms: f64,
    /// For prompts, from storage.
    pub prefill_bytes: u64,
    /// Of prompts: they were in the KV cache already.
    pub reused_tokens: u64,
    /// Of the process.
    pub peak_rss_bytes: u64,
    /// "uring", "pread", or "host" where the host reads.
    pub engine: String,
    /// Why that one.
    pub engine_reason: String,
    /// Records that had no slot, each counted once.
    pub needed_bytes_per_token: f64,
    /// Read between needed records, which is cheaper than another request.
    pub gap_bytes_per_token: f64,
    /// "on", "off: it did not pay" or "none".
    pub lookahead: String,
    /// Of the records without a slot, those asked for a layer early.
    pub lookahead_hit_rate: f64,
    /// Read on a guess that was wrong.
    pub lookahead_wasted_bytes_per_token: f64,
    /// Records forgotten inside a fixed window.
    pub window_forced_evictions: u64,
}

impl Stats {
    pub(crate) fn empty() -> sys::sluice_stats {
        sys::sluice_stats { struct_size: struct_size::<sys::sluice_stats>(), ..Default::default() }
    }

    pub(crate) fn of(raw: &sys::sluice_stats) -> Stats {
        Stats {
            direct_io: raw.direct_io != 0,
            tokens: raw.tokens,
            total_ms_per_token: raw.total_ms_per_token,
            io_ms_per_token: raw.io_ms_per_token,
            memory_ms_per_token: raw.memory_ms_per_token,
            compute_ms_per_token: raw.compute_ms_per_token,
            io_busy_ms_per_token: raw.io_busy_ms_per_token,
            bytes_per_token: raw.bytes_per_token,
            reads_per_token: raw.reads_per_token,
            mean_read_bytes: raw.mean_read_bytes,
            read_gb_per_s: raw.read_gb_per_s,
            hit_rate: raw.hit_rate,
            active_fraction: raw.active_fraction,
            predicted_fraction: raw.predicted_fraction,
            window_tokens: raw.window_tokens,
            prefill_tokens: raw.prefill_tokens,
            prefill_ms: raw.prefill_ms,
            prefill_bytes: raw.prefill_bytes,
            reused_tokens: raw.reused_tokens,
            peak_rss_bytes: raw.peak_rss_bytes,
            engine: text_in(&raw.engine),
            engine_reason: text_in(&raw.engine_reason),
            needed_bytes_per_token: raw.needed_bytes_per_token,
            gap_bytes_per_token: raw.gap_bytes_per_token,
            lookahead: text_in(&raw.lookahead),
            lookahead_hit_rate: raw.lookahead_hit_rate,
            lookahead_wasted_bytes_per_token: raw.lookahead_wasted_bytes_per_token,
            window_forced_evictions: raw.window_forced_evictions,
        }
    }
}
