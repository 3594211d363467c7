#include "bench/e2e/report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace sluice::bench {
namespace {

constexpr double kMiB = 1 << 20;
// A naive row that reads more slowly than this share of the best rate is a poor baseline.
constexpr double kSequentialShare = 0.9;

double Number(const nlohmann::json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number()) return 0;
  return object[key].get<double>();
}

// One quantile of one part of a token; llama.cpp tells the total alone.
double Time(const RowResult& row, const char* part, const char* quantile) {
  if (!row.stats.is_object() || !row.stats.contains("ms_per_token")) return 0;
  const nlohmann::json& times = row.stats["ms_per_token"];
  if (times.is_object() && times.contains(part)) return Number(times[part], quantile);
  return std::string(part) == "total" ? Number(times, quantile) : 0;
}

const RowResult* Find(const Report& report, const std::string& name) {
  for (const RowResult& row : report.rows) {
    if (row.spec.name == name && row.ok()) return &row;
  }
  return nullptr;
}

nlohmann::json Over(double a, double b) {
  if (a <= 0 || b <= 0) return nullptr;
  return a / b;
}

// Time of a naive token whose reads run at the curve's best rate, nothing overlapped.
double NaiveAtCurveMs(const RowResult& row, const MachineRates& rates) {
  const double needed = Number(row.stats, "needed_bytes_per_token");
  if (needed <= 0 || rates.device_gb_per_s <= 0) return 0;
  return needed / (rates.device_gb_per_s * 1e6) + Time(row, "compute", "median") +
         Time(row, "memory", "median");
}

std::string Remark(const RowResult& row, const MachineRates& rates) {
  if (!row.ok()) return row.error;
  std::vector<std::string> remarks;
  const double share = Number(row.stats, "read_gb_per_s") / std::max(rates.device_gb_per_s, 1e-9);
  if (row.spec.name == "naive" && share < kSequentialShare) {
    remarks.push_back(absl::StrFormat("read at %.0f %% of the device's best", 100 * share));
  }
  const double bytes = Number(row.stats, "bytes_per_token");
  if (row.spec.limit == MemoryLimit::kNone && bytes > 0) {
    remarks.push_back(absl::StrFormat("still read %.2f MB per token", bytes / 1e6));
  }
  const auto roofline = RooflineOf(row.stats, rates);
  if (roofline && MedianMs(row) < roofline->ms) {
    remarks.push_back("below its roofline: the rates were measured in a slower minute");
  }
  if (row.cgroup.peak_bytes > row.limit_bytes && row.limit_bytes > 0) {
    remarks.push_back("went over its limit");
  }
  return absl::StrJoin(remarks, "; ");
}

nlohmann::json RowJson(const RowResult& row, const MachineRates& rates) {
  nlohmann::json json = row.stats.is_object() ? row.stats : nlohmann::json::object();
  json["name"] = row.spec.name;
  json["what"] = row.spec.what;
  json["command"] = row.command;
  json["page_cache_before"] = row.page_cache;
  json["memory_limit"] = row.cgroup_version == 0
                             ? std::string("none")
                             : absl::StrCat("cgroup v", row.cgroup_version);
  json["limit_bytes"] = row.limit_bytes;
  json["budget_bytes"] = row.budget_bytes;
  json["peak_rss_bytes"] = row.peak_rss_bytes;
  json["cgroup_peak_bytes"] = row.cgroup.peak_bytes;
  json["cgroup_limit_hits"] = row.cgroup.limit_hits;
  json["cgroup_oom_kills"] = row.cgroup.oom_kills;
  if (!row.ok()) json["error"] = row.error;
  // The program's own figure is for a generic machine.
  json.erase("roofline_ms");
  json.erase("roofline_basis");
  if (const auto roofline = RooflineOf(row.stats, rates)) {
    json["roofline_ms"] = roofline->ms;
    json["roofline_bound_by"] = roofline->device_bound ? "device" : "memory";
    json["total_over_roofline"] = Over(MedianMs(row), roofline->ms);
  }
  const std::string remark = row.ok() ? Remark(row, rates) : "";
  if (!remark.empty()) json["remark"] = remark;
  return json;
}

std::string RowMarkdown(const RowResult& row, const MachineRates& rates) {
  const std::string remark = Remark(row, rates);
  const std::string limit =
      row.limit_bytes == 0 ? "none"
                           : absl::StrFormat("%.0f", static_cast<double>(row.limit_bytes) / kMiB);
  std::string text = absl::StrCat("| ", row.spec.name, " | ", limit, " | ");
  if (!row.ok()) return absl::StrCat(text, "| | | | | | | | | | | | failed: ", remark, " |\n");
  const auto roofline = RooflineOf(row.stats, rates);
  absl::StrAppendFormat(&text, "%.1f | %.1f | %.1f | ", Time(row, "total", "median"),
                        Time(row, "total", "p95"), Time(row, "total", "std"));
  if (row.spec.program == RowProgram::kSluice) {
    absl::StrAppendFormat(&text, "%.1f | %.1f | %.1f | ", Time(row, "io", "median"),
                          Time(row, "memory", "median"), Time(row, "compute", "median"));
  } else {
    text += "| | | ";
  }
  absl::StrAppendFormat(&text, "%.1f | ", Number(row.stats, "bytes_per_token") / 1e6);
  const double needed = Number(row.stats, "needed_bytes_per_token");
  text += row.stats.contains("needed_bytes_per_token") ? absl::StrFormat("%.1f | ", needed / 1e6)
                                                       : "| ";
  text += roofline ? absl::StrFormat("%.1f (%s) | ", roofline->ms,
                                     roofline->device_bound ? "device" : "memory")
                   : "| ";
  absl::StrAppendFormat(&text, "%.0f | ", static_cast<double>(row.peak_rss_bytes) / kMiB);
  text += row.cgroup_version == 0
              ? "| "
              : absl::StrFormat("%.0f | ", static_cast<double>(row.cgroup.peak_bytes) / kMiB);
  return absl::StrCat(text, row.spec.what, remark.empty() ? "" : absl::StrCat(" (", remark, ")"),
                      " |\n");
}

}  // namespace

