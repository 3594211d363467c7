// The ablation's rows, its roofline and its ratios.
#include <algorithm>
#include <fstream>

#include "bench/e2e/model_files.h"
#include "bench/e2e/report.h"
#include "bench/e2e/rows.h"
#include "bench/e2e/run_row.h"
#include "tests/support/catch.h"

namespace sluice::bench {
namespace {

RowSpec Row(const std::string& name) {
  const auto rows = SelectRows(SluiceRows(), {name});
  REQUIRE_OK(rows);
  REQUIRE(rows->size() == 1);
  return rows->front();
}

RowContext Context() {
  RowContext context;
  context.program = "sluice";
  context.plain_model = "plain";
  context.placed_model = "placed";
  context.memory.usual_bytes = 530;
  context.memory.margin_bytes = 30;
  return context;
}

bool Has(const std::vector<std::string>& command, const std::string& word) {
  return std::find(command.begin(), command.end(), word) != command.end();
}

RowResult Result(const std::string& name, double total_ms, double needed = 1e6) {
  RowResult result;
  result.spec = Row(name);
  result.stats = {{"ms_per_token",
                   {{"total", {{"median", total_ms}, {"p95", total_ms}, {"std", 0}}},
                    {"compute", {{"median", 2}}},
                    {"memory", {{"median", 1}}},
                    {"io", {{"median", 3}}}}},
                  {"needed_bytes_per_token", needed},
                  {"dram_bytes_per_token", 20e6}};
  return result;
}

TEST_CASE("each row adds one technique", "[bench]") {
  const std::vector<std::string> names = {"predictor", "window",  "bundling",
                                          "placement", "overlap", "lookahead"};
  size_t off = 5;
  for (const std::string& name : names) {
    INFO(name);
    CHECK(Row(name).flags.size() == off);
    if (off > 0) --off;
  }
  CHECK(Row("bundling").flags ==
        std::vector<std::string>{"--no-join", "--no-overlap", "--no-lookahead"});
  CHECK_FALSE(Row("bundling").placed);
  CHECK(Row("placement").placed);
  CHECK_FALSE(Row("naive").placed);
}

TEST_CASE("a row's command has its limit, its file and its tokens", "[bench]") {
  const RowContext context = Context();
  const auto naive = RowCommand(context, Row("naive"));
  CHECK(Has(naive, "plain"));
  CHECK(Has(naive, "500"));
  CHECK(Has(naive, "8"));
  const auto tighter = RowCommand(context, Row("q8-0.50"));
  CHECK(Has(tighter, "placed"));
  CHECK(Has(tighter, "470"));
  CHECK(Has(tighter, "64"));
  CHECK_FALSE(Has(RowCommand(context, Row("resident-dense")), "--dram-budget"));
}

TEST_CASE("unknown rows are refused, known ones keep their order", "[bench]") {
  CHECK(absl::IsInvalidArgument(SelectRows(SluiceRows(), {"naive", "fast"}).status()));
  const auto rows = SelectRows(SluiceRows(), {"lookahead", "naive"});
  REQUIRE_OK(rows);
  CHECK(rows->at(0).name == "naive");
}

TEST_CASE("a row that cannot run is a result", "[bench]") {
  RowContext context = Context();
  context.placed_model.clear();
  auto result = RunRow(context, Row("lookahead"));
  REQUIRE_OK(result);
  CHECK(result->error == "there is no placed model file");
  context.memory.usual_bytes = 20;
  result = RunRow(context, Row("naive"));
  REQUIRE_OK(result);
  CHECK(result->error == "the limit is below its own margin");
}

TEST_CASE("a row whose program fails or talks nonsense is a result", "[bench]") {
  RowContext context = Context();
  context.program = "false";
  auto result = RunRow(context, Row("resident-dense"));
  REQUIRE_OK(result);
  CHECK_THAT(result->error, Catch::Contains("exit status 1"));
  for (const char* program : {"true", "echo"}) {
    context.program = program;
    result = RunRow(context, Row("resident-dense"));
    REQUIRE_OK(result);
    CHECK(result->error == "the program did not print its figures");
  }
}

TEST_CASE("the roofline is the slower of device and memory", "[bench]") {
  const nlohmann::json stats = Result("lookahead", 1, 6e6).stats;
  auto roofline = RooflineOf(stats, {2, 10});
  REQUIRE(roofline);
  CHECK(roofline->ms == Approx(3));
  CHECK(roofline->device_bound);
  roofline = RooflineOf(stats, {6, 10});
  REQUIRE(roofline);
  CHECK(roofline->ms == Approx(2));
  CHECK_FALSE(roofline->device_bound);
  CHECK_FALSE(RooflineOf({{"needed_bytes_per_token", 1}}, {2, 10}));
  CHECK_FALSE(RooflineOf(stats, {0, 10}));
}

TEST_CASE("a row that reads faster than the curve sets the device's rate", "[bench]") {
  std::vector<RowResult> rows = {Result("naive", 1), Result("hybrid", 1)};
  rows[0].stats["read_gb_per_s"] = 4;
  CHECK(BestDeviceRate(2, rows) == 4);
  CHECK(BestDeviceRate(5, rows) == 5);
  rows[0].error = "killed";
  CHECK(BestDeviceRate(2, rows) == 2);
}

TEST_CASE("ratios come from medians, and not from rows that failed", "[bench]") {
  Report report;
  report.rates = {2, 10};
  report.rows = {Result("naive", 100, 80e6), Result("lookahead", 10, 8e6),
                 Result("resident-dense", 30)};
  nlohmann::json ratios = Ratios(report);
  CHECK(ratios["naive_over_all"] == Approx(10));
  CHECK(ratios["resident_over_all"] == Approx(3));
  CHECK(ratios["all_over_roofline"] == Approx(2.5));
  CHECK(ratios["naive_at_curve_over_all"] == Approx(4.3));  // 40 of reads, 2 and 1 of work
  report.rows[0].error = "killed";
  CHECK(Ratios(report)["naive_over_all"].is_null());
  report.ratios_withheld = "statistics";
  CHECK(Ratios(report).empty());
  CHECK_THAT(ReportMarkdown(report), Catch::Contains("No ratios: statistics"));
  CHECK_THAT(ReportMarkdown(report), Catch::Contains("failed: killed"));
  CHECK(ReportJson(report)["rows"][0]["error"] == "killed");
}

TEST_CASE("files that were made go, unless they are kept", "[bench]") {
  testing::TempDir dir;
  for (bool keep : {false, true}) {
    testing::WriteFileOrDie(dir.File("made"), "x");
    testing::WriteFileOrDie(dir.File(".made.sluice-tmp-1"), "half");
    {
      TemporaryFiles files;
      files.Add(dir.File("made"));
      if (keep) files.Keep();
    }
    std::ifstream made(dir.File("made"));
    CHECK(made.good() == keep);
    std::ifstream half(dir.File(".made.sluice-tmp-1"));
    CHECK_FALSE(half.good());
  }
}

TEST_CASE("a disk that is too small is told before anything is made", "[bench]") {
  CHECK(absl::IsResourceExhausted(CheckDisk(".", uint64_t{1} << 60)));
  CHECK(absl::IsInvalidArgument(ShapeBytes("opt-9b").status()));
  testing::TempDir dir;
  CHECK(absl::IsInvalidArgument(CheckRoom({"opt-9b", dir.path(), "", 1}, true)));
  for (const char* name : {"opt-6.7b.flash", "opt-6.7b-placed.flash", "opt-6.7b.gguf"}) {
    testing::WriteFileOrDie(dir.File(name), "x");
  }
  CHECK(CheckRoom({"opt-6.7b", dir.path(), "", 1}, true).ok());  // they are there: nothing to make
}

}  // namespace
}  // namespace sluice::bench
