#include "bench/e2e/run_row.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace sluice::bench {
namespace {

nlohmann::json ParseJson(const std::string& text) {
  // No exceptions: a discarded value where it is not JSON.
  return nlohmann::json::parse(text, nullptr, false);
}

// The figures that every row is told by.
bool HasTimes(const nlohmann::json& stats) {
  if (!stats.is_object()) return false;
  const nlohmann::json times = stats.value("ms_per_token", nlohmann::json::object());
  if (!times.is_object()) return false;
  // llama.cpp has no parts: its quantiles lie one level higher.
  const nlohmann::json total = times.contains("total") ? times["total"] : times;
  return total.is_object() && total.contains("median") && total["median"].is_number();
}

std::string WhyNotRun(const RowContext& context, const RowSpec& spec, uint64_t budget) {
  if (spec.placed && context.placed_model.empty()) return "there is no placed model file";
  if (spec.program != RowProgram::kSluice && context.gguf.empty()) return "there is no GGUF file";
  if (spec.limit != MemoryLimit::kNone && budget == 0) return "the limit is below its own margin";
  return "";
}

void Judge(const ChildResult& child, RowResult* result) {
  result->peak_rss_bytes = child.peak_rss_bytes;
  if (!child.ok()) {
    result->error = result->cgroup.oom_kills > 0
                        ? absl::StrCat("killed: out of memory at ", result->limit_bytes, " bytes")
                        : child.What();
    return;
  }
  result->stats = ParseJson(child.output);
  if (!HasTimes(result->stats)) {
    result->stats = nullptr;
    result->error = "the program did not print its figures";
    return;
  }
  const nlohmann::json peak = result->stats.value("peak_rss_bytes", nlohmann::json());
  if (peak.is_number()) result->peak_rss_bytes = peak.get<uint64_t>();
}

}  // namespace

std::vector<std::string> RowCommand(const RowContext& context, const RowSpec& spec) {
  const std::string tokens =
      absl::StrCat(spec.reads_everything ? context.few_tokens : context.tokens);
  const std::string prompt = absl::StrCat(context.prompt_tokens);
  const std::string threads = absl::StrCat(context.threads), seed = absl::StrCat(context.seed);
  if (spec.program != RowProgram::kSluice) {
    const char* mode = spec.program == RowProgram::kLlamaMmap ? "mmap" : "resident";
    return {"node", context.peers_dir + "/llama_cpp.mjs", context.gguf, "--package",
            context.node_package, "--mode", mode, "--threads", threads, "--tokens", tokens,
            "--prompt-tokens", prompt, "--seed", seed};
  }
  std::vector<std::string> argv = {
      context.program, "bench", spec.placed ? context.placed_model : context.plain_model,
      "--json", "--tokens", tokens, "--prompt-tokens", prompt, "--context",
      absl::StrCat(context.context), "--threads", threads, "--seed", seed, "--token-source",
      "random"};
  const uint64_t budget = context.memory.Budget(spec.limit);
  if (budget > 0) argv.insert(argv.end(), {"--dram-budget", absl::StrCat(budget)});
  if (!context.curve.empty()) argv.insert(argv.end(), {"--device-curve", context.curve});
  argv.insert(argv.end(), spec.flags.begin(), spec.flags.end());
  return argv;
}

absl::StatusOr<RowResult> RunRow(const RowContext& context, const RowSpec& spec) {
  RowResult result;
  result.spec = spec;
  result.command = RowCommand(context, spec);
  result.limit_bytes = context.memory.Limit(spec.limit);
  if (spec.program == RowProgram::kSluice) result.budget_bytes = context.memory.Budget(spec.limit);
  result.error = WhyNotRun(context, spec, context.memory.Budget(spec.limit));
  if (!result.ok()) return result;
  // A page is charged to the group that first touched it: one left in the cache by whoever wrote
  // the file would be free of charge, and its read free of time.
  result.page_cache = DropPageCache({context.plain_model, context.placed_model, context.gguf});
  ChildOptions options;
  std::unique_ptr<MemoryCgroup> group;
  if (spec.limit != MemoryLimit::kNone) {
    SLUICE_ASSIGN_OR_RETURN(group, MemoryCgroup::Create(result.limit_bytes));
    options.cgroup_procs_path = group->procs_path();
    result.cgroup_version = group->version();
  }
  SLUICE_ASSIGN_OR_RETURN(const ChildResult child, RunChild(result.command, options));
  if (group != nullptr) result.cgroup = group->usage();
  Judge(child, &result);
  return result;
}

absl::StatusOr<nlohmann::json> RunForJson(const std::vector<std::string>& argv) {
  SLUICE_ASSIGN_OR_RETURN(const ChildResult child, RunChild(argv, {}));
  if (!child.ok()) return absl::InternalError(absl::StrCat(argv[0], ": ", child.What()));
  nlohmann::json value = ParseJson(child.output);
  if (!value.is_object()) {
    return absl::InternalError(absl::StrCat(argv[0], " did not print a JSON object"));
  }
  return value;
}

}  // namespace sluice::bench
