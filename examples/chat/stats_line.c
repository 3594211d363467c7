#include "stats_line.h"

#include <stdio.h>

void stats_line_format(const struct figures* figures, char* line, size_t line_bytes) {
  char speed[40] = "reading the prompt", storage[120] = "", memory[40] = "";
  uint32_t used = figures->context_used;
  const sluice_stats* const stats = &figures->stats;
  if (figures->tokens_per_s > 0) {
    snprintf(speed, sizeof speed, "%.*f tokens/s", figures->tokens_per_s < 10 ? 2 : 0,
             figures->tokens_per_s);
  }
  if (figures->has_stats && stats->tokens > 0) {
    snprintf(storage, sizeof storage, ", %.2f MB read/token, %.0f %% hits",
             stats->bytes_per_token / 1e6, 100 * stats->hit_rate);
  }
  if (figures->has_stats) {
    snprintf(memory, sizeof memory, ", %.0f MB peak RSS", (double)stats->peak_rss_bytes / 1e6);
  }
  /* An answer's last token needs no place in the context. */
  if (used > figures->context_tokens) used = figures->context_tokens;
  snprintf(line, line_bytes, "%s%s%s, context %u/%u", speed, storage, memory, used,
           figures->context_tokens);
}
