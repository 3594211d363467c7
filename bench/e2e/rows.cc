#include "bench/e2e/rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace sluice::bench {
namespace {

// Every technique but the predictor, as flags that turn it off, in the order they are added.
const char* const kTechniques[] = {"--no-window", "--no-bundle", "--no-join", "--no-overlap",
                                   "--no-lookahead"};

// The flags of a row that has the predictor and the first `count` techniques.
std::vector<std::string> Without(size_t count) {
  return {std::begin(kTechniques) + count, std::end(kTechniques)};
}

}  // namespace

std::vector<RowSpec> SluiceRows() {
  const auto row = [](std::string name, std::string what, std::vector<std::string> flags) {
    RowSpec spec;
    spec.name = std::move(name);
    spec.what = std::move(what);
    spec.flags = std::move(flags);
    return spec;
  };
  std::vector<RowSpec> rows = {
      row("naive", "everything read for each token", {"--baseline", "naive"}),
      row("hybrid", "half resident, the rest read", {"--baseline", "hybrid"}),
      row("predictor", "predicted neurons read for each token", Without(0)),
      row("window", "+ neuron window", Without(1)),
      row("bundling", "+ up row and down column in one record", Without(2)),
      row("placement", "+ neurons placed by co-activation, reads joined", Without(3)),
      row("overlap", "+ compute while reads fly", Without(4)),
      row("lookahead", "+ next layer read ahead: all techniques, f16", Without(5)),
      row("q8", "all, resident weights q8", {"--resident-type", "q8"}),
      row("lookahead-0.50", "all techniques, f16, 0.50 of the model", {}),
      row("q8-0.50", "all, resident weights q8, 0.50 of the model", {"--resident-type", "q8"}),
      row("resident-dense", "no limit: everything in memory, every neuron", {"--mode", "dense"}),
      row("resident-sparse", "no limit: room for every neuron, predicted ones computed", {})};
  for (RowSpec& spec : rows) {
    const bool baseline = !spec.flags.empty() && spec.flags[0] == "--baseline";
    spec.reads_everything = baseline;
    spec.placed = !baseline && spec.name != "predictor" && spec.name != "window" &&
                  spec.name != "bundling";
    if (spec.name.find("-0.50") != std::string::npos) spec.limit = MemoryLimit::kTighter;
    if (spec.name.find("resident-") == 0) spec.limit = MemoryLimit::kNone;
  }
  return rows;
}

std::vector<RowSpec> PeerRows() {
  RowSpec resident, mmap;
  resident.name = "llama.cpp-resident";
  resident.what = "no limit: f16 GGUF in memory";
  resident.program = RowProgram::kLlamaResident;
  resident.limit = MemoryLimit::kNone;
  mmap.name = "llama.cpp-mmap";
  mmap.what = "f16 GGUF mapped, pages as they are touched";
  mmap.program = RowProgram::kLlamaMmap;
  mmap.reads_everything = true;
  return {resident, mmap};
}

absl::StatusOr<std::vector<RowSpec>> SelectRows(const std::vector<RowSpec>& all,
                                                const std::vector<std::string>& names) {
  if (names.empty()) return all;
  std::vector<RowSpec> chosen;
  std::vector<std::string> known;
  for (const RowSpec& row : all) {
    known.push_back(row.name);
    if (std::find(names.begin(), names.end(), row.name) != names.end()) chosen.push_back(row);
  }
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("no row '", name, "'; there are ", absl::StrJoin(known, ", ")));
    }
  }
  return chosen;
}

uint64_t MemorySizes::Limit(MemoryLimit limit) const {
  if (limit == MemoryLimit::kNone) return 0;
  if (limit == MemoryLimit::kUsual) return usual_bytes;
  return static_cast<uint64_t>(static_cast<double>(usual_bytes) / kUsualShare * kTighterShare);
}

uint64_t MemorySizes::Budget(MemoryLimit limit) const {
  const uint64_t bytes = Limit(limit);
  return bytes > margin_bytes ? bytes - margin_bytes : 0;
}

}  // namespace sluice::bench
