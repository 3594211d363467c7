// The `sluice` program: converts, plans, runs and checks models. Exit status 0 on success, 1 on
// failure with one line on stderr, 2 on bad usage.

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include "commands.h"
#include "sluice/flash_model.h"

namespace {

// An error is one line, whatever text it quotes.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  // A reader that goes away, or a file-size limit, is an error of one write, not a death.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);

  CLI::App app{"Sluice runs language models larger than the memory they are given: feed-forward "
               "weights stay on flash and are read as each token needs them."};
  app.name("sluice");
  app.set_version_flag("--version", std::string("sluice ") + sluice::Version());
  app.require_subcommand(1);
  sluice::cli::Runner run;
  sluice::cli::AddConvert(&app, &run);
  sluice::cli::AddTrain(&app, &run);
  sluice::cli::AddInspect(&app, &run);
  sluice::cli::AddPlan(&app, &run);
  sluice::cli::AddGenerate(&app, &run);
  sluice::cli::AddLogits(&app, &run);
  sluice::cli::AddTokenize(&app, &run);
  sluice::cli::AddDetokenize(&app, &run);
  sluice::cli::AddEval(&app, &run);
  sluice::cli::AddBench(&app, &run);
  sluice::cli::AddDevice(&app, &run);
  sluice::cli::AddVerify(&app, &run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  absl::Status status;
  try {
    status = run();
  } catch (const std::exception& error) {
    status = absl::ResourceExhaustedError(error.what());  // of the standard library: no memory
  }
  if (std::fflush(stdout) != 0 && status.ok()) {
    std::fprintf(stderr, "sluice: cannot write to stdout\n");
    return 1;
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "sluice: %s\n", OneLine(std::string(status.message())).c_str());
  return 1;
}
