#include "bench/e2e/model_files.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bench/e2e/run_row.h"
#include "lib/base/status_macros.h"

namespace sluice::bench {
namespace {

struct KnownShape {
  const char* name;
  double parameters;  // the larger dimensions' products: all but a thousandth
};
constexpr KnownShape kShapes[] = {
    {"opt-125m", 0.125e9}, {"opt-1.3b", 1.32e9}, {"opt-6.7b", 6.66e9}, {"falcon-7b", 6.92e9}};
// Predictors, alignment and tables on top of the weights.
constexpr double kFileOverWeights = 1.10;

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

absl::Status RunLoudly(const std::vector<std::string>& argv) {
  ChildOptions options;
  options.show_errors = true;
  SLUICE_ASSIGN_OR_RETURN(const ChildResult child, RunChild(argv, options));
  if (child.ok()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(argv[0], ": ", child.What()));
}

std::string Base(const ModelSource& source) {
  return absl::StrCat(source.folder, "/", source.shape);
}

// The writers' temporary files lie beside the final one, under names of their own.
void RemoveUnfinished(const std::string& path) {
  const std::filesystem::path final_path(path);
  const std::string prefix = absl::StrCat(".", final_path.filename().string(), ".sluice-tmp-");
  std::error_code error;
  unlink((path + ".tmp").c_str());
  for (const auto& entry : std::filesystem::directory_iterator(final_path.parent_path(), error)) {
    if (absl::StartsWith(entry.path().filename().string(), prefix)) unlink(entry.path().c_str());
  }
}

uint64_t FileBytes(uint64_t weights) {
  return static_cast<uint64_t>(static_cast<double>(weights) * kFileOverWeights);
}

}  // namespace

TemporaryFiles::~TemporaryFiles() {
  for (const std::string& path : paths_) {
    if (!keep_) unlink(path.c_str());
    RemoveUnfinished(path);
  }
}

absl::StatusOr<uint64_t> ShapeBytes(const std::string& shape) {
  for (const KnownShape& known : kShapes) {
    if (shape == known.name) return static_cast<uint64_t>(2 * known.parameters);
  }
  return absl::InvalidArgumentError(absl::StrCat("no shape '", shape, "'"));
}

absl::Status CheckDisk(const std::string& folder, uint64_t bytes) {
  struct statvfs disk;
  if (statvfs(folder.c_str(), &disk) != 0) return absl::ErrnoToStatus(errno, folder);
  const uint64_t free = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (free >= bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(folder, ": ", bytes, " bytes are needed, ", free, " are free"));
}

absl::Status CheckRoom(const ModelSource& source, bool with_gguf) {
  SLUICE_ASSIGN_OR_RETURN(const uint64_t weights, ShapeBytes(source.shape));
  const std::string base = Base(source);
  uint64_t files = 0;
  if (!Exists(base + ".flash") || !Exists(base + "-placed.flash")) files += 2;
  if (with_gguf && !Exists(base + ".gguf")) files += 1;
  return CheckDisk(source.folder, files * FileBytes(weights));
}

absl::StatusOr<ModelPair> FindOrMakeModels(const ModelSource& source, TemporaryFiles* made) {
  const std::string base = Base(source);
  const ModelPair pair = {base + ".flash", base + "-placed.flash"};
  if (Exists(pair.plain) && Exists(pair.placed)) return pair;
  // One may be there, perhaps of another seed; it is replaced, so it is not ours to remove.
  for (const std::string& path : {pair.plain, pair.placed}) {
    if (!Exists(path)) made->Add(path);
  }
  SLUICE_RETURN_IF_ERROR(RunLoudly({source.synth, pair.plain, "--shape", source.shape, "--placed",
                                    pair.placed, "--seed", absl::StrCat(source.seed), "--json"}));
  return pair;
}

absl::StatusOr<nlohmann::json> CheckStatistics(const std::string& synth,
                                               const std::string& model) {
  // Exit status 1 with the figures: measured, and not as they should be.
  SLUICE_ASSIGN_OR_RETURN(const ChildResult child,
                          RunChild({synth, "--check", model, "--json"}, {}));
  nlohmann::json statistics = nlohmann::json::parse(child.output, nullptr, false);
  if (!statistics.is_object()) return absl::InternalError(absl::StrCat(synth, ": ", child.What()));
  return statistics;
}

absl::StatusOr<std::string> FindOrMakeGguf(const ModelSource& source, const std::string& script,
                                           TemporaryFiles* made) {
  const std::string path = Base(source) + ".gguf";
  if (Exists(path)) return path;
  made->Add(path);
  SLUICE_RETURN_IF_ERROR(RunLoudly({"python3", script, path, "--shape", source.shape}));
  return path;
}

absl::StatusOr<uint64_t> WeightBytes(const std::string& program, const std::string& model) {
  SLUICE_ASSIGN_OR_RETURN(const nlohmann::json info,
                          RunForJson({program, "inspect", model, "--json"}));
  uint64_t bytes = 0;
  for (const nlohmann::json& section : info.value("sections", nlohmann::json::array())) {
    if (!section.is_object()) continue;
    const std::string name = section.value("name", "");
    if (name == "resident" || name == "records") bytes += section.value("bytes", uint64_t{0});
  }
  if (bytes > 0) return bytes;
  return absl::InternalError(absl::StrCat(program, " inspect tells no sizes for ", model));
}

}  // namespace sluice::bench
