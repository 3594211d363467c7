#include "bench/synth/layer_sets.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>

namespace sluice::synth {
namespace {

size_t CommonMembers(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  size_t common = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) ++common;
    const bool step_a = a[i] <= b[j], step_b = b[j] <= a[i];
    i += step_a;
    j += step_b;
  }
  return common;
}

std::vector<double> MeanOf(const float* x, size_t tokens, size_t d_model) {
  std::vector<double> mean(d_model);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < d_model; ++c) mean[c] += static_cast<double>(x[t * d_model + c]);
  }
  for (double& v : mean) v /= static_cast<double>(tokens);
  return mean;
}

}  // namespace

void LayerFigures::Add(const LayerFigures& other) {
  for (const auto member :
       {&LayerFigures::tokens, &LayerFigures::neurons, &LayerFigures::records,
        &LayerFigures::active, &LayerFigures::predicted, &LayerFigures::both,
        &LayerFigures::window_union, &LayerFigures::fresh, &LayerFigures::fresh_after_five,
        &LayerFigures::runs, &LayerFigures::record_union, &LayerFigures::guessed,
        &LayerFigures::guessed_right}) {
    this->*member += other.*member;
  }
}

nlohmann::json LayerFigures::ToJson() const {
  nlohmann::json json = {{"active", ActiveShare()},
                         {"predicted", PredictedShare()},
                         {"union_of_window", UnionShare()},
                         {"new_per_token", FreshShare()},
                         {"new_after_5_tokens", Ratio(fresh_after_five, neurons)},
                         {"recall", Recall()},
                         {"precision", Precision()},
                         {"mean_run", MeanRun()}};
  if (guessed > 0) {
    json["lookahead"] = {{"guessed", GuessedShare()},
                         {"recall", GuessRecall()},
                         {"precision", GuessPrecision()}};
  }
  return json;
}

LayerFigures Summarise(const LayerSets& sets, const RecordLayout& layout, size_t first) {
  LayerFigures out;
  const size_t tokens = sets.predicted.size();
  std::vector<size_t> last_use(layout.num_neurons);  // token + 1; 0: not yet
  const size_t records = layout.record_of(layout.num_neurons - 1) + 1;
  std::vector<size_t> record_use(records);
  for (size_t t = 0; t < tokens; ++t) {
    const bool counted = t >= first;
    uint32_t previous = UINT32_MAX;  // fresh neuron
    for (const uint32_t n : sets.predicted[t]) {
      const size_t gap = last_use[n] == 0 ? SIZE_MAX : t + 1 - last_use[n];
      last_use[n] = t + 1;
      record_use[layout.record_of(n)] = t + 1;
      if (!counted || gap < kWindowTokens) continue;
      out.fresh += 1;
      out.fresh_after_five += gap > kWindowTokens ? 1 : 0;
      out.runs += previous != UINT32_MAX && n == previous + 1 ? 0 : 1;
      previous = n;
    }
    if (!counted) continue;
    out.tokens += 1;
    const auto in_window = [&](size_t use) { return use != 0 && t + 1 - use < kWindowTokens; };
    out.window_union += static_cast<double>(
        std::count_if(last_use.begin(), last_use.end(), in_window));
    out.record_union += static_cast<double>(
        std::count_if(record_use.begin(), record_use.end(), in_window));
    out.active += static_cast<double>(sets.active[t].size());
    out.predicted += static_cast<double>(sets.predicted[t].size());
    out.both += static_cast<double>(CommonMembers(sets.active[t], sets.predicted[t]));
    if (sets.guessed.empty()) continue;
    out.guessed += static_cast<double>(sets.guessed[t].size());
    out.guessed_right += static_cast<double>(CommonMembers(sets.guessed[t], sets.predicted[t]));
  }
  out.neurons = out.tokens * layout.num_neurons;
  out.records = out.tokens * static_cast<double>(records);
  return out;
}

double MeanCosine(const float* a, const float* b, size_t tokens, size_t d_model) {
  const std::vector<double> mean_a = MeanOf(a, tokens, d_model);
  const std::vector<double> mean_b = MeanOf(b, tokens, d_model);
  double sum = 0;
  for (size_t t = 0; t < tokens; ++t) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t c = 0; c < d_model; ++c) {
      const double va = static_cast<double>(a[t * d_model + c]) - mean_a[c];
      const double vb = static_cast<double>(b[t * d_model + c]) - mean_b[c];
      ab += va * vb;
      aa += va * va;
      bb += vb * vb;
    }
    if (aa > 0 && bb > 0) sum += ab / std::sqrt(aa * bb);
  }
  return sum / static_cast<double>(tokens);
}

}  // namespace sluice::synth
