// eval, bench
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <random>

#include "arguments.h"
#include "commands.h"
#include "output.h"
#include "sluice/evaluate.h"
#include "sluice/flash_model.h"

namespace sluice::cli {
namespace {

// The device and the memory that roofline_ms assumes: a mid-range NVMe drive read in large
// pieces, and one DRAM channel's worth for each thread up to two.
constexpr double kGenericDeviceBytesPerMs = 2.0e6;
constexpr double kGenericMemoryBytesPerMs = 12.0e6;

struct EvalArguments {
  std::string model, text;
  ModelOptions model_options;
  EvaluateOptions options;
  bool json = false;
};

enum class Baseline { kNone, kNaive, kHybrid };

struct BenchArguments {
  std::string model;
  ModelOptions options;
  Baseline baseline = Baseline::kNone;
  bool no_predictor = false;
  bool random_tokens = false;
  uint32_t prompt_tokens = 32, tokens = 64;
  uint64_t seed = 1;
  bool json = false;
};

absl::Status RunEval(const EvalArguments& arguments) {
  const absl::StatusOr<std::string> text = ReadTextFile(arguments.text);
  if (!text.ok()) return text.status();
  auto model = FlashModel::Open(arguments.model, arguments.model_options);
  if (!model.ok()) return model.status();
  absl::StatusOr<EvaluateReport> report;
  {
    ProgressBar bar(true);
    EvaluateOptions options = arguments.options;
    options.on_progress = [&](uint64_t done, uint64_t total) {
      bar.Update("eval", static_cast<double>(done) / static_cast<double>(total));
      return true;
    };
    report = Evaluate(**model, *text, options);
  }
  if (!report.ok()) return report.status();
  nlohmann::json curve = nlohmann::json::array();
  for (const WindowPoint& point : report->window_curve) {
    curve.push_back({{"window_tokens", point.window_tokens},
                     {"union_fraction", point.union_fraction},
                     {"new_fraction", point.new_fraction}});
  }
  const char* mode = (*model)->plan().mode == Mode::kSparse ? "sparse" : "dense";
  if (arguments.json) {
    PrintJson({{"mode", mode},
               {"perplexity", report->perplexity},
               {"tokens", report->tokens},
               {"recall", report->recall},
               {"precision", report->precision},
               {"active_fraction", report->active_fraction},
               {"predicted_fraction", report->predicted_fraction},
               {"window_curve", curve}});
    return absl::OkStatus();
  }
  std::printf("%s: perplexity %.3f over %llu tokens\n", mode, report->perplexity,
              static_cast<unsigned long long>(report->tokens));
  std::printf("active %.2f %%, predicted %.2f %%, recall %.4f, precision %.4f\n",
              100 * report->active_fraction, 100 * report->predicted_fraction, report->recall,
              report->precision);
  for (const WindowPoint& point : report->window_curve) {
    std::printf("window of %2u tokens: %.2f %% of the neurons, %.2f %% new with the next\n",
                point.window_tokens, 100 * point.union_fraction, 100 * point.new_fraction);
  }
  return absl::OkStatus();
}

// {"median", "p95", "std"} in milliseconds of one part of each sample.
template <typename Part>
nlohmann::json Quantiles(const std::vector<TokenSample>& samples, Part part) {
  std::vector<double> ms;
  for (const TokenSample& sample : samples) ms.push_back(static_cast<double>(part(sample)) / 1e6);
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double q) {
    return ms[std::min(ms.size() - 1, static_cast<size_t>(q * static_cast<double>(ms.size())))];
  };
  const double n = static_cast<double>(ms.size());
  double sum = 0, squares = 0;
  for (double v : ms) sum += v;
  for (double v : ms) squares += (v - sum / n) * (v - sum / n);
  return {{"median", at(0.5)}, {"p95", at(0.95)}, {"std", std::sqrt(squares / n)}};
}

// What has to pass through DRAM for a token: the resident weights once, the up rows of the neurons
// computed, and the down columns of those that came out active. (Other bytes of the resident part,
// position embeddings and tokenizer, are few.)
double DramBytes(const FlashModel& model, const Stats& stats) {
  const MemoryPlan& plan = model.plan();
  double ffn_bytes = 0;
  for (uint32_t records : plan.records_per_layer) {
    ffn_bytes += static_cast<double>(records) * static_cast<double>(plan.record_bytes);
  }
  return static_cast<double>(plan.resident + plan.predictor) +
         (stats.predicted_fraction + stats.active_fraction) / 2 * ffn_bytes;
}

// The least time for a token on the generic device and memory: what had to be read, once, or what
// had to pass through DRAM, whichever takes longer. Who reads more is not nearer to it.
double RooflineMs(const FlashModel& model, const Stats& stats) {
  return std::max(stats.needed_bytes_per_token / kGenericDeviceBytesPerMs,
                  DramBytes(model, stats) / kGenericMemoryBytesPerMs);
}

// Random tokens in place of sampled ones: a model with random weights says what it heard last, and
// a token that is repeated reads nothing.
absl::Status FeedRandomTokens(const FlashModel& model, const BenchArguments& arguments,
                              Session* session) {
  std::mt19937_64 random(arguments.seed);
  const auto next = [&] { return static_cast<int32_t>(random() % model.info().vocab_size); };
  std::vector<int32_t> prompt(arguments.prompt_tokens);
  for (int32_t& token : prompt) token = next();
  std::vector<float> logits(model.info().vocab_size);
  absl::Status status = session->Prefill(prompt, absl::MakeSpan(logits), {});
  for (uint32_t i = 0; i < arguments.tokens && status.ok(); ++i) {
    status = session->Decode(next(), absl::MakeSpan(logits));
  }
  return status;
}

// Seeded random tokens, then sampled ones: greedy decoding would fall into a loop.
absl::Status SampleTokens(const FlashModel& model, const BenchArguments& arguments,
                          Session* session) {
  std::mt19937_64 random(arguments.seed);
  std::vector<int32_t> prompt;
  for (uint32_t i = 0; i < arguments.prompt_tokens; ++i) {
    prompt.push_back(static_cast<int32_t>(random() % model.info().vocab_size));
  }
  GenerateOptions options;
  options.max_tokens = arguments.tokens + 1;  // the last one is not fed back
  options.ignore_eos = true;
  options.sampling.temperature = 0.8f;
  options.sampling.top_k = 40;
  options.sampling.seed = arguments.seed;
  return session->GenerateFromTokens(prompt, options).status();
}

// The baselines of "LLM in a flash", table 2, and the steps between them and everything.
ModelOptions OptionsOf(const BenchArguments& arguments) {
  ModelOptions options = arguments.options;
  const bool baseline = arguments.baseline != Baseline::kNone;
  if (baseline || arguments.no_predictor) options.mode = Mode::kDense;
  if (baseline) options.techniques.overlap = false;
  if (arguments.baseline == Baseline::kNaive) {
    options.techniques.window = false;
    options.techniques.keep_resident = false;
  }
  return options;
}

nlohmann::json SwitchesJson(const BenchArguments& arguments, const ModelOptions& options) {
  const char* const baselines[] = {"none", "naive", "hybrid"};
  const Techniques& t = options.techniques;
  return {{"baseline", baselines[static_cast<int>(arguments.baseline)]},
          {"predictor", options.mode != Mode::kDense},
          {"window", t.window},
          {"bundle", t.bundles},
          {"join", t.join},
          {"overlap", t.overlap},
          {"lookahead", t.lookahead}};
}

absl::Status RunBench(const BenchArguments& arguments) {
  if (arguments.prompt_tokens == 0 || arguments.tokens == 0) {
    return absl::InvalidArgumentError("--prompt-tokens and --tokens must be at least 1");
  }
  const ModelOptions options = OptionsOf(arguments);
  auto model = FlashModel::Open(arguments.model, options);
  if (!model.ok()) return model.status();
  auto session = (*model)->CreateSession();
  if (!session.ok()) return session.status();
  const auto feed = arguments.random_tokens ? FeedRandomTokens : SampleTokens;
  if (absl::Status fed = feed(**model, arguments, session->get()); !fed.ok()) return fed;
  const Stats stats = (*session)->stats();
  const std::vector<TokenSample>& samples = (*session)->samples();
  if (samples.empty()) return absl::InternalError("no token was measured");
  nlohmann::json row = StatsJson(stats);
  row["ms_per_token"] = {
      {"io", Quantiles(samples, [](const TokenSample& s) { return s.io_ns; })},
      {"memory", Quantiles(samples, [](const TokenSample& s) { return s.memory_ns; })},
      {"compute", Quantiles(samples, [](const TokenSample& s) { return s.compute_ns(); })},
      {"total", Quantiles(samples, [](const TokenSample& s) { return s.total_ns; })}};
  row["roofline_ms"] = RooflineMs(**model, stats);
  row["dram_bytes_per_token"] = DramBytes(**model, stats);
  row["switches"] = SwitchesJson(arguments, options);
  row["token_source"] = arguments.random_tokens ? "random" : "sampled";
  row["roofline_basis"] = "generic device and memory, not measured here";
  row["page_cache"] = stats.direct_io ? "bypassed (O_DIRECT)" : "in use";
  row["seed"] = arguments.seed;
  row["prompt_tokens"] = arguments.prompt_tokens;
  if (arguments.json) {
    PrintJson(row);
    return absl::OkStatus();
  }
  std::printf("%s", StatsText(stats).c_str());
  std::printf("median      %.2f ms per token, 95th percentile %.2f; roofline %.2f (%s)\n",
              row["ms_per_token"]["total"]["median"].get<double>(),
              row["ms_per_token"]["total"]["p95"].get<double>(),
              row["roofline_ms"].get<double>(), "generic device and memory");
  return absl::OkStatus();
}

}  // namespace

