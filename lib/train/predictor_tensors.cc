#include "lib/train/predictor_tensors.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "lib/kernels/kernels.h"

namespace sluice::train {
namespace {

// False, with nothing changed, when a value overflows.
bool RoundToF16(FloatMatrix* m) {
  std::vector<std::byte> half(m->values.size() * ElementBytes(ElementType::kF16));
  const size_t count = m->values.size();
  if (kernels::FromF32(ElementType::kF16, m->values.data(), count, half.data()) != count) {
    return false;
  }
  kernels::ToF32(ElementType::kF16, half.data(), count, m->values.data());
  return true;
}

// out (in mean) of each neuron.
std::vector<double> ScoreAt(const std::vector<float>& mean, const Factors& factors) {
  std::vector<double> hidden(factors.rank()), scores(factors.bias.size());
  for (size_t c = 0; c < mean.size(); ++c) {
    for (size_t r = 0; r < hidden.size(); ++r) {
      hidden[r] += static_cast<double>(factors.in_t.row(c)[r]) * static_cast<double>(mean[c]);
    }
  }
  for (size_t r = 0; r < hidden.size(); ++r) {
    for (size_t n = 0; n < scores.size(); ++n) {
      scores[n] += static_cast<double>(factors.out_t.row(r)[n]) * hidden[r];
    }
  }
  return scores;
}

}  // namespace

NamedTensor MakeNamedTensor(std::string name, ElementType type, std::vector<uint64_t> shape,
                            const std::vector<float>& values) {
  NamedTensor tensor{std::move(name), type, std::move(shape), {}};
  tensor.data.resize(values.size() * ElementBytes(type));
  kernels::FromF32(type, values.data(), values.size(), tensor.data.data());
  return tensor;
}

StoredPredictor Round(const Factors& factors, const std::vector<float>& input_mean) {
  StoredPredictor out;
  out.rounded = factors;
  if (!RoundToF16(&out.rounded.in_t) || !RoundToF16(&out.rounded.out_t)) {
    out.type = ElementType::kF32;
    out.rounded = factors;
    return out;
  }
  const std::vector<double> exact = ScoreAt(input_mean, factors);
  const std::vector<double> rounded = ScoreAt(input_mean, out.rounded);
  for (size_t n = 0; n < exact.size(); ++n) {
    out.rounded.bias[n] = static_cast<float>(static_cast<double>(factors.bias[n]) + exact[n] -
                                             rounded[n]);
  }
  return out;
}

void AppendTensors(uint32_t layer, const StoredPredictor& predictor, float threshold,
                   std::vector<NamedTensor>* tensors) {
  const std::string name = absl::StrCat("layers.", layer, ".predictor.");
  const Factors& f = predictor.rounded;
  std::vector<float> bias = f.bias;
  for (float& b : bias) b -= threshold;
  const uint64_t rank = f.rank(), d_model = f.in_t.rows, d_ffn = f.bias.size();
  tensors->push_back(
      MakeNamedTensor(name + "in", predictor.type, {rank, d_model}, Transposed(f.in_t).values));
  tensors->push_back(
      MakeNamedTensor(name + "out", predictor.type, {d_ffn, rank}, Transposed(f.out_t).values));
  tensors->push_back(MakeNamedTensor(name + "bias", ElementType::kF32, {d_ffn}, bias));
}

}  // namespace sluice::train
