// The whole way: text in, a bundle file with predictors out.
#include <string>

#include <nlohmann/json.hpp>

#include "lib/format/bundle_file.h"
#include "lib/format/part_set.h"
#include "lib/io/file.h"
#include "sluice/convert.h"
#include "sluice/train.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

const std::string kModel = SLUICE_TEST_SOURCE_DIR "/examples/models/tales-7m";

// A text just long enough: more would take longer and say no more.
std::string ShortText() {
  return testing::ReadFileOrDie(kModel + "/calibration.txt").substr(0, 16000);
}

TEST_CASE("Training gives the same file with any number of threads", "[train]") {
  const testing::TempDir dir;
  testing::WriteFileOrDie(dir.File("text.txt"), ShortText());
  REQUIRE_OK(Convert(kModel, dir.File("plain.flash"), ConvertOptions()));
  std::vector<std::string> files;
  for (uint32_t threads : {1u, 3u}) {
    const std::string path = dir.File("trained.flash");
    testing::WriteFileOrDie(path, testing::ReadFileOrDie(dir.File("plain.flash")));
    TrainOptions options;
    options.threads = threads;
    options.rank = 8;
    const auto layers = TrainPredictors(path, dir.File("text.txt"), options);
    REQUIRE_OK(layers);
    CHECK(layers->size() == 8);
    files.push_back(testing::ReadFileOrDie(path));
  }
  CHECK(files[0] == files[1]);

  // A file in parts stays in parts, of the same size.
  ConvertOptions in_parts;
  in_parts.part_bytes = 1 << 20;
  const std::string parted = dir.File("parts.flash");
  const auto report = Convert(kModel, parted, in_parts);
  REQUIRE_OK(report);
  CHECK(report->num_parts > 4);
  TrainOptions train;
  train.rank = 8;
  REQUIRE_OK(TrainPredictors(parted, dir.File("text.txt"), train));
  std::string payload;
  uint32_t num_parts = 0;
  for (std::string path = parted; FileExists(path); path = PartPath(parted, num_parts + 1)) {
    const std::string part = testing::ReadFileOrDie(path);
    CHECK(part.size() <= in_parts.part_bytes);
    payload += part.substr(kPartPageBytes);
    ++num_parts;
  }
  CHECK(payload == files[0]);
  CHECK(num_parts >= report->num_parts);
  const auto trained = BundleFile::Open(parted);
  REQUIRE_OK(trained);
  CHECK((*trained)->part_bytes() == in_parts.part_bytes);
  in_parts.part_bytes = 1000;
  CHECK(absl::IsInvalidArgument(Convert(kModel, parted, in_parts).status()));

  const auto file = BundleFile::Open(dir.File("trained.flash"));
  REQUIRE_OK(file);
  const nlohmann::json& manifest = (*file)->manifest();
  CHECK(manifest["predictors"]["training"]["text"] == "text.txt");
  CHECK(manifest["predictors"]["layers"].size() == 8);
  CHECK(manifest["quality"][0]["perplexity_dense"].get<double>() > 1);
  for (const auto& layer : manifest["predictors"]["layers"]) {
    CHECK(layer["rank"] == 8);
    CHECK(layer["record_union_5"].get<double>() <= 1);
  }
}

TEST_CASE("A training that fails or is stopped leaves the file as it was", "[train]") {
  const testing::TempDir dir;
  const std::string path = dir.File("model.flash"), text = dir.File("text.txt");
  REQUIRE_OK(Convert(kModel, path, ConvertOptions()));
  const std::string before = testing::ReadFileOrDie(path);
  testing::WriteFileOrDie(text, "Too short.");
  CHECK(TrainPredictors(path, text, TrainOptions()).status().code() ==
        absl::StatusCode::kInvalidArgument);
  testing::WriteFileOrDie(text, ShortText());
  for (const std::string stop : {"calibrate", "train"}) {
    TrainOptions options;
    options.on_progress = [&](const std::string& stage, double) { return stage != stop; };
    CHECK(TrainPredictors(path, text, options).status().code() == absl::StatusCode::kCancelled);
  }
  TrainOptions options;
  options.parameter_share = -1;
  CHECK(TrainPredictors(path, text, options).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(testing::ReadFileOrDie(path) == before);
}

TEST_CASE("A model without a tokenizer cannot be trained", "[train]") {
  const testing::TempDir dir;
  testing::WriteTinyModel(dir.File("tiny.flash"), {});
  testing::WriteFileOrDie(dir.File("text.txt"), "Once upon a time");
  CHECK(TrainPredictors(dir.File("tiny.flash"), dir.File("text.txt"), TrainOptions())
            .status()
            .code() == absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace sluice
