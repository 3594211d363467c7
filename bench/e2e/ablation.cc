// What each technique gains on a model that is larger than its memory: one table, one run.
//
//   ablation --shape opt-6.7b --dir /mnt/nvme --json out.json
//   ablation --model FILE --placed-model FILE --memory 700M      a file of one's own
//
// Each row is `sluice bench` as a program of its own, in a memory cgroup of its own.
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "bench/e2e/model_files.h"
#include "bench/e2e/report.h"
#include "bench/e2e/rows.h"
#include "bench/e2e/run_row.h"
#include "bench/support/memory_bandwidth.h"
#include "lib/base/status_macros.h"
#include "lib/io/host.h"
#include "sluice/device.h"

namespace sluice::bench {
namespace {

struct Arguments {
  ModelSource source;
  RowContext context;
  std::string json;
  std::vector<std::string> rows;
  bool keep = false;
};

// The folder that `path` lies in.
std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

void Say(const std::string& text) { std::fprintf(stderr, "ablation: %s\n", text.c_str()); }

// Of the model file; a small one fits the caches of devices, so then of a temporary file beside it.
absl::StatusOr<DeviceReport> MeasureCurve(const std::string& model) {
  DropPageCache({model});
  auto report = MeasureDevice(model, {});
  if (report.ok() || !absl::IsInvalidArgument(report.status())) return report;
  return MeasureDevice(FolderOf(model), {});
}

nlohmann::json CurveJson(const DeviceReport& device) {
  const auto point = [](const DevicePoint& p) {
    return nlohmann::json{{"read_bytes", p.read_bytes}, {"queue_depth", p.queue_depth},
                          {"gb_per_s", p.gb_per_s}, {"us_per_read", p.us_per_read}};
  };
  nlohmann::json curve = nlohmann::json::array();
  for (const DevicePoint& each : device.curve) curve.push_back(point(each));
  return {{"curve", curve}, {"best", point(device.best)}, {"file_bytes", device.file_bytes},
          {"engine", device.engine}};
}

nlohmann::json Machine(const Arguments& arguments) {
  utsname kernel{};
  uname(&kernel);
  std::string cpu, line;
  std::ifstream info("/proc/cpuinfo");
  while (cpu.empty() && std::getline(info, line)) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) != 0 || colon == std::string::npos) continue;
    cpu = line.substr(colon + 2);
  }
  char when[32] = "";
  const std::time_t now = std::time(nullptr);
  std::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return {{"version", SLUICE_VERSION_TEXT}, {"cpu", cpu},
          {"threads", arguments.context.threads}, {"kernel", kernel.release}, {"started", when},
          {"seed", arguments.context.seed}};
}

absl::Status PrepareModels(Arguments* arguments, TemporaryFiles* made, Report* report) {
  RowContext& context = arguments->context;
  if (!context.plain_model.empty()) {
    report->statistics = nullptr;
  } else {
    SLUICE_ASSIGN_OR_RETURN(const ModelPair pair, FindOrMakeModels(arguments->source, made));
    context.plain_model = pair.plain;
    context.placed_model = pair.placed;
    report->shape = arguments->source.shape;
    Say("counting the statistics of " + pair.plain);
    SLUICE_ASSIGN_OR_RETURN(report->statistics,
                            CheckStatistics(arguments->source.synth, pair.plain));
    const nlohmann::json ok = report->statistics.value("statistics_ok", nlohmann::json(false));
    if (ok != true) {
      report->ratios_withheld = "the model's activations are not like those it stands for";
    }
  }
  report->model = context.plain_model;
  SLUICE_ASSIGN_OR_RETURN(report->model_bytes,
                          WeightBytes(context.program, context.plain_model));
  if (context.memory.usual_bytes == 0) {
    context.memory.usual_bytes = static_cast<uint64_t>(static_cast<double>(report->model_bytes) *
                                                       MemorySizes::kUsualShare);
  }
  report->memory_limit_bytes = context.memory.usual_bytes;
  return absl::OkStatus();
}

// What would only be found out later, after files were made or rows measured.
absl::Status CheckHost(const Arguments& arguments, const std::vector<RowSpec>& rows) {
  bool limited = false, peers = false;
  for (const RowSpec& row : rows) {
    limited = limited || row.limit != MemoryLimit::kNone;
    peers = peers || row.program != RowProgram::kSluice;
  }
  if (limited) {
    const auto group = MemoryCgroup::Create(uint64_t{1} << 30);
    if (!group.ok()) {
      return Annotate(group.status(), "rows with a memory limit cannot run (see --rows)");
    }
    Say(absl::StrCat("limits by memory cgroup v", (*group)->version()));
  }
  if (arguments.source.shape.empty()) return absl::OkStatus();
  return CheckRoom(arguments.source, peers);
}

absl::Status RunRows(const Arguments& arguments, const std::vector<RowSpec>& rows,
                     TemporaryFiles* made, Report* report) {
  RowContext context = arguments.context;
  for (const RowSpec& row : rows) {
    if (row.program != RowProgram::kSluice && context.gguf.empty()) {
      Say("making the file for llama.cpp");
      auto gguf = FindOrMakeGguf(arguments.source, context.peers_dir + "/make_gguf.py", made);
      if (absl::IsCancelled(gguf.status())) return gguf.status();
      if (gguf.ok()) {
        context.gguf = *gguf;
      } else {
        Say(std::string(gguf.status().message()));
      }
    }
    Say("row " + row.name);
    SLUICE_ASSIGN_OR_RETURN(RowResult result, RunRow(context, row));
    if (!result.ok()) Say(row.name + ": " + result.error);
    report->rows.push_back(std::move(result));
  }
  return absl::OkStatus();
}

