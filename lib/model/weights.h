// The weights that stay in DRAM: everything but the FFN matrices.
#ifndef SLUICE_LIB_MODEL_WEIGHTS_H_
#define SLUICE_LIB_MODEL_WEIGHTS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/thread_pool.h"
#include "lib/format/bundle_file.h"
#include "lib/kernels/kernels.h"
#include "lib/model/model_config.h"
#include "lib/predictor/predictor.h"
#include "sluice/options.h"

namespace sluice {

// A projection: matrix and bias (nullptr: none). Borrowed from Weights.
struct Projection {
  kernels::Matrix matrix;
  const float* bias = nullptr;
};

// A layer norm; both pointers nullptr when it has no affine parameters.
struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

struct LayerWeights {
  Norm attn_norm, ffn_norm;
  Projection q, k, v, out;
  const float* up_bias = nullptr;    // [d_ffn]
  const float* down_bias = nullptr;  // [d_model]
  LowRankPredictor predictor;        // present() only where loaded
  LowRankPredictor lookahead;        // from the input of the layer before; present() as above
};

// Threads: const methods may overlap.
class Weights {
 public:
  // Reads and verifies the resident section, and the predictors when asked. With `ffn_only` of the
  // resident section the FFN's biases alone: what else layer() and the others give is empty then.
  // Matrices that `resident_type` quantises are read piece by piece and never held as they are in
  // the file; this thread reads, `pool` quantises. The file's directory must hold the tensors that
  // `config` calls for, in the right shapes: kDataLoss names the tensor, expected and found.
  // `progress`, which may be empty, gets the share that has been read; false stops with kCancelled.
  static absl::StatusOr<std::unique_ptr<Weights>> Load(
      const BundleFile& file, const ModelConfig& config, bool with_predictors,
      ResidentType resident_type, bool ffn_only, ThreadPool* pool,
      const std::function<bool(double)>& progress = nullptr);

  const LayerWeights& layer(uint32_t i) const { return layers_[i]; }
  uint32_t num_layers() const { return static_cast<uint32_t>(layers_.size()); }
  bool has_lookahead() const;
  const kernels::Matrix& embed_tokens() const { return embed_tokens_; }
  const kernels::Matrix& embed_positions() const { return embed_positions_; }
  const kernels::Matrix& lm_head() const { return lm_head_; }
  const kernels::Matrix* project_in() const { return project_in_.data ? &project_in_ : nullptr; }
  const kernels::Matrix* project_out() const {
    return project_out_.data ? &project_out_ : nullptr;
  }
  const Norm& final_norm() const { return final_norm_; }

  // A tensor as it was read: where it lies in the file, and its memory (padded to whole pages).
  struct Loaded {
    uint64_t offset = 0;
    absl::Span<std::byte> memory;
  };
  const std::vector<Loaded>& loaded() const { return loaded_; }

  // Bytes that Load() would allocate, from the directory alone.
  static uint64_t ResidentBytes(const BundleFile& file, ResidentType resident_type,
                                bool ffn_only = false);
  static uint64_t PredictorBytes(const BundleFile& file);

 private:
  class Loader;
  std::vector<AlignedBuffer> buffers_;
  std::vector<Loaded> loaded_;
  std::vector<LayerWeights> layers_;
  kernels::Matrix embed_tokens_, embed_positions_, lm_head_, project_in_, project_out_;
  Norm final_norm_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_WEIGHTS_H_
