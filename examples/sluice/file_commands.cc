// inspect, verify, plan
#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "arguments.h"
#include "commands.h"
#include "output.h"
#include "sluice/inspect.h"
#include "sluice/plan.h"

namespace sluice::cli {
namespace {

struct FileArguments {
  std::string model;
  ModelOptions options;
  bool json = false;
};

absl::Status RunInspect(const FileArguments& arguments) {
  absl::StatusOr<std::string> text = InspectJson(arguments.model);
  if (!text.ok()) return text.status();
  const nlohmann::json value = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (arguments.json) {
    PrintJson(value);
    return absl::OkStatus();
  }
  for (const char* name : {"path", "version", "bytes", "parts", "uuid", "config", "sources",
                           "placement", "predictors", "quality", "skipped_tensors"}) {
    if (value.contains(name) && !value[name].is_null()) {
      std::printf("%s: %s\n", name, value[name].dump(2).c_str());
    }
  }
  for (const auto& section : value.value("sections", nlohmann::json::array())) {
    std::printf("section %-12s %14s at %s\n", section["name"].get<std::string>().c_str(),
                Size(section["bytes"].get<double>()).c_str(), section["offset"].dump().c_str());
  }
  return absl::OkStatus();
}

absl::Status RunVerify(const FileArguments& arguments) {
  absl::StatusOr<VerifyResult> result;
  {
    ProgressBar bar(true);
    result = VerifyFile(arguments.model, [&](uint64_t done, uint64_t total) {
      bar.Update("verify", static_cast<double>(done) / static_cast<double>(total));
      return true;
    });
  }
  if (!result.ok()) return result.status();
  if (arguments.json) {
    PrintJson({{"records", result->records}, {"bad", result->bad}});
  } else {
    std::printf("%llu records checked\n", static_cast<unsigned long long>(result->records));
    for (const std::string& line : result->bad) std::printf("bad: %s\n", line.c_str());
  }
  if (result->bad.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(arguments.model, ": ", result->bad.size(),
                                          " damaged places, the first: ", result->bad[0]));
}

absl::Status RunPlan(const FileArguments& arguments) {
  const absl::StatusOr<MemoryPlan> plan = PlanMemory(arguments.model, arguments.options);
  if (!plan.ok()) return plan.status();
  if (arguments.json) {
    PrintJson({{"floor_bytes", plan->floor_bytes},
               {"recommended_bytes", plan->recommended_bytes},
               {"budget_bytes", plan->budget_bytes},
               {"fits", plan->fits},
               {"plan",
                {{"resident", plan->resident},
                 {"predictor", plan->predictor},
                 {"kv", plan->kv},
                 {"slots", plan->slots},
                 {"scratch", plan->scratch},
                 {"io", plan->io}}},
               {"slots_per_layer", plan->slots_per_layer},
               {"records_per_layer", plan->records_per_layer},
               {"record_bytes", plan->record_bytes},
               {"context_tokens", plan->context_tokens},
               {"max_sessions", plan->max_sessions},
               {"kv_element_type", plan->kv_element_type},
               {"mode", plan->mode == Mode::kSparse ? "sparse" : "dense"}});
    return absl::OkStatus();
  }
  const auto line = [](const char* name, uint64_t bytes) {
    std::printf("%-12s %s\n", name, Size(static_cast<double>(bytes)).c_str());
  };
  line("floor", plan->floor_bytes);
  line("recommended", plan->recommended_bytes);
  line("budget", plan->budget_bytes);
  std::printf("%s\n", plan->fits ? "fits; it buys:" : "does not fit; the floor is made of:");
  line("  resident", plan->resident);
  line("  predictor", plan->predictor);
  line("  kv", plan->kv);
  line("  slots", plan->slots);
  line("  scratch", plan->scratch);
  line("  io", plan->io);
  return absl::OkStatus();
}

}  // namespace

void AddInspect(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<FileArguments>();
  CLI::App* command = app->add_subcommand("inspect", "what is inside a bundle file");
  AddModelPath(command, &arguments->model);
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunInspect(*arguments); }; });
}

void AddVerify(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<FileArguments>();
  CLI::App* command = app->add_subcommand("verify", "check every checksum of a bundle file");
  AddModelPath(command, &arguments->model);
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunVerify(*arguments); }; });
}

void AddPlan(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<FileArguments>();
  CLI::App* command = app->add_subcommand("plan", "what a model takes in DRAM");
  AddModelOptions(command, &arguments->model, &arguments->options);
  command->add_option("--sessions", arguments->options.max_sessions, "sessions at one time");
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunPlan(*arguments); }; });
}

}  // namespace sluice::cli
