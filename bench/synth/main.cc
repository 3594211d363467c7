// Makes bundle files of published sizes whose activations have the published statistics, and
// measures those of any file.
//
//   synth OUT --shape opt-6.7b [--placed OUT2]     writes a model, the same in placed order
//   synth --check FILE                             measures; exit status 1 unless all targets hold
//   synth --measure-similarity FILE TEXT           how alike neighbouring layers' FFN inputs are
//
// The weights are random: such a model says nothing, but it reads, misses and computes as much as
// OPT 6.7B does in "LLM in a flash".

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "bench/synth/calibrate.h"
#include "bench/synth/shape.h"
#include "bench/synth/statistics.h"
#include "bench/synth/write_model.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/io/host.h"

namespace sluice::synth {
namespace {

struct Arguments {
  std::string out, placed, shape, check;
  std::vector<std::string> similar;  // model and text
  ShapeOverrides overrides;
  CalibrationOptions calibration;
  StatisticsOptions statistics;
  bool json = false;
};

double SecondsSince(int64_t start) { return static_cast<double>(NowNs() - start) / 1e9; }

// A line that is written over, on a terminal alone.
void Progress(const char* stage, uint32_t done, uint32_t total) {
  if (isatty(STDERR_FILENO) == 0) return;
  std::fprintf(stderr, "\r%-10s %u of %u layers", stage, done, total);
  if (done == total) std::fprintf(stderr, "\n");
}


absl::Status Make(const Arguments& arguments) {
  SLUICE_ASSIGN_OR_RETURN(const Shape shape, MakeShape(arguments.shape, arguments.overrides));
  SLUICE_ASSIGN_OR_RETURN(const uint64_t expected, ExpectedBytes(shape));
  std::vector<std::string> paths = {arguments.out};
  if (!arguments.placed.empty()) paths.push_back(arguments.placed);
  SLUICE_RETURN_IF_ERROR(CheckFreeSpace(paths, expected));
  ThreadPool pool(DefaultThreadCount());
  const uint32_t layers = shape.config.num_layers;

  const int64_t start = NowNs();
  CalibrationOptions calibration = arguments.calibration;
  calibration.seed = arguments.statistics.seed;
  calibration.place = !arguments.placed.empty();
  calibration.on_layer = [&](uint32_t done) { Progress("calibrate", done, layers); };
  SLUICE_ASSIGN_OR_RETURN(const std::vector<LayerPlan> plans,
                          Calibrate(shape, calibration, &pool));
  LayerFigures figures;
  std::vector<double> similarity;  // [layer - 1]
  for (const LayerPlan& plan : plans) {
    figures.Add(plan.figures);
    if (&plan != &plans.front()) similarity.push_back(plan.similarity);
  }
  nlohmann::json report = {{"calibrate_seconds", SecondsSince(start)},
                           {"calibration", figures.ToJson()},
                           {"similarity", similarity},
                           {"files", nlohmann::json::array()}};
  for (const std::string& path : paths) {
    const int64_t write_start = NowNs();
    WriteOptions write;
    write.calibration = calibration;
    write.placed = &path != &paths.front();
    write.on_layer = [&](uint32_t done) { Progress("write", done, layers); };
    SLUICE_ASSIGN_OR_RETURN(const uint64_t bytes, WriteModel(path, shape, plans, write, &pool));
    report["files"].push_back({{"path", path},
                               {"bytes", bytes},
                               {"placed", write.placed},
                               {"seconds", SecondsSince(write_start)}});
  }
  report["seconds"] = SecondsSince(start);
  report["peak_rss_bytes"] = PeakRssBytes();
  if (arguments.json) {
    std::printf("%s\n", report.dump().c_str());
    return absl::OkStatus();
  }
  for (const auto& file : report["files"]) {
    std::printf("%s: %.2f GB in %.1f s\n", file["path"].get<std::string>().c_str(),
                file["bytes"].get<double>() / 1e9, file["seconds"].get<double>());
  }
  std::printf("calibrated in %.1f s: active %.2f %%, predicted %.2f %%, recall %.4f\n",
              report["calibrate_seconds"].get<double>(), figures.ActiveShare() * 100,
              figures.PredictedShare() * 100, figures.Recall());
  if (similarity.empty()) return absl::OkStatus();
  std::printf("FFN inputs of the first two layers are similar to %.4f (target %.4f), of the "
              "others to %.4f (target %.4f)\n",
              similarity[0], calibration.first_similarity, MeanBehindFirst(similarity),
              calibration.similarity);
  return absl::OkStatus();
}

// Sets `ok`: whether all targets hold.
absl::Status Check(const Arguments& arguments, bool* ok) {
  SLUICE_ASSIGN_OR_RETURN(const Statistics statistics,
                          MeasureStatistics(arguments.check, arguments.statistics));
  const std::vector<StatisticCheck> checks = CheckStatistics(statistics, Targets());
  *ok = AllOk(checks);
  const std::string text = arguments.json ? StatisticsJson(statistics, checks).dump() + "\n"
                                          : StatisticsText(statistics, checks);
  std::printf("%s", text.c_str());
  return absl::OkStatus();
}

absl::Status Similar(const Arguments& arguments) {
  std::ifstream file(arguments.similar[1], std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(arguments.similar[1], ": cannot be read"));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  SLUICE_ASSIGN_OR_RETURN(const std::vector<double> similarity,
                          MeasureSimilarity(arguments.similar[0], text));
  if (arguments.json) {
    const nlohmann::json report = {{"similarity", similarity},
                                   {"similarity_behind_first", MeanBehindFirst(similarity)}};
    std::printf("%s\n", report.dump().c_str());
    return absl::OkStatus();
  }
  for (size_t i = 0; i < similarity.size(); ++i) {
    std::printf("layers %zu and %zu: %.4f\n", i, i + 1, similarity[i]);
  }
  std::printf("mean of all but the first %.4f\n", MeanBehindFirst(similarity));
  return absl::OkStatus();
}

void AddOptions(CLI::App* app, Arguments* a) {
  app->add_option("OUT", a->out, "bundle file to write");
  app->add_option("--shape", a->shape, "sizes of the model")->check(CLI::IsMember(ShapeNames()));
  app->add_option("--placed", a->placed, "the same model in placed order, to this file too");
  app->add_option("--d-model", a->overrides.d_model);
  app->add_option("--d-ffn", a->overrides.d_ffn);
  app->add_option("--layers", a->overrides.layers);
  app->add_option("--heads", a->overrides.heads);
  app->add_option("--vocab", a->overrides.vocab);
  app->add_option("--context", a->overrides.context, "positions of the model; default 2048");
  app->add_option("--similarity", a->calibration.similarity,
                  "of neighbouring layers' FFN inputs, but for the first two")
      ->check(CLI::Range(0.3, 0.99));
  app->add_option("--first-similarity", a->calibration.first_similarity, "of the first two")
      ->check(CLI::Range(0.02, 0.99));
  app->add_option("--calibration-tokens", a->calibration.tokens)->check(CLI::Range(16, 1024));
  app->add_option("--seed", a->statistics.seed);
  app->add_option("--check", a->check, "measure this file's statistics");
  app->add_option("--tokens", a->statistics.tokens, "that --check counts")
      ->check(CLI::Range(1, 480));
  app->add_option("--measure-similarity", a->similar, "a model with a tokenizer, and a text")
      ->expected(2);
  app->add_flag("--json", a->json);
}

int Main(int argc, char** argv) {
  CLI::App app{"Makes bundle files with the activation statistics of OPT 6.7B as published"};
  Arguments arguments;
  AddOptions(&app, &arguments);
  try {
    app.parse(argc, argv);
    const int modes = !arguments.out.empty() + !arguments.check.empty() +
                      !arguments.similar.empty();
    if (modes != 1) throw CLI::ValidationError("one of OUT, --check, --measure-similarity");
    if (!arguments.out.empty() && arguments.shape.empty()) {
      throw CLI::ValidationError("OUT needs --shape");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  bool ok = true;
  absl::Status status;
  try {
    if (!arguments.out.empty()) {
      status = Make(arguments);
    } else if (!arguments.check.empty()) {
      status = Check(arguments, &ok);
    } else {
      status = Similar(arguments);
    }
  } catch (const std::exception& error) {
    status = absl::ResourceExhaustedError(error.what());  // of the standard library: no memory
  }
  if (!status.ok()) std::fprintf(stderr, "synth: %s\n", std::string(status.message()).c_str());
  return status.ok() && ok ? 0 : 1;
}

}  // namespace
}  // namespace sluice::synth

int main(int argc, char** argv) { return sluice::synth::Main(argc, argv); }
