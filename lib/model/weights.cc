#include "lib/model/weights.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/io/host.h"

namespace sluice {
namespace {

std::string ShapeText(const std::vector<uint64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// What is read at a time of a matrix that is quantised.
constexpr uint64_t kPieceBytes = 4 << 20;

// The matrices of the products that every token computes in full.
bool IsDenseMatrix(absl::string_view name) {
  for (absl::string_view whole : {"embed_tokens", "lm_head", "project_in", "project_out"}) {
    if (name == whole) return true;
  }
  for (absl::string_view end : {".attn.q.weight", ".attn.k.weight", ".attn.v.weight",
                                ".attn.out.weight"}) {
    if (absl::EndsWith(name, end)) return true;
  }
  return false;
}

// Its size as q8, or 0 where it stays as it is in the file: rows of a few columns, which padding
// would make larger.
uint64_t QuantizedBytes(const TensorEntry& entry, ResidentType resident_type) {
  if (resident_type != ResidentType::kQ8 || entry.shape.size() != 2 ||
      !IsDenseMatrix(entry.name)) {
    return 0;
  }
  // The shape's product is known to be within the file.
  const Checked bytes = Checked(entry.shape[0]) * kernels::Q8RowBytes(entry.shape[1]);
  return entry.bytes > 0 && bytes.valid_and_at_most(entry.bytes - 1) ? bytes.value() : 0;
}

bool IsFfnBias(absl::string_view name) {
  return absl::EndsWith(name, ".ffn.up.bias") || absl::EndsWith(name, ".ffn.down.bias");
}

uint64_t SectionBytes(const BundleFile& file, SectionKind section, ResidentType resident_type,
                      bool ffn_only) {
  uint64_t total = 0;
  for (const TensorEntry& entry : file.tensors()) {
    if (entry.section != section || (ffn_only && !IsFfnBias(entry.name))) continue;
    const uint64_t quantized = QuantizedBytes(entry, resident_type);
    total += RoundUp(quantized != 0 ? quantized : entry.bytes, kIoAlignment);
  }
  return total;
}

}  // namespace

// Loads tensors one by one into `weights`.
class Weights::Loader {
 public:
  Loader(const BundleFile& file, const ModelConfig& config, ResidentType resident_type,
         ThreadPool* pool, const std::function<bool(double)>& progress, Weights* weights)
      : file_(file),
        config_(config),
        resident_type_(resident_type),
        pool_(pool),
        weights_(weights) {
    if (!progress) return;
    on_read_ = [this, &progress](uint64_t bytes) {
      bytes_read_ += bytes;
      return progress(static_cast<double>(bytes_read_) / static_cast<double>(bytes_in_all_));
    };
  }

