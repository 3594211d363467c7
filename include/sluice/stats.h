// What a session measured. Names and meaning are those of the command line's JSON.
#ifndef SLUICE_STATS_H_
#define SLUICE_STATS_H_

#include <cstdint>
#include <string>

namespace sluice {

// One decoded token. Times in nanoseconds.
struct TokenSample {
  int64_t total_ns = 0;
  int64_t io_ns = 0;       // compute waited for reads or for starting them
  int64_t memory_ns = 0;   // window, slots, read planning
  int64_t io_busy_ns = 0;  // at least one read in flight
  uint64_t bytes = 0;      // read from storage
  uint64_t gap_bytes = 0;  // of those, between needed records: cheaper than another request
  uint64_t reads = 0;      // requests to storage
  uint64_t records_needed = 0;
  uint64_t records_missing = 0;     // needed, and without a slot before this token
  uint64_t needed_bytes = 0;        // of those, each once
  uint64_t records_ahead = 0;       // read on a guess, a layer early
  uint64_t records_ahead_used = 0;  // of those, needed after all
  uint64_t neurons_predicted = 0;
  uint64_t neurons_active = 0;  // of those, with a non-zero output

  int64_t compute_ns() const { return total_ns - io_ns - memory_ns; }
};

// Means over the tokens decoded since the session was made or ResetStats().
struct Stats {
  uint64_t tokens = 0;  // decoded; prompt tokens are not in the means
  double io_ms_per_token = 0;
  double memory_ms_per_token = 0;
  double compute_ms_per_token = 0;
  double total_ms_per_token = 0;  // the three above add up to it
  double io_busy_ms_per_token = 0;
  double bytes_per_token = 0;
  double gap_bytes_per_token = 0;  // of those, between needed records
  double needed_bytes_per_token = 0;      // records that had no slot, each counted once
  double reads_per_token = 0;
  double mean_read_bytes = 0;
  double read_gb_per_s = 0;  // bytes over the time with reads in flight, 1e9 per second
  double hit_rate = 0;       // needed records that had a slot already
  // Of the needed records that had no slot, those that had been asked for a layer early.
  double lookahead_hit_rate = 0;
  double lookahead_wasted_bytes_per_token = 0;  // read on a guess that was wrong
  std::string lookahead;  // "on", "off: it did not pay", "none": the file or the options have none
  double active_fraction = 0;     // neurons with non-zero output, of all
  double predicted_fraction = 0;  // neurons computed, of all
  double window_tokens = 0;       // that a neuron stays in DRAM unused, mean over layers
  uint64_t window_forced_evictions = 0;  // records forgotten inside a fixed window
  uint64_t prefill_tokens = 0;
  double prefill_ms = 0;
  uint64_t prefill_bytes = 0;
  uint64_t reused_tokens = 0;   // of whole prompts: they were in the KV cache already
  uint64_t peak_rss_bytes = 0;  // of the process (VmHWM)
  std::string engine;           // "uring", "pread", "host": a read function of the host's
  std::string engine_reason;    // why this engine and this kind of I/O
  bool direct_io = false;
};

}  // namespace sluice

#endif  // SLUICE_STATS_H_
