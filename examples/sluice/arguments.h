// Command-line arguments that several commands share.
#ifndef SLUICE_EXAMPLES_SLUICE_ARGUMENTS_H_
#define SLUICE_EXAMPLES_SLUICE_ARGUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "absl/status/statusor.h"
#include "sluice/options.h"

namespace sluice::cli {

// A size in bytes: digits, with K, M or G behind them (1024-based). Throws CLI::ValidationError.
uint64_t ParseSize(const std::string& text);

// "2,5,9"; throws CLI::ValidationError.
std::vector<int32_t> ParseTokens(const std::string& text);

// The whole of a text file.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

// Adds `--json`.
void AddJson(CLI::App* command, bool* json);

// Adds MODEL and the options of every command that runs a model.
void AddModelOptions(CLI::App* command, std::string* path, ModelOptions* options);

// Adds `--engine auto|uring|pread`.
void AddEngine(CLI::App* command, Engine* engine);

// Adds MODEL alone.
void AddModelPath(CLI::App* command, std::string* path);

// Adds `--tokens 2,5,9`, required.
void AddTokens(CLI::App* command, std::vector<int32_t>* tokens);

}  // namespace sluice::cli

#endif  // SLUICE_EXAMPLES_SLUICE_ARGUMENTS_H_
