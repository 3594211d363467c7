// The commands of the program. Each Add...() describes one to CLI11 and stores what to run in
// `*run`, which returns the exit status.
#ifndef SLUICE_EXAMPLES_SLUICE_COMMANDS_H_
#define SLUICE_EXAMPLES_SLUICE_COMMANDS_H_

#include <functional>

#include <CLI/CLI.hpp>

#include "absl/status/status.h"

namespace sluice::cli {

using Runner = std::function<absl::Status()>;

void AddConvert(CLI::App* app, Runner* run);
void AddTrain(CLI::App* app, Runner* run);
void AddInspect(CLI::App* app, Runner* run);
void AddVerify(CLI::App* app, Runner* run);
void AddPlan(CLI::App* app, Runner* run);
void AddGenerate(CLI::App* app, Runner* run);
void AddLogits(CLI::App* app, Runner* run);
void AddTokenize(CLI::App* app, Runner* run);
void AddDetokenize(CLI::App* app, Runner* run);
void AddEval(CLI::App* app, Runner* run);
void AddBench(CLI::App* app, Runner* run);
void AddDevice(CLI::App* app, Runner* run);

}  // namespace sluice::cli

#endif  // SLUICE_EXAMPLES_SLUICE_COMMANDS_H_
