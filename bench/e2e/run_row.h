// One row of the ablation: a program of its own under a limit of its own.
#ifndef SLUICE_BENCH_E2E_RUN_ROW_H_
#define SLUICE_BENCH_E2E_RUN_ROW_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/e2e/rows.h"
#include "bench/support/child_process.h"
#include "bench/support/memory_cgroup.h"

namespace sluice::bench {

// The same for all rows.
struct RowContext {
  std::string program;       // sluice
  std::string plain_model;   // neurons in shuffled order
  std::string placed_model;  // empty: rows that want it fail
  std::string curve;         // for --device-curve; empty: none was measured
  std::string gguf, node_package, peers_dir;
  uint32_t tokens = 64;
  uint32_t few_tokens = 8;   // of the rows that read everything
  uint32_t prompt_tokens = 32;
  uint32_t context = 128;
  uint32_t threads = 1;
  uint64_t seed = 1;
  MemorySizes memory;
};

struct RowResult {
  RowSpec spec;
  std::vector<std::string> command;
  std::string error;      // empty: the row ran
  nlohmann::json stats;   // as the program printed them
  uint64_t limit_bytes = 0, budget_bytes = 0;
  int cgroup_version = 0;  // 0: no limit
  MemoryCgroup::Usage cgroup;
  uint64_t peak_rss_bytes = 0;
  std::string page_cache;

  bool ok() const { return error.empty(); }
};

std::vector<std::string> RowCommand(const RowContext& context, const RowSpec& spec);

// A program that fails, is killed for its memory, or prints something else than its figures, is a
// result with an error. kCancelled: interrupted.
absl::StatusOr<RowResult> RunRow(const RowContext& context, const RowSpec& spec);

// Runs a program that prints one JSON object. kInternal: it failed, with the words it left.
absl::StatusOr<nlohmann::json> RunForJson(const std::vector<std::string>& argv);

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_E2E_RUN_ROW_H_
