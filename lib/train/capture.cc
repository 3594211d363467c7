#include "lib/train/capture.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/kernels/kernels.h"

namespace sluice::train {
namespace {

constexpr uint32_t kWindowTokens = 256;
// Held out: a tenth, and with fewer windows than this not even one.
constexpr size_t kMinWindows = 10;
constexpr size_t kHeldOutShare = 10;
// What the inputs of all layers may take. A model so large that this would be few tokens gets up
// to kMaxBytes: with fewer than kWantedTokens the predictors learn the text and not the model.
constexpr uint64_t kUsualBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxBytes = uint64_t{4} << 30;
constexpr uint64_t kWantedTokens = 16384;
// More text than this makes predictors no better, only later.
constexpr uint64_t kMaxTokens = uint64_t{1} << 18;
constexpr float kLargestF16 = 65504;

// `count` of `windows` windows, evenly spread, that begin at `first`.
std::vector<int32_t> Spread(const std::vector<int32_t>& text, size_t window, size_t first,
                            size_t windows, size_t count) {
  std::vector<int32_t> out;
  out.reserve(count * window);
  for (size_t i = 0; i < count; ++i) {
    const size_t at = (first + i * windows / count) * window;
    out.insert(out.end(), text.begin() + static_cast<ptrdiff_t>(at),
               text.begin() + static_cast<ptrdiff_t>(at + window));
  }
  return out;
}

class Recorder : public FfnObserver {
 public:
  Recorder(const ModelConfig& config, size_t tokens) : energy_(config.num_layers) {
    inputs_.d_model = config.d_model;
    inputs_.layers.resize(config.num_layers);
    for (auto& layer : inputs_.layers) layer.reserve(tokens * config.d_model * 2);
  }

  void OnInput(uint32_t layer, size_t num_tokens, const float* x) override {
    std::vector<std::byte>& out = inputs_.layers[layer];
    const size_t count = num_tokens * inputs_.d_model, at = out.size();
    out.resize(at + count * 2);
    if (kernels::FromF32(ElementType::kF16, x, count, out.data() + at) == count) return;
    std::vector<float> clamped(x, x + count);
    for (float& v : clamped) v = std::clamp(v, -kLargestF16, kLargestF16);
    kernels::FromF32(ElementType::kF16, clamped.data(), count, out.data() + at);
  }
  void OnNeurons(uint32_t, size_t, absl::Span<const uint32_t>, const float*,
                 const NeuronMasks&) override {}
  void OnResidual(uint32_t layer, size_t num_tokens, const float* hidden) override {
    double sum = 0;
    for (size_t i = 0; i < num_tokens * inputs_.d_model; ++i) {
      sum += static_cast<double>(hidden[i]) * static_cast<double>(hidden[i]);
    }
    energy_[layer] += sum;
  }

  LayerInputs TakeInputs() { return std::move(inputs_); }
  std::vector<double> MeanEnergy() const {
    std::vector<double> mean = energy_;
    for (uint32_t i = 0; i < mean.size(); ++i) {
      mean[i] /= static_cast<double>(std::max<size_t>(inputs_.tokens(i), 1));
    }
    return mean;
  }

