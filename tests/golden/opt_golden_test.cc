// Every published form of an OPT checkpoint, converted and compared with the logits that Hugging
// Face transformers computed from it (make_golden.py).

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "sluice/convert.h"
#include "sluice/evaluate.h"
#include "sluice/flash_model.h"
#include "tests/support/catch.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

const std::string kGolden = std::string(SLUICE_TEST_SOURCE_DIR) + "/tests/golden/";
const std::string kTales = std::string(SLUICE_TEST_SOURCE_DIR) + "/examples/models/tales-7m";

// Largest difference that counts as equal, as a share of the logits' range.
constexpr double kTolerance = 1e-3;

std::vector<float> ReadFloats(const std::string& path) {
  const std::string bytes = testing::ReadFileOrDie(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy_n(bytes.data(), values.size() * sizeof(float),
              reinterpret_cast<char*>(values.data()));
  return values;
}

struct Golden {
  nlohmann::json expected;
  std::vector<float> logits;
};

Golden ReadGolden(const std::string& folder) {
  return {nlohmann::json::parse(testing::ReadFileOrDie(folder + "/expected.json")),
          ReadFloats(folder + "/logits.f32")};
}

std::unique_ptr<Session> OpenSession(const std::string& path, std::shared_ptr<FlashModel>* model) {
  ModelOptions options;
  options.mode = Mode::kDense;
  auto opened = FlashModel::Open(path, options);
  REQUIRE_OK(opened);
  *model = *opened;
  auto session = (*model)->CreateSession();
  REQUIRE_OK(session);
  return *std::move(session);
}

void CheckLogits(Session& session, const Golden& golden) {
  const auto prompt = golden.expected["prompt"].get<std::vector<int32_t>>();
  std::vector<float> logits;
  PrefillOptions options;
  options.on_logits = [&](uint32_t, absl::Span<const float> row) {
    logits.insert(logits.end(), row.begin(), row.end());
  };
  REQUIRE_OK(session.Prefill(prompt, {}, options));
  REQUIRE(logits.size() == golden.logits.size());
  const auto [low, high] = std::minmax_element(golden.logits.begin(), golden.logits.end());
  const double range = static_cast<double>(*high) - *low;
  REQUIRE(range > 0);
  double worst = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(logits[i]) - golden.logits[i]));
  }
  INFO("largest difference " << worst << " at a range of " << range);
  CHECK(worst <= kTolerance * range);
  session.Reset();
}

void CheckGreedy(Session& session, const Golden& golden) {
  const auto prompt = golden.expected["greedy_prompt"].get<std::vector<int32_t>>();
  const auto greedy = golden.expected["greedy"].get<std::vector<int32_t>>();
  GenerateOptions options;
  options.max_tokens = static_cast<uint32_t>(greedy.size());
  options.ignore_eos = true;
  auto result = session.GenerateFromTokens(prompt, options);
  REQUIRE_OK(result);
  CHECK(result->tokens == greedy);
  session.Reset();
}

// From the folder's tokenizer files, in either form, through the bundle file.
void CheckText(const FlashModel& model, const Golden& golden) {
  const bool has_text = golden.expected.contains("tokenized");
  CHECK(model.info().has_tokenizer == has_text);
  if (!has_text) return;
  for (const auto& sample : golden.expected["tokenized"]) {
    const auto text = sample["text"].get<std::string>();
    const auto expected = sample["ids"].get<std::vector<int32_t>>();
    INFO("text " << text);
    auto ids = model.Tokenize(text, true);
    REQUIRE_OK(ids);
    CHECK(*ids == expected);
  }
  auto text = model.Detokenize(golden.expected["greedy"].get<std::vector<int32_t>>());
  REQUIRE_OK(text);
  CHECK(*text == golden.expected["greedy_text"].get<std::string>());
}

TEST_CASE("converted checkpoints have the logits of transformers", "[model][golden]") {
  std::vector<std::string> cases;
  for (const auto& entry : fs::directory_iterator(kGolden + "opt")) {
    if (entry.is_directory()) cases.push_back(entry.path().filename().string());
  }
  std::sort(cases.begin(), cases.end());
  REQUIRE(cases.size() >= 28);
  testing::TempDir dir;
  for (const std::string& name : cases) {
    INFO("case " << name);
    const std::string folder = kGolden + "opt/" + name;
    const Golden golden = ReadGolden(folder);
    const std::string path = dir.File(name + ".flash");
    auto report = Convert(folder, path, ConvertOptions());
    REQUIRE_OK(report);
    std::shared_ptr<FlashModel> model;
    const std::unique_ptr<Session> session = OpenSession(path, &model);
    CheckLogits(*session, golden);
    CheckGreedy(*session, golden);
    CheckText(*model, golden);
    if (absl::StrContains(name, "extra-tensors")) {
      CHECK(report->skipped_tensors.size() >= 4);
    } else {
      CHECK(report->skipped_tensors.empty());
    }
    if (golden.expected.contains("eos_token_ids")) {
      auto eos = golden.expected["eos_token_ids"].get<std::vector<int32_t>>();
      auto ours = model->info().eos_ids;
      std::sort(eos.begin(), eos.end());
      std::sort(ours.begin(), ours.end());
      CHECK(std::includes(ours.begin(), ours.end(), eos.begin(), eos.end()));
    }
  }
}

TEST_CASE("tales-7m has the logits and the sparsity of transformers", "[model][golden]") {
  const Golden golden = ReadGolden(kGolden + "tales-7m");
  testing::TempDir dir;
  const std::string path = dir.File("tales.flash");
  REQUIRE_OK(Convert(kTales, path, ConvertOptions()));
  std::shared_ptr<FlashModel> model;
  std::unique_ptr<Session> session = OpenSession(path, &model);
  CheckLogits(*session, golden);
  CheckGreedy(*session, golden);
  session.reset();
  // A slice keeps the test short; program_quality_test.py has the whole text's perplexity.
  EvaluateOptions options;
  options.max_tokens = 256 * 8;
  const std::string text = testing::ReadFileOrDie(kTales + "/held-out.txt");
  auto report = Evaluate(*model, text, options);
  REQUIRE_OK(report);
  CHECK(report->tokens == 256 * 8);
  CHECK(report->active_fraction > 0.03);
  CHECK(report->active_fraction < 0.06);
}

}  // namespace
}  // namespace sluice