std::optional<Roofline> RooflineOf(const nlohmann::json& stats, const MachineRates& rates) {
  if (!stats.is_object() || !stats.contains("needed_bytes_per_token") ||
      !stats.contains("dram_bytes_per_token") || rates.device_gb_per_s <= 0 ||
      rates.memory_gb_per_s <= 0) {
    return std::nullopt;
  }
  // 1e9 bytes per second are 1e6 per millisecond.
  const double device = Number(stats, "needed_bytes_per_token") / (rates.device_gb_per_s * 1e6);
  const double memory = Number(stats, "dram_bytes_per_token") / (rates.memory_gb_per_s * 1e6);
  return Roofline{std::max(device, memory), device > memory};
}

double BestDeviceRate(double curve_gb_per_s, const std::vector<RowResult>& rows) {
  double best = curve_gb_per_s;
  for (const RowResult& row : rows) {
    if (row.ok()) best = std::max(best, Number(row.stats, "read_gb_per_s"));
  }
  return best;
}

double MedianMs(const RowResult& row) { return row.ok() ? Time(row, "total", "median") : 0; }

nlohmann::json Ratios(const Report& report) {
  if (!report.ratios_withheld.empty()) return nlohmann::json::object();
  const RowResult* all = Find(report, "lookahead");
  const double all_ms = all == nullptr ? 0 : MedianMs(*all);
  const auto over_all = [&](const char* name) {
    const RowResult* row = Find(report, name);
    return row == nullptr ? nlohmann::json() : Over(MedianMs(*row), all_ms);
  };
  nlohmann::json ratios = {{"naive_over_all", over_all("naive")},
                           {"resident_over_all", over_all("resident-dense")},
                           {"all_over_roofline", nullptr},
                           {"naive_at_curve_over_all", nullptr}};
  if (all != nullptr) {
    const auto roofline = RooflineOf(all->stats, report.rates);
    if (roofline) ratios["all_over_roofline"] = Over(all_ms, roofline->ms);
  }
  if (const RowResult* naive = Find(report, "naive")) {
    ratios["naive_at_curve_over_all"] = Over(NaiveAtCurveMs(*naive, report.rates), all_ms);
  }
  for (const RowSpec& peer : PeerRows()) {
    const nlohmann::json ratio = over_all(peer.name.c_str());
    if (!ratio.is_null()) ratios[peer.name + "_over_all"] = ratio;
  }
  return ratios;
}

nlohmann::json ReportJson(const Report& report) {
  nlohmann::json rows = nlohmann::json::array();
  for (const RowResult& row : report.rows) rows.push_back(RowJson(row, report.rates));
  nlohmann::json json = {
      {"schema", 1},
      {"shape", report.shape.empty() ? nlohmann::json() : nlohmann::json(report.shape)},
      {"synthetic", !report.statistics.is_null()},
      {"model", report.model},
      {"model_bytes", report.model_bytes},
      {"memory_limit_bytes", report.memory_limit_bytes},
      {"device_curve", report.device_curve},
      {"device_gb_per_s", report.rates.device_gb_per_s},
      {"memory_bandwidth_gb_per_s", report.rates.memory_gb_per_s},
      {"statistics", report.statistics},
      {"machine", report.machine},
      {"rows", rows},
      {"ratios", Ratios(report)}};
  if (!report.ratios_withheld.empty()) json["ratios_withheld"] = report.ratios_withheld;
  return json;
}

std::string ReportMarkdown(const Report& report) {
  std::string text = absl::StrFormat(
      "%s: %.2f GB of f16 weights, limit %.2f GB; device at best %.2f GB/s, memory %.1f GB/s.\n"
      "%s\n\n",
      report.shape.empty() ? report.model : report.shape,
      static_cast<double>(report.model_bytes) / 1e9,
      static_cast<double>(report.memory_limit_bytes) / 1e9, report.rates.device_gb_per_s,
      report.rates.memory_gb_per_s,
      report.statistics.is_null() ? "The model is not synthetic."
                                  : "The model is synthetic: its statistics are in the JSON.");
  text +=
      "| row | limit MiB | ms per token | p95 | std | io | window, slots | compute | MB read "
      "| MB needed | roofline ms | peak RSS MiB | cgroup peak MiB | |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const RowResult& row : report.rows) text += RowMarkdown(row, report.rates);
  text += "\n";
  if (!report.ratios_withheld.empty()) {
    return absl::StrCat(text, "No ratios: ", report.ratios_withheld, "\n");
  }
  const nlohmann::json ratios = Ratios(report);
  for (const auto& [name, value] : ratios.items()) {
    text += value.is_number() ? absl::StrFormat("%s: %.2f\n", name, value.get<double>())
                              : absl::StrCat(name, ": not measured\n");
  }
  return text;
}

}  // namespace sluice::bench
