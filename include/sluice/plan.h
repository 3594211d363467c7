// What a model would take, before it is opened.
#ifndef SLUICE_PLAN_H_
#define SLUICE_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sluice/options.h"
#include "sluice/source.h"

namespace sluice {

// All sizes in bytes.
struct MemoryPlan {
  uint64_t floor_bytes = 0;        // the least budget that these options can be opened with
  uint64_t recommended_bytes = 0;  // holds what a window of 5 tokens needs (dense: everything)
  uint64_t budget_bytes = 0;       // the one planned for
  bool fits = false;               // budget_bytes >= floor_bytes

  // What the budget buys (the floor's shares when it does not fit). They add up to at most the
  // budget.
  uint64_t resident = 0;   // attention weights, embeddings, norms, biases, tables, tokenizer
  uint64_t predictor = 0;  // 0 in dense mode
  uint64_t kv = 0;         // KV caches of all sessions
  uint64_t slots = 0;      // neuron slots of all layers
  uint64_t scratch = 0;    // activations, logits, bookkeeping
  uint64_t io = 0;         // rings and their buffers

  std::vector<uint32_t> slots_per_layer;    // in records
  std::vector<uint32_t> records_per_layer;  // as many slots as this hold the whole layer
  uint64_t record_bytes = 0;                // of the first layer
  uint32_t context_tokens = 0;              // 0 with ffn_only, and so is kv
  uint32_t max_sessions = 0;
  std::string kv_element_type;  // "f32" or "f16"
  Mode mode = Mode::kDense;     // what kAuto comes to
};

// Reads the file's header and manifest, no weights. An error for a broken file or options that
// make no sense; a budget below the floor is not one (fits is false).
absl::StatusOr<MemoryPlan> PlanMemory(const std::string& path, const ModelOptions& options);
// The same from wherever the bytes are.
absl::StatusOr<MemoryPlan> PlanMemory(const ModelSource& source, const ModelOptions& options);

}  // namespace sluice

#endif  // SLUICE_PLAN_H_
