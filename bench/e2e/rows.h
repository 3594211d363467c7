// The rows of the ablation: which program runs, with which flags, under which limit.
#ifndef SLUICE_BENCH_E2E_ROWS_H_
#define SLUICE_BENCH_E2E_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice::bench {

// What a row's program may take.
enum class MemoryLimit {
  kUsual,    // 0.53 of the model
  kTighter,  // 0.50
  kNone      // outside the control group: the row says what a machine with more memory would do
};

enum class RowProgram { kSluice, kLlamaResident, kLlamaMmap };

struct RowSpec {
  std::string name;
  std::string what;  // for the reader of the table
  RowProgram program = RowProgram::kSluice;
  MemoryLimit limit = MemoryLimit::kUsual;
  bool placed = false;            // on the file whose neurons lie by co-activation
  bool reads_everything = false;  // each token takes seconds: fewer of them
  std::vector<std::string> flags = {};  // of `sluice bench`
};

// Each technique is added to those before it, in the order of the paper's table; then the rows
// that change the weights or the memory.
std::vector<RowSpec> SluiceRows();
// llama.cpp on a file with the same tensor sizes.
std::vector<RowSpec> PeerRows();

// Those of `all` that `names` names, in the order of `all`; all where there are no names.
// kInvalidArgument: no such row.
absl::StatusOr<std::vector<RowSpec>> SelectRows(const std::vector<RowSpec>& all,
                                                const std::vector<std::string>& names);

struct MemorySizes {
  static constexpr double kUsualShare = 0.53;
  static constexpr double kTighterShare = 0.50;

  uint64_t usual_bytes = 0;   // limit of the usual rows
  uint64_t margin_bytes = 0;  // what the limit leaves to the program itself and the kernel

  // 0: no limit.
  uint64_t Limit(MemoryLimit limit) const;
  // Sluice's own budget under it. 0: as much as there is.
  uint64_t Budget(MemoryLimit limit) const;
};

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_E2E_ROWS_H_
