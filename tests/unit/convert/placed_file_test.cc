// The whole way: a checkpoint and a text in, a file with its neurons placed out.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "lib/format/bundle_file.h"
#include "lib/format/neuron_order.h"
#include "sluice/convert.h"
#include "sluice/flash_model.h"
#include "sluice/inspect.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

const std::string kModel = SLUICE_TEST_SOURCE_DIR "/examples/models/tales-7m";

ConvertOptions Options(const testing::TempDir& dir, uint32_t threads) {
  testing::WriteFileOrDie(dir.File("text.txt"),
                          testing::ReadFileOrDie(kModel + "/calibration.txt").substr(0, 16000));
  ConvertOptions options;
  options.calibration_path = dir.File("text.txt");
  options.train.rank = 8;
  options.train.threads = threads;
  return options;
}

std::vector<std::byte> Bundle(const BundleFile& file, uint32_t layer, uint32_t place) {
  const RecordLayout& layout = file.layers()[layer];
  std::vector<std::byte> record(layout.record_bytes);
  REQUIRE_OK(file.storage()->ReadAt(layout.record_offset(layout.record_of(place)),
                                    absl::MakeSpan(record)));
  const auto begin = record.begin() + layout.up_offset(place);
  return {begin, begin + layout.bundle_bytes()};
}

std::vector<std::byte> Tensor(const BundleFile& file, const std::string& name) {
  const TensorEntry* entry = file.FindTensor(name);
  REQUIRE(entry != nullptr);
  std::vector<std::byte> data(entry->bytes);
  REQUIRE_OK(file.ReadTensor(*entry, absl::MakeSpan(data)));
  return data;
}

std::vector<float> Logits(const std::string& path, Mode mode) {
  ModelOptions options;
  options.mode = mode;
  const auto model = FlashModel::Open(path, options);
  REQUIRE_OK(model);
  const auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  return testing::AllLogits(**session, testing::RandomTokens(testing::Seed(), 40, 4096));
}

void CheckClose(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  const auto [low, high] = std::minmax_element(a.begin(), a.end());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  // As the goldens have it.
  CHECK(worst <= 1e-3 * (static_cast<double>(*high) - static_cast<double>(*low)));
}

// The neurons of `placed` are those of `plain`, in the order of its manifest.
void CheckMoved(const BundleFile& plain, const BundleFile& placed, bool predictors) {
  const nlohmann::json& placement = placed.manifest()["placement"];
  CHECK(placement["method"] == "coactivation");
  CHECK(placement["text"] == "text.txt");
  REQUIRE(placement["layers"].size() == plain.layers().size());
  for (uint32_t layer = 0; layer < plain.layers().size(); ++layer) {
    const uint32_t neurons = plain.layers()[layer].num_neurons;
    const auto order = OrderFromText(placement["layers"][layer]["order"].get<std::string>(),
                                     neurons, "layer");
    REQUIRE_OK(order);
    CHECK_FALSE(std::is_sorted(order->begin(), order->end()));
    const std::string stem = absl::StrCat("layers.", layer, ".");
    std::vector<std::string> names = {stem + "ffn.up.bias"};
    if (predictors) names.insert(names.end(), {stem + "predictor.out", stem + "predictor.bias"});
    for (const std::string& name : names) {
      const auto before = Tensor(plain, name), after = Tensor(placed, name);
      const size_t row = before.size() / neurons;
      for (uint32_t p = 0; p < neurons; ++p) {
        REQUIRE(std::memcmp(after.data() + p * row, before.data() + (*order)[p] * row, row) == 0);
      }
    }
    for (uint32_t p = 0; p < neurons; p += 37) {
      CHECK(Bundle(placed, layer, p) == Bundle(plain, layer, (*order)[p]));
    }
  }
}

void CheckLookahead(const BundleFile& file) {
  CHECK(file.FindTensor("layers.0.lookahead.in") == nullptr);
  for (uint32_t layer = 1; layer < file.layers().size(); ++layer) {
    const std::string stem = absl::StrCat("layers.", layer, ".");
    const TensorEntry* in = file.FindTensor(stem + "lookahead.in");
    const TensorEntry* bias = file.FindTensor(stem + "lookahead.bias");
    REQUIRE(in != nullptr);
    REQUIRE(bias != nullptr);
    CHECK(in->shape == std::vector<uint64_t>{8, file.layers()[layer].row_elements});
    CHECK(in->type == file.FindTensor(stem + "predictor.out")->type);
    CHECK(bias->shape == std::vector<uint64_t>{file.layers()[layer].num_neurons});
    CHECK(bias->type == ElementType::kF32);
    const nlohmann::json& report = file.manifest()["predictors"]["layers"][layer]["lookahead"];
    CHECK(report["recall"].get<double>() > 0.5);
    CHECK(report["precision"].get<double>() > 0.5);
  }
}

TEST_CASE("Placing moves neurons and changes nothing else", "[convert]") {
  const testing::TempDir dir;
  const std::string plain = dir.File("plain.flash"), placed = dir.File("placed.flash");
  ConvertOptions options = Options(dir, 2);
  REQUIRE_OK(Convert(kModel, placed, options));
  options.placement = false;
  REQUIRE_OK(Convert(kModel, plain, options));
  const auto plain_file = BundleFile::Open(plain), placed_file = BundleFile::Open(placed);
  REQUIRE_OK(plain_file);
  REQUIRE_OK(placed_file);
  CHECK_FALSE((*plain_file)->manifest().contains("placement"));
  // A record of the one must not pass for one of the other.
  CHECK((*plain_file)->uuid() != (*placed_file)->uuid());
  CheckMoved(**plain_file, **placed_file, true);
  CheckLookahead(**plain_file);
  CheckLookahead(**placed_file);
  const auto verified = VerifyFile(placed, {});
  REQUIRE_OK(verified);
  CHECK(verified->bad.empty());
  CheckClose(Logits(plain, Mode::kDense), Logits(placed, Mode::kDense));
  CheckClose(Logits(plain, Mode::kSparse), Logits(placed, Mode::kSparse));

  const auto inspected = InspectJson(placed);
  REQUIRE_OK(inspected);
  CHECK(nlohmann::json::parse(*inspected)["placement"]["tokens"].get<int>() > 1000);

  // Training once more keeps the neurons where they are.
  const auto before = (*placed_file)->manifest()["placement"];
  REQUIRE_OK(TrainPredictors(placed, options.calibration_path, options.train));
  const auto again = BundleFile::Open(placed);
  REQUIRE_OK(again);
  CHECK((*again)->manifest()["placement"] == before);
  CheckMoved(**plain_file, **again, false);
  CheckLookahead(**again);
}

TEST_CASE("A placed file is the same for any number of threads", "[convert]") {
  const testing::TempDir dir;
  std::vector<std::string> files;
  for (const uint32_t threads : {1u, 3u}) {
    REQUIRE_OK(Convert(kModel, dir.File("m.flash"), Options(dir, threads)));
    files.push_back(testing::ReadFileOrDie(dir.File("m.flash")));
  }
  CHECK(files[0] == files[1]);
}

TEST_CASE("A placing that is stopped leaves nothing", "[convert]") {
  const testing::TempDir dir;
  ConvertOptions options = Options(dir, 2);
  options.on_progress = [](const std::string& stage, double) { return stage != "place"; };
  CHECK(Convert(kModel, dir.File("m.flash"), options).status().code() ==
        absl::StatusCode::kCancelled);
  const std::filesystem::directory_iterator all(dir.path());
  CHECK(std::distance(begin(all), end(all)) == 1);  // the text
}

}  // namespace
}  // namespace sluice