  absl::Status LoadAll(bool with_predictors, bool ffn_only) {
    for (const TensorEntry& entry : file_.tensors()) {
      const bool predictor = entry.section == SectionKind::kPredictors;
      const bool wanted = predictor ? with_predictors : !ffn_only || IsFfnBias(entry.name);
      if (wanted) bytes_in_all_ += entry.bytes;
    }
    if (!ffn_only) SLUICE_RETURN_IF_ERROR(LoadAroundLayers());
    weights_->layers_.resize(config_.num_layers);
    for (uint32_t i = 0; i < config_.num_layers; ++i) {
      LayerWeights* const layer = &weights_->layers_[i];
      if (!ffn_only) SLUICE_RETURN_IF_ERROR(LoadAttention(i, layer));
      SLUICE_RETURN_IF_ERROR(LoadFfnBiases(i, layer));
      if (with_predictors) SLUICE_RETURN_IF_ERROR(LoadPredictor(i, layer));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status LoadAroundLayers() {
    const uint64_t d = config_.d_model, e = config_.embed_dim;
    SLUICE_ASSIGN_OR_RETURN(weights_->embed_tokens_,
                            LoadMatrix("embed_tokens", config_.vocab_size, e));
    SLUICE_ASSIGN_OR_RETURN(
        weights_->embed_positions_,
        LoadMatrix("embed_positions", uint64_t{config_.max_positions} + config_.position_offset,
                   d));
    weights_->lm_head_ = weights_->embed_tokens_;
    if (!config_.tied_embeddings) {
      SLUICE_ASSIGN_OR_RETURN(weights_->lm_head_, LoadMatrix("lm_head", config_.vocab_size, e));
    }
    if (config_.has_projections()) {
      SLUICE_ASSIGN_OR_RETURN(weights_->project_in_, LoadMatrix("project_in", d, e));
      SLUICE_ASSIGN_OR_RETURN(weights_->project_out_, LoadMatrix("project_out", e, d));
    }
    if (config_.final_norm) {
      SLUICE_ASSIGN_OR_RETURN(weights_->final_norm_, LoadNorm("final_norm"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<const TensorEntry*> Find(const std::string& name) const {
    const TensorEntry* entry = file_.FindTensor(name);
    if (entry != nullptr) return entry;
    return absl::DataLossError(absl::StrCat(file_.path(), ": no tensor \"", name, "\""));
  }

  absl::Status CheckShape(const TensorEntry& entry, const std::vector<uint64_t>& shape) const {
    if (entry.shape == shape) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(file_.path(), ": tensor \"", entry.name,
                                            "\" has shape ", ShapeText(entry.shape),
                                            ", expected ", ShapeText(shape)));
  }

  absl::StatusOr<const void*> Read(const TensorEntry& entry) {
    SLUICE_ASSIGN_OR_RETURN(AlignedBuffer buffer,
                            AlignedBuffer::AllocateAdvised(entry.bytes, PreferLargePages));
    SLUICE_RETURN_IF_ERROR(file_.ReadTensor(entry, buffer.span(), on_read_));
    weights_->loaded_.push_back({entry.offset, buffer.span()});
    weights_->buffers_.push_back(std::move(buffer));
    return static_cast<const void*>(weights_->buffers_.back().data());
  }

  absl::StatusOr<kernels::Matrix> LoadMatrix(const std::string& name, uint64_t rows,
                                             uint64_t cols) {
    SLUICE_ASSIGN_OR_RETURN(const TensorEntry* entry, Find(name));
    SLUICE_RETURN_IF_ERROR(CheckShape(*entry, {rows, cols}));
    if (const uint64_t bytes = QuantizedBytes(*entry, resident_type_); bytes != 0) {
      return ReadQuantized(*entry, bytes);
    }
    SLUICE_ASSIGN_OR_RETURN(const void* data, Read(*entry));
    return kernels::Matrix{data, entry->type, rows, cols, cols * ElementBytes(entry->type)};
  }

  // Read here, since a host's function reads on the thread that opens; quantised by all threads.
  absl::StatusOr<kernels::Matrix> ReadQuantized(const TensorEntry& entry, uint64_t bytes) {
    const size_t cols = entry.shape[1], from_bytes = cols * ElementBytes(entry.type);
    const size_t row_bytes = kernels::Q8RowBytes(cols);
    const size_t rows_at_once = std::clamp<uint64_t>(kPieceBytes / from_bytes, 1, entry.shape[0]);
    const size_t threads = static_cast<size_t>(pool_->num_threads());
    SLUICE_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(bytes));
    SLUICE_ASSIGN_OR_RETURN(AlignedBuffer piece,
                            AlignedBuffer::Allocate(rows_at_once * from_bytes));
    SLUICE_ASSIGN_OR_RETURN(AlignedBuffer wide,
                            AlignedBuffer::Allocate(threads * cols * sizeof(float)));
    std::byte* to = buffer.data();
    SLUICE_RETURN_IF_ERROR(file_.ReadTensorInPieces(
        entry, piece.span(), [&](absl::Span<const std::byte> rows) {
          const size_t count = rows.size() / from_bytes;
          // One range for each thread at most: a range's number is the number of its scratch row.
          const size_t grain = DivideRoundUp(count, threads);
          pool_->ParallelFor(count, grain, [&](size_t begin, size_t end) {
            float* const row = wide.as<float>() + begin / grain * cols;
            for (size_t i = begin; i < end; ++i) {
              kernels::ToF32(entry.type, rows.data() + i * from_bytes, cols, row);
              kernels::QuantizeRow(row, cols, to + i * row_bytes);
            }
          });
          to += count * row_bytes;
        }, on_read_));
    weights_->buffers_.push_back(std::move(buffer));
    return kernels::Matrix{weights_->buffers_.back().data(), entry.type, entry.shape[0], cols,
                           row_bytes, true};
  }

  absl::StatusOr<const float*> LoadVector(const std::string& name, uint64_t size) {
    SLUICE_ASSIGN_OR_RETURN(const TensorEntry* entry, Find(name));
    SLUICE_RETURN_IF_ERROR(CheckShape(*entry, {size}));
    if (entry->type != ElementType::kF32) {
      return absl::DataLossError(absl::StrCat(file_.path(), ": tensor \"", name, "\" is ",
                                              ElementTypeName(entry->type), ", expected f32"));
    }
    SLUICE_ASSIGN_OR_RETURN(const void* data, Read(*entry));
    return static_cast<const float*>(data);
  }

  absl::StatusOr<Norm> LoadNorm(const std::string& name) {
    Norm norm;
    if (!config_.norm_affine) return norm;
    SLUICE_ASSIGN_OR_RETURN(norm.weight, LoadVector(name + ".weight", config_.d_model));
    SLUICE_ASSIGN_OR_RETURN(norm.bias, LoadVector(name + ".bias", config_.d_model));
    return norm;
  }

  absl::StatusOr<Projection> LoadProjection(const std::string& name) {
    Projection projection;
    SLUICE_ASSIGN_OR_RETURN(projection.matrix,
                            LoadMatrix(name + ".weight", config_.d_model, config_.d_model));
    if (config_.bias) {
      SLUICE_ASSIGN_OR_RETURN(projection.bias, LoadVector(name + ".bias", config_.d_model));
    }
    return projection;
  }

  // The norms too.
  absl::Status LoadAttention(uint32_t index, LayerWeights* layer) {
    const std::string name = absl::StrCat("layers.", index, ".");
    SLUICE_ASSIGN_OR_RETURN(layer->attn_norm, LoadNorm(name + "attn_norm"));
    SLUICE_ASSIGN_OR_RETURN(layer->ffn_norm, LoadNorm(name + "ffn_norm"));
    SLUICE_ASSIGN_OR_RETURN(layer->q, LoadProjection(name + "attn.q"));
    SLUICE_ASSIGN_OR_RETURN(layer->k, LoadProjection(name + "attn.k"));
    SLUICE_ASSIGN_OR_RETURN(layer->v, LoadProjection(name + "attn.v"));
    SLUICE_ASSIGN_OR_RETURN(layer->out, LoadProjection(name + "attn.out"));
    return absl::OkStatus();
  }

  absl::Status LoadFfnBiases(uint32_t index, LayerWeights* layer) {
    if (!config_.bias) return absl::OkStatus();
    const std::string name = absl::StrCat("layers.", index, ".ffn.");
    SLUICE_ASSIGN_OR_RETURN(layer->up_bias, LoadVector(name + "up.bias", config_.d_ffn));
    SLUICE_ASSIGN_OR_RETURN(layer->down_bias, LoadVector(name + "down.bias", config_.d_model));
    return absl::OkStatus();
  }

  absl::Status LoadPredictor(uint32_t index, LayerWeights* layer) {
    const std::string name = absl::StrCat("layers.", index, ".predictor.");
    SLUICE_ASSIGN_OR_RETURN(const TensorEntry* in_entry, Find(name + "in"));
    if (in_entry->shape.size() != 2 || in_entry->shape[0] < 1 ||
        in_entry->shape[0] > uint64_t{config_.d_model} + config_.d_ffn) {
      return absl::DataLossError(absl::StrCat(file_.path(), ": tensor \"", in_entry->name,
                                              "\" has shape ", ShapeText(in_entry->shape),
                                              ", expected [rank, ", config_.d_model, "]"));
    }
    const uint64_t rank = in_entry->shape[0];
    SLUICE_ASSIGN_OR_RETURN(const kernels::Matrix in,
                            LoadMatrix(name + "in", rank, config_.d_model));
    SLUICE_ASSIGN_OR_RETURN(const kernels::Matrix out,
                            LoadMatrix(name + "out", config_.d_ffn, rank));
    SLUICE_ASSIGN_OR_RETURN(const float* bias, LoadVector(name + "bias", config_.d_ffn));
    if (in.type != out.type) {
      return absl::DataLossError(absl::StrCat(file_.path(), ": the predictor of layer ", index,
                                              " has factors of two types"));
    }
    layer->predictor = LowRankPredictor(in.data, out.data, in.type, bias, config_.d_model,
                                        config_.d_ffn, static_cast<uint32_t>(rank));
    return LoadLookahead(index, out, layer);
  }

  // Optional: an input factor and a bias; the output factor is the predictor's.
  absl::Status LoadLookahead(uint32_t index, const kernels::Matrix& out, LayerWeights* layer) {
    const std::string name = absl::StrCat("layers.", index, ".lookahead.");
    if (index == 0 || file_.FindTensor(name + "in") == nullptr) return absl::OkStatus();
    SLUICE_ASSIGN_OR_RETURN(const kernels::Matrix in,
                            LoadMatrix(name + "in", out.cols, config_.d_model));
    SLUICE_ASSIGN_OR_RETURN(const float* bias, LoadVector(name + "bias", config_.d_ffn));
    if (in.type != out.type) {
      return absl::DataLossError(absl::StrCat(file_.path(), ": the lookahead predictor of layer ",
                                              index, " has factors of two types"));
    }
    layer->lookahead = LowRankPredictor(in.data, out.data, in.type, bias, config_.d_model,
                                        config_.d_ffn, static_cast<uint32_t>(out.cols));
    return absl::OkStatus();
  }

  const BundleFile& file_;
  const ModelConfig& config_;
  const ResidentType resident_type_;
  ThreadPool* const pool_;
  Weights* weights_;
  ReadProgress on_read_;  // empty: nobody wants to know
  uint64_t bytes_read_ = 0;
  uint64_t bytes_in_all_ = 0;
};

absl::StatusOr<std::unique_ptr<Weights>> Weights::Load(
    const BundleFile& file, const ModelConfig& config, bool with_predictors,
    ResidentType resident_type, bool ffn_only, ThreadPool* pool,
    const std::function<bool(double)>& progress) {
  auto weights = std::make_unique<Weights>();
  Loader loader(file, config, resident_type, pool, progress, weights.get());
  SLUICE_RETURN_IF_ERROR(loader.LoadAll(with_predictors, ffn_only));
  return weights;
}

bool Weights::has_lookahead() const {
  const auto has = [](const LayerWeights& layer) { return layer.lookahead.present(); };
  return std::any_of(layers_.begin(), layers_.end(), has);
}

uint64_t Weights::ResidentBytes(const BundleFile& file, ResidentType resident_type,
                                bool ffn_only) {
  return SectionBytes(file, SectionKind::kResident, resident_type, ffn_only);
}

uint64_t Weights::PredictorBytes(const BundleFile& file) {
  return SectionBytes(file, SectionKind::kPredictors, ResidentType::kAuto, false);
}

}  // namespace sluice
