#include "arguments.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"

namespace sluice::cli {
namespace {

// Digits only, at most `limit`; throws with the option's own words.
uint64_t ParseNumber(const std::string& digits, uint64_t limit, const std::string& text) {
  uint64_t value = 0;
  if (digits.empty()) throw CLI::ValidationError("'" + text + "' is not a number");
  for (char c : digits) {
    if (c < '0' || c > '9') throw CLI::ValidationError("'" + text + "' is not a number");
    const uint64_t digit = static_cast<uint64_t>(c - '0');
    if (value > (limit - digit) / 10) throw CLI::ValidationError("'" + text + "' is too large");
    value = value * 10 + digit;
  }
  return value;
}

}  // namespace

uint64_t ParseSize(const std::string& text) {
  std::string digits = text;
  int shift = 0;
  if (!digits.empty()) {
    const char unit = digits.back();
    if (unit == 'K' || unit == 'k') shift = 10;
    if (unit == 'M' || unit == 'm') shift = 20;
    if (unit == 'G' || unit == 'g') shift = 30;
    if (shift != 0) digits.pop_back();
  }
  return ParseNumber(digits, std::numeric_limits<uint64_t>::max() >> shift, text) << shift;
}

std::vector<int32_t> ParseTokens(const std::string& text) {
  std::vector<int32_t> tokens;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    tokens.push_back(static_cast<int32_t>(
        ParseNumber(text.substr(at, comma - at), std::numeric_limits<int32_t>::max(), text)));
    at = comma + 1;
  }
  return tokens;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  // Opening a folder succeeds; reading it does not.
  if (!in.is_open() || in.bad() || std::filesystem::is_directory(path)) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path));
  }
  return text;
}

void AddJson(CLI::App* command, bool* json) {
  command->add_flag("--json", *json, "print exactly one JSON object");
}

void AddModelPath(CLI::App* command, std::string* path) {
  command->add_option("MODEL", *path, "bundle file (.flash)")->required();
}

void AddEngine(CLI::App* command, Engine* engine) {
  const std::map<std::string, Engine> engines = {
      {"auto", Engine::kAuto}, {"uring", Engine::kUring}, {"pread", Engine::kPread}};
  command->add_option("--engine", *engine, "auto, uring or pread")
      ->transform(CLI::CheckedTransformer(engines));
}

void AddTokens(CLI::App* command, std::vector<int32_t>* tokens) {
  command
      ->add_option_function<std::string>(
          "--tokens", [tokens](const std::string& text) { *tokens = ParseTokens(text); },
          "token ids, as 2,5,9")
      ->required();
}

void AddModelOptions(CLI::App* command, std::string* path, ModelOptions* options) {
  AddModelPath(command, path);
  command->add_option_function<std::string>(
      "--dram-budget",
      [options](const std::string& text) {
        options->dram_budget_bytes = ParseSize(text);
        if (options->dram_budget_bytes == 0) throw CLI::ValidationError("--dram-budget: not 0");
      },
      "DRAM for everything: bytes, or a number with K, M, G; default: what is free");
  command->add_option("--context", options->context_tokens,
                      "tokens that prompt and text may have together");
  command->add_option_function<std::string>(
      "--window",
      [options](const std::string& text) {
        options->window_tokens =
            text == "auto" ? 0
                           : static_cast<uint32_t>(ParseNumber(text, 1u << 30, text));
        if (text != "auto" && options->window_tokens == 0) {
          throw CLI::ValidationError("--window: 'auto', or at least 1");
        }
      },
      "neuron window in tokens, or auto: as many as the slots hold");
  const std::map<std::string, Mode> modes = {{"sparse", Mode::kSparse}, {"dense", Mode::kDense}};
  command->add_option("--mode", options->mode,
                      "sparse (default where the file has predictors) or dense (every neuron)")
      ->transform(CLI::CheckedTransformer(modes));
  const std::map<std::string, ResidentType> resident_types = {{"auto", ResidentType::kAuto},
                                                              {"q8", ResidentType::kQ8}};
  command->add_option("--resident-type", options->resident_type,
                      "attention weights and embeddings: auto (as in the file) or q8 (half of f16)")
      ->transform(CLI::CheckedTransformer(resident_types));
  const std::map<std::string, KvType> kv_types = {{"f32", KvType::kF32}, {"f16", KvType::kF16}};
  command->add_option("--kv-type", options->kv_type, "keys and values: f32 or f16")
      ->transform(CLI::CheckedTransformer(kv_types));
  command->add_option("--threads", options->threads, "compute threads");
  AddEngine(command, &options->engine);
  command->add_option("--queue-depth", options->queue_depth, "reads in flight");
  command->add_option("--device-curve", options->device_curve_path,
                      "what `sluice device --out` wrote: plan reads for that device");
  command->add_option("--prefill-chunk", options->prefill_chunk_tokens,
                      "prompt tokens that go through a layer together");
  command->add_flag("!--no-verify", options->verify_checksums,
                    "do not check the checksums of records");
}

}  // namespace sluice::cli
