#include "arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char kUsage[] =
    "usage: chat MODEL [--dram-budget N] [--context N] [--max-tokens N] [--temperature T] "
    "[--seed S]\n"
    "  MODEL          bundle file (.flash)\n"
    "  --dram-budget  DRAM for everything: bytes, or a number with K, M, G; default: what is "
    "free\n"
    "  --context      tokens that a conversation may have; default: the model's limit\n"
    "  --max-tokens   of one answer; default: 120\n"
    "  --temperature  0: always the most likely token; default: 0.8, of the 40 most likely\n"
    "  --seed         the same seed draws the same answers; default: 1\n"
    "Commands while it runs: /help\n";

/* A whole number with K, M or G behind it where `units` is nonzero; 0 after a mistake. */
static int read_number(const char* text, int units, uint64_t limit, uint64_t* number) {
  char* end = NULL;
  unsigned shift = 0;
  unsigned long long value = 0;
  if (*text < '0' || *text > '9') return 0; /* strtoull takes signs and blanks */
  errno = 0;
  value = strtoull(text, &end, 10);
  if (units && *end != '\0') {
    const char* const unit = strchr("kKmMgG", *end);
    if (unit == NULL) return 0;
    shift = 10 * (1 + (unsigned)(unit - "kKmMgG") / 2);
    ++end;
  }
  if (errno != 0 || *end != '\0' || value > limit >> shift) return 0;
  *number = (uint64_t)value << shift;
  return 1;
}

static int read_temperature(const char* text, float* temperature) {
  char* end = NULL;
  const double value = strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0 && value <= 100)) return 0;
  *temperature = (float)value;
  return 1;
}

/* 1: read, 0: a bad value, -1: no such option */
static int read_option(const char* name, const char* value, struct arguments* arguments) {
  uint64_t number = 0;
  int ok = 0;
  if (strcmp(name, "--dram-budget") == 0) {
    ok = read_number(value, 1, UINT64_MAX, &number) && number > 0;
    arguments->dram_budget_bytes = number;
  } else if (strcmp(name, "--context") == 0) {
    ok = read_number(value, 0, UINT32_MAX, &number) && number > 0;
    arguments->context_tokens = (uint32_t)number;
  } else if (strcmp(name, "--max-tokens") == 0) {
    ok = read_number(value, 0, UINT32_MAX, &number) && number > 0;
    arguments->max_tokens = (uint32_t)number;
  } else if (strcmp(name, "--temperature") == 0) {
    ok = read_temperature(value, &arguments->temperature);
  } else if (strcmp(name, "--seed") == 0) {
    ok = read_number(value, 0, UINT64_MAX, &arguments->seed);
  } else {
    return -1;
  }
  return ok;
}

int arguments_read(int argc, char** argv, struct arguments* arguments, char* error,
                   size_t error_bytes) {
  int i = 0;
  memset(arguments, 0, sizeof *arguments);
  arguments->max_tokens = 120;
  arguments->temperature = 0.8f;
  arguments->seed = 1;
  for (i = 1; i < argc; ++i) {
    const char* const word = argv[i];
    if (strcmp(word, "--help") == 0) {
      arguments->help = 1;
      return 1;
    }
    if (strncmp(word, "--", 2) == 0) {
      const char* const value = i + 1 < argc ? argv[++i] : "";
      const int read = read_option(word, value, arguments);
      if (read == 1) continue;
      snprintf(error, error_bytes, read < 0 ? "there is no option %s" : "%s: '%s' will not do",
               word, value);
      return 0;
    }
    if (arguments->model_path != NULL) {
      snprintf(error, error_bytes, "one model at a time, '%s' is too much", word);
      return 0;
    }
    arguments->model_path = word;
  }
  if (arguments->model_path != NULL) return 1;
  snprintf(error, error_bytes, "a model is missing");
  return 0;
}
