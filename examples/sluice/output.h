// What the program prints: one JSON object or lines for people on stdout, progress on stderr.
#ifndef SLUICE_EXAMPLES_SLUICE_OUTPUT_H_
#define SLUICE_EXAMPLES_SLUICE_OUTPUT_H_

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "sluice/stats.h"
#include "sluice/train.h"

namespace sluice::cli {

// One line on stdout; text that is not UTF-8 is mended.
void PrintJson(const nlohmann::json& value);

// "12.3 MiB"
std::string Size(double bytes);

// The `stats` object of every command.
nlohmann::json StatsJson(const Stats& stats);
// The same in a few lines.
std::string StatsText(const Stats& stats);

nlohmann::json LayersJson(const std::vector<LayerQuality>& layers);
std::string LayersText(const std::vector<LayerQuality>& layers);

// A bar on stderr, drawn only where that is a terminal.
class ProgressBar {
 public:
  explicit ProgressBar(bool wanted);
  ~ProgressBar();  // clears the line
  void Update(const std::string& stage, double done);

 private:
  const bool shown_;
  bool drawn_ = false;
  int64_t last_ms_ = 0;
};

}  // namespace sluice::cli

#endif  // SLUICE_EXAMPLES_SLUICE_OUTPUT_H_
