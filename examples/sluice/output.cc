#include "output.h"

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>

#include <unistd.h>

namespace sluice::cli {
namespace {

constexpr int kBarWidth = 40;
constexpr int64_t kRedrawMs = 100;

std::string Format(const char* format, ...) __attribute__((format(printf, 1, 2)));

std::string Format(const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return text;
}

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void PrintJson(const nlohmann::json& value) {
  const std::string text =
      value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::printf("%s\n", text.c_str());
}

std::string Size(double bytes) {
  if (bytes < 1024) return Format("%.0f bytes", bytes);
  if (bytes < 1024 * 1024) return Format("%.1f KiB", bytes / 1024);
  if (bytes < 1024.0 * 1024 * 1024) return Format("%.1f MiB", bytes / (1024 * 1024));
  return Format("%.2f GiB", bytes / (1024.0 * 1024 * 1024));
}

nlohmann::json StatsJson(const Stats& s) {
  return {{"ms_per_token",
           {{"io", s.io_ms_per_token},
            {"memory", s.memory_ms_per_token},
            {"compute", s.compute_ms_per_token},
            {"total", s.total_ms_per_token}}},
          {"io_busy_ms_per_token", s.io_busy_ms_per_token},
          {"bytes_per_token", s.bytes_per_token},
          {"gap_bytes_per_token", s.gap_bytes_per_token},
          {"needed_bytes_per_token", s.needed_bytes_per_token},
          {"reads_per_token", s.reads_per_token},
          {"mean_read_bytes", s.mean_read_bytes},
          {"read_gb_per_s", s.read_gb_per_s},
          {"hit_rate", s.hit_rate},
          {"lookahead", s.lookahead},
          {"lookahead_hit_rate", s.lookahead_hit_rate},
          {"lookahead_wasted_bytes_per_token", s.lookahead_wasted_bytes_per_token},
          {"active_fraction", s.active_fraction},
          {"predicted_fraction", s.predicted_fraction},
          {"window_tokens", s.window_tokens},
          {"window_forced_evictions", s.window_forced_evictions},
          {"decoded_tokens", s.tokens},
          {"prefill", {{"tokens", s.prefill_tokens}, {"ms", s.prefill_ms},
                       {"bytes", s.prefill_bytes}, {"reused_tokens", s.reused_tokens}}},
          {"peak_rss_bytes", s.peak_rss_bytes},
          {"engine", s.engine},
          {"engine_reason", s.engine_reason},
          {"direct_io", s.direct_io}};
}

std::string StatsText(const Stats& s) {
  std::string text;
  text += Format("prompt      %llu tokens in %.1f ms, %s read",
                 static_cast<unsigned long long>(s.prefill_tokens), s.prefill_ms,
                 Size(static_cast<double>(s.prefill_bytes)).c_str());
  if (s.reused_tokens > 0) {
    text += Format("; %llu more were there already",
                   static_cast<unsigned long long>(s.reused_tokens));
  }
  text += "\n";
  text += Format("per token   %.2f ms = %.2f waiting for reads + %.2f window and slots + %.2f "
                 "compute (%.0f tokens/s)\n",
                 s.total_ms_per_token, s.io_ms_per_token, s.memory_ms_per_token,
                 s.compute_ms_per_token,
                 s.total_ms_per_token > 0 ? 1000 / s.total_ms_per_token : 0.0);
  text += Format("from disk   %s per token in %.1f reads of %s, %.2f GB/s while reading\n",
                 Size(s.bytes_per_token).c_str(), s.reads_per_token,
                 Size(s.mean_read_bytes).c_str(), s.read_gb_per_s);
  text += Format("neurons     %.2f %% computed, %.2f %% active; %.1f %% of the records needed were "
                 "in DRAM (window of %.1f tokens)\n",
                 100 * s.predicted_fraction, 100 * s.active_fraction, 100 * s.hit_rate,
                 s.window_tokens);
  text += Format("memory      %s at most (peak RSS of the process)\n",
                 Size(static_cast<double>(s.peak_rss_bytes)).c_str());
  text += "storage     " + s.engine + (s.direct_io ? ", O_DIRECT" : ", through the page cache") +
          ": " + s.engine_reason + "\n";
  return text;
}

nlohmann::json LayersJson(const std::vector<LayerQuality>& layers) {
  nlohmann::json list = nlohmann::json::array();
  for (const LayerQuality& l : layers) {
    list.push_back({{"layer", l.layer},
                    {"rank", l.rank},
                    {"recall", l.recall},
                    {"precision", l.precision},
                    {"active_fraction", l.active_fraction},
                    {"predicted_fraction", l.predicted_fraction},
                    {"lookahead_recall", l.lookahead_recall},
                    {"lookahead_precision", l.lookahead_precision}});
  }
  return list;
}

std::string LayersText(const std::vector<LayerQuality>& layers) {
  std::string text = "layer   rank   recall   precision   active   predicted   lookahead\n";
  for (const LayerQuality& l : layers) {
    text += Format("%5u  %5u   %6.4f      %6.4f   %5.2f %%     %5.2f %%", l.layer, l.rank, l.recall,
                   l.precision, 100 * l.active_fraction, 100 * l.predicted_fraction);
    // Nothing comes before the first layer that could guess for it.
    text += l.layer == 0 ? "           -\n" : Format("      %6.4f\n", l.lookahead_recall);
  }
  return text;
}

ProgressBar::ProgressBar(bool wanted) : shown_(wanted && isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fprintf(stderr, "\r\033[K");
}

void ProgressBar::Update(const std::string& stage, double done) {
  if (!shown_ || NowMs() - last_ms_ < kRedrawMs) return;
  last_ms_ = NowMs();
  drawn_ = true;
  const int filled = static_cast<int>(std::clamp(done, 0.0, 1.0) * kBarWidth);
  std::fprintf(stderr, "\r\033[K%-10s [%s%s] %3.0f %%", stage.c_str(),
               std::string(static_cast<size_t>(filled), '#').c_str(),
               std::string(static_cast<size_t>(kBarWidth - filled), '.').c_str(), 100 * done);
  std::fflush(stderr);
}

}  // namespace sluice::cli
