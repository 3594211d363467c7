// generate, logits, tokenize, detokenize
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "arguments.h"
#include "commands.h"
#include "interrupt.h"
#include "output.h"
#include "sluice/flash_model.h"
#include "sluice/text_codec.h"

namespace sluice::cli {
namespace {

struct GenerateArguments {
  std::string model, prompt, session;
  ModelOptions model_options;
  GenerateOptions options;
  bool json = false;
};

struct TokenArguments {
  std::string model, text, lines, out;
  std::vector<int32_t> tokens;
  ModelOptions options;
  bool json = false;
};

absl::Status RunGenerate(const GenerateArguments& arguments) {
  auto model = FlashModel::Open(arguments.model, arguments.model_options);
  if (!model.ok()) return model.status();
  auto session = (*model)->CreateSession();
  if (!session.ok()) return session.status();
  GenerateOptions options = arguments.options;
  options.whole_prompt = !arguments.session.empty();
  if (options.whole_prompt && std::filesystem::exists(arguments.session)) {
    if (absl::Status status = (*session)->Load(arguments.session); !status.ok()) return status;
  }
  auto bar = std::make_unique<ProgressBar>(true);
  options.on_prefill_progress = [&](uint32_t done, uint32_t total) {
    if (bar != nullptr) bar->Update("prompt", static_cast<double>(done) / total);
    return true;
  };
  if (!arguments.json) {
    options.on_token = [&](int32_t, const std::string& text) {
      if (bar != nullptr) {
        bar.reset();
        std::fwrite(arguments.prompt.data(), 1, arguments.prompt.size(), stdout);
      }
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
      return true;
    };
  }
  absl::StatusOr<GenerateResult> result;
  {
    InterruptScope scope(session->get());
    result = (*session)->Generate(arguments.prompt, options);
  }
  bar.reset();
  if (!result.ok()) return result.status();
  absl::Status saved;
  if (options.whole_prompt) saved = (*session)->Save(arguments.session);
  const Stats stats = (*session)->stats();
  if (arguments.json && saved.ok()) {
    PrintJson({{"text", result->text},
               {"tokens", result->tokens},
               {"finish_reason", FinishReasonName(result->finish_reason)},
               {"stats", StatsJson(stats)}});
  }
  if (arguments.json || !saved.ok()) return saved;
  std::printf("\n\nfinished    %s, after %zu tokens\n%s",
              FinishReasonName(result->finish_reason), result->tokens.size(),
              StatsText(stats).c_str());
  return absl::OkStatus();
}

absl::Status RunLogits(const TokenArguments& arguments) {
  auto model = FlashModel::Open(arguments.model, arguments.options);
  if (!model.ok()) return model.status();
  auto session = (*model)->CreateSession();
  if (!session.ok()) return session.status();
  std::ofstream out;
  PrefillOptions prefill;
  // f32 in the machine's order: every machine that this builds for is little-endian.
  prefill.on_logits = [&](uint32_t, absl::Span<const float> logits) {
    // Only now: a call that fails leaves an existing file alone.
    if (!out.is_open()) out.open(arguments.out, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(logits.data()),
              static_cast<std::streamsize>(logits.size() * sizeof(float)));
  };
  if (absl::Status status = (*session)->Prefill(arguments.tokens, {}, prefill); !status.ok()) {
    return status;
  }
  out.close();
  if (!out) return absl::UnavailableError(absl::StrCat("cannot write ", arguments.out));
  const uint32_t vocab = (*model)->info().vocab_size;
  if (arguments.json) {
    PrintJson({{"shape", {arguments.tokens.size(), vocab}},
               {"out", arguments.out},
               {"stats", StatsJson((*session)->stats())}});
  } else {
    std::printf("%s: f32 [%zu, %u]\n", arguments.out.c_str(), arguments.tokens.size(), vocab);
  }
  return absl::OkStatus();
}

absl::Status RunTokenize(const TokenArguments& arguments) {
  auto codec = TextCodec::Open(arguments.model);
  if (!codec.ok()) return codec.status();
  if (arguments.lines.empty()) {
    const nlohmann::json ids = (*codec)->Tokenize(arguments.text, true);
    if (arguments.json) {
      PrintJson({{"ids", ids}});
    } else {
      std::printf("%s\n", ids.dump().c_str());
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> text = ReadTextFile(arguments.lines);
  if (!text.ok()) return text.status();
  nlohmann::json lines = nlohmann::json::array();
  for (size_t at = 0; at < text->size();) {
    const size_t end = std::min(text->find('\n', at), text->size());
    nlohmann::json ids = (*codec)->Tokenize(text->substr(at, end - at), true);
    if (arguments.json) {
      lines.push_back(std::move(ids));
    } else {
      std::printf("%s\n", ids.dump().c_str());
    }
    at = end + 1;
  }
  if (arguments.json) PrintJson({{"lines", std::move(lines)}});
  return absl::OkStatus();
}

absl::Status RunDetokenize(const TokenArguments& arguments) {
  auto codec = TextCodec::Open(arguments.model);
  if (!codec.ok()) return codec.status();
  auto text = (*codec)->Detokenize(arguments.tokens);
  if (!text.ok()) return text.status();
  if (arguments.json) {
    PrintJson({{"text", *text}});
  } else {
    std::fwrite(text->data(), 1, text->size(), stdout);
    std::printf("\n");
  }
  return absl::OkStatus();
}

}  // namespace

void AddGenerate(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = app->add_subcommand("generate", "go on from a prompt");
  AddModelOptions(command, &arguments->model, &arguments->model_options);
  command->add_option("--prompt", arguments->prompt, "text to go on from")->required();
  command->add_option("--session", arguments->session,
                      "file that keeps what was computed: of a prompt that begins as the last one "
                      "did only the rest is (made if it is not there)");
  command->add_option("--max-tokens", arguments->options.max_tokens, "the most to generate");
  SamplingOptions& sampling = arguments->options.sampling;
  command->add_option("--temperature", sampling.temperature, "0: always the most likely token");
  command->add_option("--top-k", sampling.top_k, "among the K most likely; 0: all");
  command->add_option("--top-p", sampling.top_p, "among the most likely with this much together");
  command->add_option("--min-p", sampling.min_p, "none below this share of the most likely");
  command->add_option("--repetition-penalty", sampling.repetition_penalty, "above 1: repeat less");
  command->add_option("--seed", sampling.seed, "of the sampling");
  command->add_option("--stop", arguments->options.stop, "end before this text (repeatable)")
      ->take_all()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunGenerate(*arguments); }; });
}

void AddLogits(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<TokenArguments>();
  CLI::App* command = app->add_subcommand("logits", "logits of given tokens, raw f32 to a file");
  AddModelOptions(command, &arguments->model, &arguments->options);
  AddTokens(command, &arguments->tokens);
  command->add_option("--out", arguments->out, "file for [tokens, vocab] f32")->required();
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunLogits(*arguments); }; });
}

void AddTokenize(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<TokenArguments>();
  CLI::App* command = app->add_subcommand("tokenize", "text to token ids");
  AddModelPath(command, &arguments->model);
  CLI::Option_group* input = command->add_option_group("input");
  input->add_option("--text", arguments->text, "text");
  input->add_option("--lines", arguments->lines, "UTF-8 file, each line on its own");
  input->require_option(1);
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunTokenize(*arguments); }; });
}

void AddDetokenize(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<TokenArguments>();
  CLI::App* command = app->add_subcommand("detokenize", "token ids to text");
  AddModelPath(command, &arguments->model);
  AddTokens(command, &arguments->tokens);
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunDetokenize(*arguments); }; });
}

}  // namespace sluice::cli
