// What a session measures: a sample for each decoded token, and their means.
#include <algorithm>

#include "lib/base/clock.h"
#include "lib/io/host.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/session_impl.h"

namespace sluice {

TokenSample SessionImpl::SampleSince(const LoaderStats& before, int64_t start_ns,
                                     int64_t rereading_ns) const {
  const LoaderStats& after = context_->loader->stats();
  const FfnMeter& meter = context_->ffn->meter();
  const LookaheadMeter& ahead = context_->ffn->lookahead().meter();
  TokenSample sample;
  sample.total_ns = NowNs() - start_ns;
  sample.io_ns = after.waiting_ns - before.waiting_ns + after.starting_ns - before.starting_ns;
  sample.memory_ns =
      meter.memory_ns + ahead.memory_ns + after.planning_ns - before.planning_ns;
  sample.io_busy_ns = after.busy_ns - before.busy_ns;
  sample.bytes = after.bytes - before.bytes;
  sample.gap_bytes = after.gap_bytes - before.gap_bytes;
  sample.reads = after.reads - before.reads;
  sample.records_needed = meter.records_needed;
  sample.records_missing = meter.records_missing;
  sample.records_ahead = ahead.records;
  sample.records_ahead_used = ahead.used;
  sample.needed_bytes = meter.records_missing * model_->plan().record_bytes;
  sample.neurons_predicted = meter.neurons_predicted;
  sample.neurons_active = meter.neurons_active;
  if (const ResidentReader* const resident = context_->resident.get()) {
    sample.io_ns += rereading_ns;
    sample.io_busy_ns += rereading_ns;
    sample.bytes += resident->bytes();
    sample.needed_bytes += resident->bytes();
    sample.reads += resident->reads();
  }
  return sample;
}

void SessionImpl::Count(const TokenSample& sample) {
  if (context_->samples.size() < context_->samples.capacity()) {
    context_->samples.push_back(sample);
  }
  ++decoded_;
  sum_.total_ns += sample.total_ns;
  sum_.io_ns += sample.io_ns;
  sum_.memory_ns += sample.memory_ns;
  sum_.io_busy_ns += sample.io_busy_ns;
  sum_.bytes += sample.bytes;
  sum_.gap_bytes += sample.gap_bytes;
  sum_.reads += sample.reads;
  sum_.records_needed += sample.records_needed;
  sum_.records_missing += sample.records_missing;
  sum_.records_ahead += sample.records_ahead;
  sum_.records_ahead_used += sample.records_ahead_used;
  sum_.needed_bytes += sample.needed_bytes;
  sum_.neurons_predicted += sample.neurons_predicted;
  sum_.neurons_active += sample.neurons_active;
}

const char* SessionImpl::LookaheadState() const {
  const LookaheadGain& gain = context_->ffn->lookahead().gain();
  if (!gain.enabled()) return "none";
  return gain.pays() ? "on" : "off: it did not pay";
}

Stats SessionImpl::stats() const {
  Stats stats;
  stats.tokens = decoded_;
  const double n = static_cast<double>(std::max<uint64_t>(decoded_, 1));
  const auto ms = [&](int64_t ns) { return static_cast<double>(ns) / 1e6 / n; };
  stats.io_ms_per_token = ms(sum_.io_ns);
  stats.memory_ms_per_token = ms(sum_.memory_ns);
  stats.compute_ms_per_token = ms(sum_.compute_ns());
  stats.total_ms_per_token = ms(sum_.total_ns);
  stats.io_busy_ms_per_token = ms(sum_.io_busy_ns);
  stats.bytes_per_token = static_cast<double>(sum_.bytes) / n;
  stats.gap_bytes_per_token = static_cast<double>(sum_.gap_bytes) / n;
  stats.reads_per_token = static_cast<double>(sum_.reads) / n;
  if (sum_.reads > 0) {
    stats.mean_read_bytes = static_cast<double>(sum_.bytes) / static_cast<double>(sum_.reads);
  }
  if (sum_.io_busy_ns > 0) {
    stats.read_gb_per_s = static_cast<double>(sum_.bytes) / static_cast<double>(sum_.io_busy_ns);
  }
  if (sum_.records_needed > 0) {
    stats.hit_rate = 1 - static_cast<double>(sum_.records_missing) /
                             static_cast<double>(sum_.records_needed);
  }
  const double neurons =
      n * model_->config().num_layers * static_cast<double>(model_->config().d_ffn);
  stats.active_fraction = static_cast<double>(sum_.neurons_active) / neurons;
  stats.predicted_fraction = static_cast<double>(sum_.neurons_predicted) / neurons;
  stats.needed_bytes_per_token = static_cast<double>(sum_.needed_bytes) / n;
  if (sum_.records_missing > 0) {
    stats.lookahead_hit_rate = static_cast<double>(sum_.records_ahead_used) /
                               static_cast<double>(sum_.records_missing);
  }
  stats.lookahead_wasted_bytes_per_token =
      static_cast<double>((sum_.records_ahead - sum_.records_ahead_used) *
                          model_->plan().record_bytes) / n;
  stats.lookahead = LookaheadState();
  stats.window_tokens = model_->cache().MeanSpanTokens();
  stats.window_forced_evictions = model_->cache().ForcedEvictions();
  stats.prefill_tokens = prefill_tokens_;
  stats.prefill_ms = static_cast<double>(prefill_ns_) / 1e6;
  stats.prefill_bytes = prefill_bytes_;
  stats.reused_tokens = reused_tokens_;
  stats.peak_rss_bytes = PeakRssBytes();
  const IoCapabilities& io = context_->loader->capabilities();
  stats.engine = io.engine;
  stats.engine_reason = io.reason;
  stats.direct_io = io.direct_io;
  return stats;
}

void SessionImpl::ResetStats() {
  context_->samples.clear();
  decoded_ = 0;
  sum_ = TokenSample();
  prefill_tokens_ = prefill_bytes_ = reused_tokens_ = 0;
  prefill_ns_ = 0;
}

}  // namespace sluice
