// convert, train
#include <cstdio>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "interrupt.h"
#include "output.h"
#include "sluice/convert.h"
#include "sluice/train.h"

namespace sluice::cli {
namespace {

struct ConvertArguments {
  std::string source, output;
  ConvertOptions options;
  bool json = false;
};

struct TrainArguments {
  std::string model, calibration;
  TrainOptions options;
  bool json = false;
};

void AddTrainOptions(CLI::App* command, TrainOptions* options) {
  command->add_option_function<std::string>(
      "--rank",
      [options](const std::string& text) {
        options->rank = text == "auto" ? 0 : static_cast<uint32_t>(ParseSize(text));
      },
      "rank of every predictor, or auto: per layer, what each needs");
  command->add_option("--seed", options->seed, "seed of the training");
  command->add_option("--threads", options->threads, "threads for calibration and training");
}

absl::Status RunConvert(const ConvertArguments& arguments) {
  ConvertOptions options = arguments.options;
  absl::StatusOr<ConvertReport> report;
  {
    ProgressBar bar(true);
    const InterruptScope scope;
    options.on_progress = [&](const std::string& stage, double done) {
      bar.Update(stage, done);
      return !InterruptScope::interrupted();
    };
    report = Convert(arguments.source, arguments.output, options);
  }
  if (!report.ok()) return report.status();
  if (arguments.json) {
    PrintJson({{"records", report->records},
               {"record_bytes", report->record_bytes},
               {"bytes", report->bytes},
               {"parts", report->num_parts},
               {"seconds", report->seconds},
               {"peak_rss_bytes", report->peak_rss_bytes},
               {"has_tokenizer", report->has_tokenizer},
               {"skipped_tensors", report->skipped_tensors},
               {"layers", LayersJson(report->layers)}});
    return absl::OkStatus();
  }
  std::printf("%s: %s in %.1f s, %llu records of %s, peak memory %s\n",
              arguments.output.c_str(), Size(static_cast<double>(report->bytes)).c_str(),
              report->seconds, static_cast<unsigned long long>(report->records),
              Size(static_cast<double>(report->record_bytes)).c_str(),
              Size(static_cast<double>(report->peak_rss_bytes)).c_str());
  if (arguments.options.part_bytes != 0) {
    std::printf("%u parts, to be kept side by side and opened as %s\n", report->num_parts,
                arguments.output.c_str());
  }
  if (!report->has_tokenizer) {
    std::printf("no tokenizer in %s: commands that need text will refuse\n",
                arguments.source.c_str());
  }
  for (const std::string& name : report->skipped_tensors) {
    std::printf("passed over: %s\n", name.c_str());
  }
  if (!report->layers.empty()) std::printf("%s", LayersText(report->layers).c_str());
  return absl::OkStatus();
}

absl::Status RunTrain(const TrainArguments& arguments) {
  TrainOptions options = arguments.options;
  absl::StatusOr<std::vector<LayerQuality>> layers;
  {
    ProgressBar bar(true);
    const InterruptScope scope;
    options.on_progress = [&](const std::string& stage, double done) {
      bar.Update(stage, done);
      return !InterruptScope::interrupted();
    };
    layers = TrainPredictors(arguments.model, arguments.calibration, options);
  }
  if (!layers.ok()) return layers.status();
  if (arguments.json) {
    PrintJson({{"layers", LayersJson(*layers)}});
  } else {
    std::printf("%s", LayersText(*layers).c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddConvert(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command =
      app->add_subcommand("convert", "a Hugging Face checkpoint folder to a bundle file");
  command->add_option("SRC", arguments->source, "folder with config.json and weights")->required();
  command->add_option("OUT", arguments->output, "bundle file to write")->required();
  command->add_option("--dtype", arguments->options.dtype, "f32, f16 or bf16; default: as stored")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  command->add_option("--calibration", arguments->options.calibration_path,
                      "UTF-8 text; trains the predictors and places the neurons too");
  command->add_flag_callback(
      "--no-placement", [=] { arguments->options.placement = false; },
      "with --calibration: leave the neurons in the checkpoint's order");
  command->add_option("--device-curve", arguments->options.device_curve_path,
                      "JSON of `sluice device`: record size for that device");
  command->add_option_function<std::string>(
      "--part-bytes",
      [=](const std::string& text) { arguments->options.part_bytes = ParseSize(text); },
      "as several files OUT, OUT.2, ... of at most so many bytes, or a number with K, M, G");
  AddTrainOptions(command, &arguments->options.train);
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunConvert(*arguments); }; });
}

void AddTrain(CLI::App* app, Runner* run) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = app->add_subcommand("train", "(re)train the predictors of a bundle file");
  AddModelPath(command, &arguments->model);
  command->add_option("--calibration", arguments->calibration, "UTF-8 text")->required();
  AddTrainOptions(command, &arguments->options);
  AddJson(command, &arguments->json);
  command->callback([=] { *run = [=] { return RunTrain(*arguments); }; });
}

}  // namespace sluice::cli
