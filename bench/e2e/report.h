// What the ablation prints: the table, the ratios, the JSON.
#ifndef SLUICE_BENCH_E2E_REPORT_H_
#define SLUICE_BENCH_E2E_REPORT_H_

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench/e2e/run_row.h"

namespace sluice::bench {

// What the machine gave on the day.
struct MachineRates {
  // Best point of the device curves, or the rate of the row that read faster than that: a curve
  // taken in a slow minute must not flatter.
  double device_gb_per_s = 0;
  double memory_gb_per_s = 0;
};

// The least time that a row's token can take on this machine.
struct Roofline {
  double ms = 0;
  bool device_bound = false;  // else memory
};
// From needed_bytes_per_token (each missing record once: who reads more is not nearer to the
// roofline) and dram_bytes_per_token. Nothing where a figure or a rate is missing.
std::optional<Roofline> RooflineOf(const nlohmann::json& stats, const MachineRates& rates);

// Median milliseconds of a token; 0 where the row did not run.
double MedianMs(const RowResult& row);

// `curve_gb_per_s`, or what a row sustained while it was reading, whichever is more.
double BestDeviceRate(double curve_gb_per_s, const std::vector<RowResult>& rows);

struct Report {
  std::string shape;               // empty: a file of the user's
  std::string model;
  uint64_t model_bytes = 0;        // weights as f16, predictors and tokenizer not counted
  uint64_t memory_limit_bytes = 0;
  nlohmann::json device_curve;     // {"start", "end"}
  MachineRates rates;
  nlohmann::json statistics;       // null: the file is not synthetic
  std::string ratios_withheld;     // why there are none
  nlohmann::json machine;
  std::vector<RowResult> rows;
};

// {"naive_over_all", "resident_over_all", "all_over_roofline"} of medians, null where a row is
// missing; "naive_at_curve_over_all" takes the naive row's reads at the device's best rate, as the
// paper does, so that a slow baseline does not flatter. Empty when they are withheld.
nlohmann::json Ratios(const Report& report);
nlohmann::json ReportJson(const Report& report);
std::string ReportMarkdown(const Report& report);

}  // namespace sluice::bench

#endif  // SLUICE_BENCH_E2E_REPORT_H_
