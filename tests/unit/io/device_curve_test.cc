#include "lib/io/device_curve.h"

#include <cmath>
#include <limits>
#include <random>

#include "tests/support/catch.h"

namespace sluice {
namespace {

using ::Catch::Contains;

CurvePoint PointOf(uint64_t read_bytes, uint32_t queue_depth, double gb_per_s) {
  return {read_bytes, queue_depth, gb_per_s, static_cast<double>(read_bytes) / (gb_per_s * 1e3)};
}

// A point as JSON, with one member replaced.
std::string Json(const std::string& name = "", const std::string& value = "") {
  std::string text = "{\"curve\":[{";
  for (const auto& [key, good] : {std::pair<std::string, std::string>{"read_bytes", "4096"},
                                  {"queue_depth", "4"},
                                  {"gb_per_s", "0.4096"},
                                  {"us_per_read", "10"}}) {
    if (key == name && value.empty()) continue;
    text += "\"" + key + "\":" + (key == name ? value : good) + ",";
  }
  text.back() = '}';
  return text + "]}";
}

void CheckCosts(const DeviceCurve& curve) {
  double us = 0, us_per_byte = std::numeric_limits<double>::infinity();
  for (uint64_t bytes = 1024; bytes <= 4 << 20; bytes += 1024) {
    const double cost = curve.CostUs(bytes);
    REQUIRE(std::isfinite(cost));
    REQUIRE(cost > 0);
    REQUIRE(cost >= us * (1 - 1e-12));
    REQUIRE(cost / static_cast<double>(bytes) <= us_per_byte * (1 + 1e-12));
    us = cost;
    us_per_byte = cost / static_cast<double>(bytes);
  }
}

TEST_CASE("a curve survives its file", "[io]") {
  const testing::TempDir dir;
  const std::string path = dir.File("curve.json");
  const DeviceCurve generic = DeviceCurve::Generic();
  REQUIRE_OK(generic.Save(path));
  const absl::StatusOr<DeviceCurve> read = DeviceCurve::Load(path);
  REQUIRE_OK(read);
  REQUIRE(read->points().size() == generic.points().size());
  for (size_t i = 0; i < read->points().size(); ++i) {
    CHECK(read->points()[i].read_bytes == generic.points()[i].read_bytes);
    CHECK(read->points()[i].queue_depth == generic.points()[i].queue_depth);
    CHECK(read->points()[i].gb_per_s == generic.points()[i].gb_per_s);
    CHECK(read->points()[i].us_per_read == generic.points()[i].us_per_read);
  }
  CHECK(DeviceCurve::FromJson(Json(), "x").ok());
  CHECK(DeviceCurve::FromJson("{\"engine\":\"uring\"," + Json().substr(1), "x").ok());
}

TEST_CASE("what is no curve is refused with its name", "[io]") {
  std::string many = "{\"curve\":[";
  for (int i = 0; i < 1025; ++i) many += "{},";
  many.back() = ']';
  const std::string point = Json().substr(10, Json().size() - 12);
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("7"), std::string("{}"),
        std::string("{\"curve\":{}}"), std::string("{\"curve\":[]}"),
        std::string("{\"curve\":[7]}"), std::string("{\"curve\":[[]]}"), many + "}",
        "{\"curve\":[" + point + "," + point + "]}", std::string(100000, '['),
        Json("read_bytes"), Json("read_bytes", "0"), Json("read_bytes", "-4096"),
        Json("read_bytes", "4096.5"), Json("read_bytes", "18446744073709551615"),
        Json("read_bytes", "\"4096\""), Json("queue_depth"), Json("queue_depth", "0"),
        Json("queue_depth", "4294967300"), Json("queue_depth", "null"), Json("gb_per_s"),
        Json("gb_per_s", "0"), Json("gb_per_s", "-1"), Json("gb_per_s", "1e999"),
        Json("gb_per_s", "1e300"), Json("gb_per_s", "1e-320"), Json("gb_per_s", "1e-9"),
        Json("gb_per_s", "true"),
        Json("us_per_read"), Json("us_per_read", "0"), Json("us_per_read", "11"),
        Json("us_per_read", "[]")}) {
    INFO(text.substr(0, 200));
    const absl::Status status = DeviceCurve::FromJson(text, "some/path").status();
    CHECK(absl::IsInvalidArgument(status));
    CHECK_THAT(std::string(status.message()), Contains("some/path"));
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(!DeviceCurve::FromPoints({{4096, 1, nan, nan}}, "x").ok());
  CHECK(!DeviceCurve::FromPoints({{4096, 1, 1, nan}}, "x").ok());
  CHECK(absl::IsNotFound(DeviceCurve::Load("/no/such/curve").status()));
}

TEST_CASE("a cost lies between those of the sizes beside it, at the deepest queue", "[io]") {
  const auto curve = DeviceCurve::FromPoints(
      {PointOf(8192, 64, 0.8192), PointOf(4096, 64, 0.512), PointOf(32768, 64, 1.6384),
       PointOf(4096, 1, 0.01), PointOf(65536, 1, 9)},
      "x");
  REQUIRE_OK(curve);
  CHECK(curve->CostUs(512) == Approx(8));
  CHECK(curve->CostUs(4096) == Approx(8));
  CHECK(curve->CostUs(6144) == Approx(9));
  CHECK(curve->CostUs(8192) == Approx(10));
  CHECK(curve->CostUs(20480) == Approx(15));
  CHECK(curve->CostUs(32768) == Approx(20));
  CHECK(curve->CostUs(65536) == Approx(40));
  CHECK(curve->Best().read_bytes == 65536);
  CHECK(curve->points()[0].queue_depth == 1);
}

TEST_CASE("costs never fall, and per byte never rise, however noisy the curve", "[io]") {
  CheckCosts(DeviceCurve::Generic());
  const uint64_t seed = testing::Seed();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 20; ++round) {
    std::vector<CurvePoint> points;
    for (uint64_t bytes = 4096; bytes <= 1 << 20; bytes *= 2) {
      if (rng() % 4 == 0) continue;
      points.push_back(PointOf(bytes, 16, 0.01 + static_cast<double>(rng() % 1000) / 100));
    }
    if (points.empty()) continue;
    const auto curve = DeviceCurve::FromPoints(points, "x");
    REQUIRE_OK(curve);
    CheckCosts(*curve);
  }
}

}  // namespace
}  // namespace sluice