void AddEval(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app->add_subcommand("eval", "perplexity and sparsity on a text");
  AddModelOptions(command, &arguments->model, &arguments->model_options);
  command->add_option("--text", arguments->text, "UTF-8 file")->required();
  command->add_option("--window-size", arguments->options.window_tokens,
                      "tokens of text to a window; default 256");
  command->add_option("--max-tokens", arguments->options.max_tokens, "stop after so many");
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunEval(*arguments); }; });
}

void AddBench(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command = app->add_subcommand("bench", "time per token, with its parts");
  AddModelOptions(command, &arguments->model, &arguments->options);
  command->add_option("--prompt-tokens", arguments->prompt_tokens, "tokens before the measured");
  command->add_option("--tokens", arguments->tokens, "tokens measured");
  command->add_option("--seed", arguments->seed, "of the token ids");
  const std::map<std::string, bool> sources = {{"sampled", false}, {"random", true}};
  command->add_option("--token-source", arguments->random_tokens,
                      "sampled by the model (default), or random")
      ->transform(CLI::CheckedTransformer(sources));
  const std::map<std::string, Baseline> baselines = {
      {"none", Baseline::kNone}, {"naive", Baseline::kNaive}, {"hybrid", Baseline::kHybrid}};
  command->add_option("--baseline", arguments->baseline,
                      "naive: everything is read for each token; hybrid: what the budget does not "
                      "hold; none (default)")
      ->transform(CLI::CheckedTransformer(baselines));
  Techniques* const t = &arguments->options.techniques;
  command->add_flag("--no-predictor", arguments->no_predictor, "compute every neuron");
  command->add_flag("!--no-window", t->window, "keep no neurons from token to token");
  command->add_flag("!--no-bundle", t->bundles, "read a neuron's rows apart");
  command->add_flag("!--no-join", t->join, "a read for each record");
  command->add_flag("!--no-overlap", t->overlap, "compute when all reads have come; no lookahead");
  command->add_flag("!--no-lookahead", t->lookahead, "read nothing on a guess");
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunBench(*arguments); }; });
}

}  // namespace sluice::cli