absl::Status Measure(Arguments* arguments, const std::vector<RowSpec>& rows, Report* report) {
  TemporaryFiles made, curve_file;
  if (arguments->keep) made.Keep();
  SLUICE_RETURN_IF_ERROR(CheckHost(*arguments, rows));
  SLUICE_RETURN_IF_ERROR(PrepareModels(arguments, &made, report));
  RowContext& context = arguments->context;
  report->machine = Machine(*arguments);
  Say("measuring the device and the memory");
  SLUICE_ASSIGN_OR_RETURN(const DeviceReport start, MeasureCurve(context.plain_model));
  context.curve = absl::StrCat(FolderOf(context.plain_model), "/.ablation-curve-", getpid());
  curve_file.Add(context.curve);
  SLUICE_RETURN_IF_ERROR(SaveDeviceCurve(start.curve, context.curve));
  report->rates.memory_gb_per_s = MeasureMemoryReadGbPerS(static_cast<int>(context.threads));

  SLUICE_RETURN_IF_ERROR(RunRows(*arguments, rows, &made, report));

  Say("measuring the device again");
  SLUICE_ASSIGN_OR_RETURN(const DeviceReport end, MeasureCurve(context.plain_model));
  report->device_curve = {{"start", CurveJson(start)}, {"end", CurveJson(end)}};
  const double curve = std::max(start.best.gb_per_s, end.best.gb_per_s);
  report->rates.device_gb_per_s = BestDeviceRate(curve, report->rows);
  if (report->rates.device_gb_per_s > curve) Say("a row read faster than the device curve's best");
  return absl::OkStatus();
}

absl::Status SaveReport(const Report& report, const std::string& path) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << ReportJson(report).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  out.close();
  return out.good() ? absl::OkStatus() : absl::UnavailableError("cannot write " + path);
}

absl::Status Run(Arguments* arguments) {
  std::vector<RowSpec> all = SluiceRows();
  if (!arguments->context.node_package.empty()) {
    for (RowSpec& peer : PeerRows()) all.push_back(std::move(peer));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::vector<RowSpec> rows, SelectRows(all, arguments->rows));
  InterruptScope interrupts;
  Report report;
  SLUICE_RETURN_IF_ERROR(Measure(arguments, rows, &report));
  std::printf("%s", ReportMarkdown(report).c_str());
  return arguments->json.empty() ? absl::OkStatus() : SaveReport(report, arguments->json);
}

void AddOptions(CLI::App* app, Arguments* a) {
  RowContext& c = a->context;
  a->source.folder = ".";
  a->source.synth = SLUICE_SYNTH;
  c.program = SLUICE_PROGRAM;
  c.peers_dir = SLUICE_PEERS_DIR;
  c.threads = static_cast<uint32_t>(DefaultThreadCount());
  c.memory.margin_bytes = uint64_t{96} << 20;
  app->add_option("--shape", a->source.shape, "sizes of the synthetic model")
      ->check(CLI::IsMember({"opt-125m", "opt-1.3b", "opt-6.7b", "falcon-7b"}));
  app->add_option("--dir", a->source.folder, "where its files lie or are made; default: here")
      ->check(CLI::ExistingDirectory);
  app->add_option("--model", c.plain_model, "a bundle file instead")->check(CLI::ExistingFile);
  app->add_option("--placed-model", c.placed_model, "the same with neurons placed")
      ->check(CLI::ExistingFile);
  app->add_option("--tokens", c.tokens, "measured, after a prompt of 32; default 64")
      ->check(CLI::Range(1, 1024));
  app->add_option("--few-tokens", c.few_tokens, "of rows that read everything; default 8")
      ->check(CLI::Range(1, 1024));
  app->add_option("--memory", c.memory.usual_bytes, "limit; default 0.53 of the weights")
      ->transform(CLI::AsSizeValue(false));
  app->add_option("--margin", c.memory.margin_bytes, "limit less budget; default 96M")
      ->transform(CLI::AsSizeValue(false));
  app->add_option("--rows", a->rows, "only these")->delimiter(',');
  app->add_option("--threads", c.threads, "compute threads")->check(CLI::Range(1, 256));
  app->add_option("--seed", c.seed, "of the token ids and the model");
  app->add_option("--json", a->json, "write everything to this file too");
  app->add_option("--peers", c.node_package, "folder where `npm install node-llama-cpp` was run")
      ->check(CLI::ExistingDirectory);
  app->add_option("--program", c.program, "the sluice program; default: this build's");
  app->add_option("--synth", a->source.synth, "the program that makes models; likewise");
  app->add_flag("--keep", a->keep, "keep the files that were made");
}

int Main(int argc, char** argv) {
  CLI::App app{"What each technique gains on a model larger than its memory"};
  Arguments arguments;
  AddOptions(&app, &arguments);
  try {
    app.parse(argc, argv);
    if (arguments.source.shape.empty() == arguments.context.plain_model.empty()) {
      throw CLI::ValidationError("either --shape or --model");
    }
    if (!arguments.context.node_package.empty() && arguments.source.shape.empty()) {
      throw CLI::ValidationError("--peers needs --shape");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  arguments.source.seed = arguments.context.seed;
  // Room for prompt and tokens in every row alike.
  arguments.context.context = std::max(
      uint32_t{128}, arguments.context.prompt_tokens +
                         std::max(arguments.context.tokens, arguments.context.few_tokens) + 1);
  absl::Status status;
  try {
    status = Run(&arguments);
  } catch (const std::exception& error) {  // of the standard library or the JSON: no memory
    status = absl::InternalError(error.what());
  }
  if (!status.ok()) std::fprintf(stderr, "ablation: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::Main(argc, argv); }
