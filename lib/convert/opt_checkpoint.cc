#include "lib/convert/opt_checkpoint.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/json_guard.h"
#include "lib/base/status_macros.h"
#include "lib/io/file.h"
#include "lib/text/tokenizer.h"

namespace sluice {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr uint64_t kMaxTokenizerBytes = 64 << 20;

absl::StatusOr<std::string> ReadIfThere(const std::string& path, uint64_t max_bytes) {
  if (!FileExists(path)) return std::string();
  return ReadWholeFile(path, max_bytes);
}

absl::StatusOr<ModelConfig> ReadConfig(const std::string& folder) {
  const std::string path = folder + "/config.json";
  SLUICE_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxConfigBytes));
  SLUICE_ASSIGN_OR_RETURN(const nlohmann::json config, ParseJson(text, path));
  const std::string generation_path = folder + "/generation_config.json";
  SLUICE_ASSIGN_OR_RETURN(const std::string generation_text,
                          ReadIfThere(generation_path, kMaxConfigBytes));
  nlohmann::json generation;
  if (!generation_text.empty()) {
    SLUICE_ASSIGN_OR_RETURN(generation, ParseJson(generation_text, generation_path));
  }
  return OptConfigFromHuggingFace(config, generation, path);
}

// tokenizer.json as it is, or one made from vocab.json and merges.txt. Read back at once, so that
// a tokenizer that cannot be used is found before the work starts.
absl::StatusOr<std::string> ReadTokenizerJson(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  SLUICE_ASSIGN_OR_RETURN(std::string json, ReadIfThere(path, kMaxTokenizerBytes));
  std::string what = path;
  if (json.empty()) {
    SLUICE_ASSIGN_OR_RETURN(const std::string vocab,
                            ReadIfThere(folder + "/vocab.json", kMaxTokenizerBytes));
    SLUICE_ASSIGN_OR_RETURN(const std::string merges,
                            ReadIfThere(folder + "/merges.txt", kMaxTokenizerBytes));
    if (vocab.empty() != merges.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder, ": of vocab.json and merges.txt only one is there"));
    }
    if (vocab.empty()) return std::string();
    SLUICE_ASSIGN_OR_RETURN(const std::string config,
                            ReadIfThere(folder + "/tokenizer_config.json", kMaxConfigBytes));
    SLUICE_ASSIGN_OR_RETURN(const std::string special,
                            ReadIfThere(folder + "/special_tokens_map.json", kMaxConfigBytes));
    what = folder + "/vocab.json";
    absl::StatusOr<std::string> made =
        Tokenizer::JsonFromVocabAndMerges(vocab, merges, config, special);
    if (!made.ok()) return Annotate(made.status(), what);
    json = *std::move(made);
  }
  SLUICE_RETURN_IF_ERROR(Tokenizer::FromJson(json, what).status());
  return json;
}

// Finds tensors whatever prefix the checkpoint uses, and remembers which were asked for.
class Names {
 public:
  explicit Names(const Checkpoint& weights) : weights_(weights) {
    for (const char* prefix : {"model.decoder.", "decoder.", "model.", ""}) {
      prefix_ = prefix;
      if (weights.Find(prefix_ + "layers.0.fc1.weight") != nullptr) return;
    }
    prefix_ = "model.decoder.";  // for the message about what is missing
  }

  // nullptr: none. `bare` names (lm_head) stand outside the decoder.
  const CheckpointTensor* Find(const std::string& name, bool bare = false) {
    const CheckpointTensor* tensor = weights_.Find(bare ? name : prefix_ + name);
    if (tensor != nullptr) used_.insert(tensor->name);
    return tensor;
  }

