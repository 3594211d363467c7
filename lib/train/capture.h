// Runs a model densely over calibration text and keeps what its FFN layers saw.
#ifndef SLUICE_LIB_TRAIN_CAPTURE_H_
#define SLUICE_LIB_TRAIN_CAPTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/perplexity.h"
#include "lib/train/float_matrix.h"

namespace sluice::train {

// FFN inputs of all layers as f16: a rounding far below what a predictor can make use of.
struct LayerInputs {
  uint32_t d_model = 0;
  std::vector<std::vector<std::byte>> layers;  // [layer]: [tokens, d_model]

  size_t tokens(uint32_t layer) const { return layers[layer].size() / (2 * d_model); }
  // Every `stride`th token of a layer.
  FloatMatrix Take(uint32_t layer, size_t stride) const;
};

// Text cut into windows as the perplexity is measured: the special tokens that the tokenizer puts
// in front, then `window_tokens` of text.
struct Windows {
  std::vector<int32_t> prefix;
  uint32_t window_tokens = 0;
  uint32_t context_tokens = 0;     // that a window needs
  uint64_t text_tokens = 0;        // of the whole text
  std::vector<int32_t> training;   // windows one after another
  std::vector<int32_t> held_out;   // from the text's last tenth
};

// Takes windows from all over the text, as many as the limits on memory and tokens allow; what
// CaptureInputs() keeps of them takes at most `max_bytes`. kInvalidArgument: too little text;
// kResourceExhausted: max_bytes is too little to train with.
absl::StatusOr<Windows> CutWindows(const std::vector<int32_t>& text,
                                   std::vector<int32_t> prefix, const ModelConfig& config,
                                   uint64_t max_bytes);

// What CaptureInputs() keeps in memory.
uint64_t CaptureBytes(const Windows& windows, const ModelConfig& config);

struct Capture {
  LayerInputs training, held_out;
  std::vector<double> residual_energy;  // [layer]: mean squared length of the stream after it
  std::vector<std::vector<float>> up_bias;  // [layer]: [d_ffn], or empty
  Perplexity dense;                     // of the held-out windows
};

// `model` in dense mode. The share done goes to `on_progress`; false stops with kCancelled.
absl::StatusOr<Capture> CaptureInputs(FlashModelImpl& model, const Windows& windows,
                                      absl::FunctionRef<bool(double)> on_progress);

}  // namespace sluice::train

#endif  // SLUICE_LIB_TRAIN_CAPTURE_H_
