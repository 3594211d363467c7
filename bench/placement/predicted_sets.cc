#include "bench/placement/predicted_sets.h"

#include <algorithm>

#include "lib/base/status_macros.h"
#include "lib/io/file.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/perplexity.h"
#include "lib/model/sparsity_meter.h"

namespace sluice::bench {
namespace {

constexpr uint32_t kWindowTokens = 256;
constexpr uint64_t kMaxTextBytes = uint64_t{64} << 20;
constexpr size_t kUnionOf5 = 2;
static_assert(kUnionWindows[kUnionOf5] == 5);

class Recorder : public FfnObserver {
 public:
  explicit Recorder(absl::Span<const RecordLayout> layouts)
      : meter_(layouts, /*use_truth=*/false), layers_(layouts.size()) {}

  void OnInput(uint32_t layer, size_t num_tokens, const float* x) override {
    layers_[layer].resize(layers_[layer].size() + num_tokens);
    meter_.OnInput(layer, num_tokens, x);
  }
  void OnNeurons(uint32_t layer, size_t num_tokens, absl::Span<const uint32_t> neurons,
                 const float* outputs, const NeuronMasks& predicted) override {
    const size_t first = layers_[layer].size() - num_tokens;
    for (const uint32_t n : neurons) {
      for (size_t t = 0; t < num_tokens; ++t) {
        if (predicted.Has(n, t)) layers_[layer][first + t].push_back(n);
      }
    }
    meter_.OnNeurons(layer, num_tokens, neurons, outputs, predicted);
  }

  void Finish(ModelSets* out) {
    meter_.Finish();
    for (const LayerSparsity& layer : meter_.layers()) {
      out->need.push_back(static_cast<double>(layer.record_union[kUnionOf5]) /
                          static_cast<double>(std::max<uint64_t>(layer.tokens, 1)));
    }
    out->layers = std::move(layers_);
  }

 private:
  SparsityMeter meter_;
  std::vector<Sets> layers_;
};

}  // namespace

absl::StatusOr<ModelSets> PredictSets(const std::string& model_path, const std::string& text_path,
                                      size_t max_tokens) {
  SLUICE_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(text_path, kMaxTextBytes));
  ModelOptions options;
  options.mode = Mode::kSparse;
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<FlashModelImpl> model,
                          FlashModelImpl::Open(model_path, options, nullptr));
  SLUICE_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, model->Tokenize(text, false));
  tokens.resize(std::min(tokens.size(), max_tokens));
  PerplexityOptions windows;
  SLUICE_ASSIGN_OR_RETURN(windows.prefix, model->Tokenize("", true));
  windows.window_tokens = kWindowTokens;
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<SessionImpl> session, model->CreateSessionImpl());
  ModelSets out;
  out.layouts = model->file().layers();
  Recorder recorder(out.layouts);
  session->set_observer(&recorder);
  SLUICE_RETURN_IF_ERROR(MeasurePerplexity(*session, tokens, windows).status());
  session->set_observer(nullptr);
  recorder.Finish(&out);
  return out;
}

}  // namespace sluice::bench
