/* The figures of an answer, in one line. */
#ifndef CHAT_STATS_LINE_H_
#define CHAT_STATS_LINE_H_

#include <sluice.h>
#include <stddef.h>

struct figures {
  double tokens_per_s; /* by the clock, from the first token on; 0: not known yet */
  uint32_t context_used, context_tokens;
  int has_stats;       /* the rest may not be known while an answer comes */
  sluice_stats stats;
};

/* "577 tokens/s, 0.62 MB read/token, 57 % hits, 25 MB peak RSS, context 63/512" */
void stats_line_format(const struct figures* figures, char* line, size_t line_bytes);

#endif /* CHAT_STATS_LINE_H_ */
