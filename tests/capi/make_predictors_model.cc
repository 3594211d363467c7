// Writes the model of the hint tests: the shape of tales-7m, sparse, and with lookahead predictors
// that guess exactly what the predictors say for the same input.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

TEST_CASE("a model with predictors is written", "[capi]") {
  testing::TinyModelOptions tiny;
  tiny.d_model = 256;
  tiny.d_ffn = 1024;
  tiny.num_layers = 8;
  tiny.predictor_rank = 24;
  tiny.edit = [](const std::string& name, std::vector<float>* values) {
    const bool guess = absl::StrContains(name, ".lookahead.");
    if (!guess && !absl::StrContains(name, ".predictor.")) return;
    if (absl::EndsWith(name, ".bias")) std::fill(values->begin(), values->end(), -0.3f);
    if (!absl::EndsWith(name, ".in")) return;
    std::mt19937_64 random(name[7]);  // "layers.N.", the same for both
    std::normal_distribution<float> normal(0, 1.0f / 16);
    for (float& v : *values) v = normal(random);
  };
  testing::WriteTinyModel(SLUICE_PREDICTORS_MODEL, tiny);
}

}  // namespace
}  // namespace sluice