 private:
  LayerInputs inputs_;
  std::vector<double> energy_;
};

// The last token of a window is predicted, not fed.
size_t FedTokens(const Windows& windows) {
  return windows.prefix.size() + windows.window_tokens - 1;
}

absl::Status FeedTraining(SessionImpl& session, const Windows& windows,
                          absl::FunctionRef<bool(double)> on_progress) {
  const size_t window = windows.window_tokens, count = windows.training.size() / window;
  for (size_t w = 0; w < count; ++w) {
    std::vector<int32_t> ids = windows.prefix;
    const auto first = windows.training.begin() + static_cast<ptrdiff_t>(w * window);
    ids.insert(ids.end(), first, first + static_cast<ptrdiff_t>(window - 1));
    session.Reset();
    SLUICE_RETURN_IF_ERROR(session.Prefill(ids, {}, PrefillOptions()));
    if (!on_progress(static_cast<double>(w + 1) / static_cast<double>(count))) {
      return absl::CancelledError("cancelled");
    }
  }
  return absl::OkStatus();
}

}  // namespace

FloatMatrix LayerInputs::Take(uint32_t layer, size_t stride) const {
  FloatMatrix out((tokens(layer) + stride - 1) / stride, d_model);
  for (size_t t = 0; t < out.rows; ++t) {
    kernels::ToF32(ElementType::kF16, layers[layer].data() + t * stride * d_model * 2, d_model,
                   out.row(t));
  }
  return out;
}

uint64_t CaptureBytes(const Windows& windows, const ModelConfig& config) {
  const uint64_t count =
      (windows.training.size() + windows.held_out.size()) / windows.window_tokens;
  return count * FedTokens(windows) * config.num_layers * config.d_model * 2;
}

absl::StatusOr<Windows> CutWindows(const std::vector<int32_t>& text,
                                   std::vector<int32_t> prefix, const ModelConfig& config,
                                   uint64_t max_bytes) {
  Windows out;
  out.prefix = std::move(prefix);
  const size_t special = out.prefix.size();
  if (special >= config.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tokenizer puts ", special, " special tokens in front of a text, the ",
                     "model has ", config.max_positions, " positions"));
  }
  out.window_tokens = static_cast<uint32_t>(
      std::min<size_t>(kWindowTokens, config.max_positions + 1 - special));
  const size_t fed = FedTokens(out);
  out.context_tokens = static_cast<uint32_t>(fed);
  out.text_tokens = text.size();
  const size_t windows = text.size() / out.window_tokens;
  if (windows < kMinWindows) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text has ", text.size(), " tokens, training needs at least ",
                     kMinWindows * out.window_tokens, " (", kMinWindows, " windows of ",
                     out.window_tokens, ")"));
  }
  const uint64_t per_token = uint64_t{config.num_layers} * config.d_model * 2;
  const uint64_t bytes =
      std::min(std::clamp(kWantedTokens * per_token, kUsualBytes, kMaxBytes), max_bytes);
  if (bytes / per_token < kMinWindows * fed) {
    return absl::ResourceExhaustedError(
        absl::StrCat("training keeps at least ", kMinWindows * fed * per_token,
                     " bytes of layer inputs, there is room for ", bytes));
  }
  const size_t room = std::max<size_t>(std::min(kMaxTokens, bytes / per_token) / fed, 2);
  const size_t held_out = windows / kHeldOutShare, training = windows - held_out;
  const size_t held_out_used = std::min(held_out, std::max<size_t>(room / kHeldOutShare, 1));
  const size_t training_used = std::min(training, std::max<size_t>(room - held_out_used, 1));
  out.training = Spread(text, out.window_tokens, 0, training, training_used);
  out.held_out = Spread(text, out.window_tokens, training, held_out, held_out_used);
  return out;
}

absl::StatusOr<Capture> CaptureInputs(FlashModelImpl& model, const Windows& windows,
                                      absl::FunctionRef<bool(double)> on_progress) {
  const ModelConfig& config = model.config();
  const size_t train_windows = windows.training.size() / windows.window_tokens;
  const size_t held_out_windows = windows.held_out.size() / windows.window_tokens;
  const double train_share = static_cast<double>(train_windows) /
                             static_cast<double>(train_windows + held_out_windows);
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<SessionImpl> session, model.CreateSessionImpl());
  Capture out;
  Recorder training(config, train_windows * FedTokens(windows));
  session->set_observer(&training);
  SLUICE_RETURN_IF_ERROR(FeedTraining(*session, windows, [&](double done) {
    return on_progress(done * train_share);
  }));
  Recorder held_out(config, held_out_windows * FedTokens(windows));
  session->set_observer(&held_out);
  PerplexityOptions perplexity;
  perplexity.prefix = windows.prefix;
  perplexity.window_tokens = windows.window_tokens;
  perplexity.on_progress = [&](uint64_t done, uint64_t total) {
    const double share = static_cast<double>(done) / static_cast<double>(total);
    return on_progress(train_share + share * (1 - train_share));
  };
  SLUICE_ASSIGN_OR_RETURN(out.dense,
                          MeasurePerplexity(*session, windows.held_out, perplexity));
  session->set_observer(nullptr);
  out.residual_energy = training.MeanEnergy();
  out.training = training.TakeInputs();
  out.held_out = held_out.TakeInputs();
  for (uint32_t i = 0; i < config.num_layers; ++i) {
    const float* bias = model.weights().layer(i).up_bias;
    out.up_bias.emplace_back();
    if (bias != nullptr) out.up_bias.back().assign(bias, bias + config.d_ffn);
  }
  return out;
}

}  // namespace sluice::train
