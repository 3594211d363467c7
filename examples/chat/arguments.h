/* The command line of the chat program. */
#ifndef CHAT_ARGUMENTS_H_
#define CHAT_ARGUMENTS_H_

#include <stddef.h>
#include <stdint.h>

struct arguments {
  const char* model_path;
  uint64_t dram_budget_bytes; /* 0: what is free */
  uint32_t context_tokens;    /* 0: the model's limit */
  uint32_t max_tokens;        /* of one answer */
  float temperature;          /* 0: greedy */
  uint64_t seed;
  int help; /* nothing else was read */
};

/* 0 after a mistake; `error` then holds one line about it. */
int arguments_read(int argc, char** argv, struct arguments* arguments, char* error,
                   size_t error_bytes);

extern const char kUsage[];

#endif /* CHAT_ARGUMENTS_H_ */