  absl::StatusOr<const CheckpointTensor*> Need(const std::string& name,
                                               const std::vector<uint64_t>& shape) {
    const CheckpointTensor* tensor = Find(name);
    if (tensor == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(weights_.files().empty() ? "" : weights_.files()[0], ": no tensor \"",
                       prefix_, name, "\", which config.json calls for"));
    }
    SLUICE_RETURN_IF_ERROR(CheckShape(*tensor, shape));
    return tensor;
  }

  static absl::Status CheckShape(const CheckpointTensor& tensor,
                                 const std::vector<uint64_t>& shape) {
    if (tensor.shape == shape) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        tensor.file, ": tensor \"", tensor.name, "\" has shape [",
        absl::StrJoin(tensor.shape, ", "), "], expected [", absl::StrJoin(shape, ", "), "]"));
  }

  std::vector<std::string> Unused() const {
    std::vector<std::string> unused;
    for (const CheckpointTensor& tensor : weights_.tensors()) {
      if (used_.count(tensor.name) == 0) {
        unused.push_back(absl::StrCat(tensor.name, " (", ElementTypeName(tensor.type), ")"));
      }
    }
    for (const SkippedTensor& tensor : weights_.skipped()) {
      unused.push_back(absl::StrCat(tensor.name, " (", tensor.type, ")"));
    }
    std::sort(unused.begin(), unused.end());
    return unused;
  }

 private:
  const Checkpoint& weights_;
  std::string prefix_;
  std::set<std::string> used_;
};

// A tied pair may be stored as either of the two, or as both.
absl::Status FindEmbeddings(Names* names, OptCheckpoint* out) {
  const std::vector<uint64_t> shape = {out->config.vocab_size, out->config.embed_dim};
  const CheckpointTensor* embed = names->Find(kOptEmbedTokens);
  const CheckpointTensor* head = names->Find(kOptLmHead, /*bare=*/true);
  if (out->config.tied_embeddings) {
    if (embed == nullptr) embed = head;
  } else if (head == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no tensor \"", kOptLmHead, "\", though config.json says that embeddings are not tied"));
  }
  if (embed == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("no tensor \"", kOptEmbedTokens, "\"",
                                                   out->config.tied_embeddings ? " and no \"" : "",
                                                   out->config.tied_embeddings ? kOptLmHead : "",
                                                   out->config.tied_embeddings ? "\"" : ""));
  }
  SLUICE_RETURN_IF_ERROR(Names::CheckShape(*embed, shape));
  out->resident.push_back({"embed_tokens", embed, false});
  if (!out->config.tied_embeddings) {
    SLUICE_RETURN_IF_ERROR(Names::CheckShape(*head, shape));
    out->resident.push_back({"lm_head", head, false});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OptCheckpoint> OpenOptCheckpoint(const std::string& folder) {
  OptCheckpoint out;
  if (!IsDirectory(folder)) {
    return absl::NotFoundError(absl::StrCat(folder, " is not a folder"));
  }
  SLUICE_ASSIGN_OR_RETURN(out.config, ReadConfig(folder));
  SLUICE_ASSIGN_OR_RETURN(out.weights, Checkpoint::Open(folder));
  SLUICE_ASSIGN_OR_RETURN(out.tokenizer_json, ReadTokenizerJson(folder));
  Names names(*out.weights);
  if (absl::Status status = FindEmbeddings(&names, &out); !status.ok()) {
    return Annotate(status, folder);
  }
  for (const TensorMapping& mapping : OptResidentTensors(out.config)) {
    SLUICE_ASSIGN_OR_RETURN(const CheckpointTensor* tensor,
                            names.Need(mapping.theirs, mapping.shape));
    out.resident.push_back({mapping.ours, tensor, mapping.as_f32});
  }
  const uint64_t d = out.config.d_model, f = out.config.d_ffn;
  for (uint32_t i = 0; i < out.config.num_layers; ++i) {
    SLUICE_ASSIGN_OR_RETURN(const CheckpointTensor* up, names.Need(OptUpName(i), {f, d}));
    SLUICE_ASSIGN_OR_RETURN(const CheckpointTensor* down, names.Need(OptDownName(i), {d, f}));
    out.up.push_back(up);
    out.down.push_back(down);
  }
  out.unused = names.Unused();
  return out;
}

}  // namespace sluice
