#include "lib/convert/checkpoint.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/json_guard.h"
#include "lib/base/status_macros.h"
#include "lib/convert/checkpoint_shard.h"
#include "lib/convert/safetensors.h"
#include "lib/convert/torch_bin.h"
#include "lib/io/file.h"

namespace sluice {
namespace {

// An index has about 100 bytes a tensor: this is room for half a million.
constexpr uint64_t kMaxIndexBytes = 64 << 20;
// More files than any published model, and fewer than a process may usually have open.
constexpr size_t kMaxShards = 900;

using OpenShard = absl::StatusOr<std::unique_ptr<CheckpointShard>> (*)(const std::string& path);
// Tensor name -> index of the shard that the index file gives for it.
using WeightMap = absl::flat_hash_map<std::string, size_t>;

class FolderCheckpoint : public Checkpoint {
 public:
  // `placed` is empty for a checkpoint of one file.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Join(
      std::vector<std::string> files, std::vector<std::unique_ptr<CheckpointShard>> shards,
      const WeightMap& placed);

  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  const std::vector<SkippedTensor>& skipped() const override { return skipped_; }
  const std::vector<std::string>& files() const override { return files_; }
  absl::Status Read(const CheckpointTensor& tensor, uint64_t first, uint64_t count,
                    absl::Span<std::byte> out) override;

 private:
  struct Place {
    size_t shard;
    size_t tensor_idx;  // SIZE_MAX: among the skipped
  };
  absl::Status AddShard(size_t shard, const WeightMap& placed);
  absl::Status AddName(const std::string& name, Place place, const WeightMap& placed,
                       bool* added);

  std::vector<std::string> files_;
  std::vector<std::unique_ptr<CheckpointShard>> shards_;
  std::vector<CheckpointTensor> tensors_;
  std::vector<SkippedTensor> skipped_;
  absl::flat_hash_map<std::string, Place> places_;
};

absl::Status FolderCheckpoint::AddName(const std::string& name, Place place,
                                       const WeightMap& placed, bool* added) {
  *added = false;
  const auto named = placed.find(name);
  if (named != placed.end() && named->second != place.shard) return absl::OkStatus();
  const auto [at, is_new] = places_.try_emplace(name, place);
  if (!is_new) {
    return absl::InvalidArgumentError(
        absl::StrCat(files_[place.shard], ": tensor ", QuotedName(name), " is also in ",
                     files_[at->second.shard], " and the index names neither"));
  }
  *added = true;
  return absl::OkStatus();
}

absl::Status FolderCheckpoint::AddShard(size_t shard, const WeightMap& placed) {
  bool added = false;
  const std::vector<CheckpointTensor>& tensors = shards_[shard]->tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    SLUICE_RETURN_IF_ERROR(AddName(tensors[i].name, {shard, i}, placed, &added));
    if (added) tensors_.push_back(tensors[i]);
  }
  for (const SkippedTensor& tensor : shards_[shard]->skipped()) {
    SLUICE_RETURN_IF_ERROR(AddName(tensor.name, {shard, SIZE_MAX}, placed, &added));
    if (added) skipped_.push_back(tensor);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Checkpoint>> FolderCheckpoint::Join(
    std::vector<std::string> files, std::vector<std::unique_ptr<CheckpointShard>> shards,
    const WeightMap& placed) {
  auto joined = std::make_unique<FolderCheckpoint>();
  joined->files_ = std::move(files);
  joined->shards_ = std::move(shards);
  for (size_t i = 0; i < joined->shards_.size(); ++i) {
    SLUICE_RETURN_IF_ERROR(joined->AddShard(i, placed));
  }
  for (const auto& [name, shard] : placed) {
    if (joined->places_.contains(name)) continue;
    return absl::InvalidArgumentError(absl::StrCat(joined->files_[shard], ": tensor ",
                                                   QuotedName(name),
                                                   " is not in it, though the index says so"));
  }
  const auto by_name = [](const auto& a, const auto& b) { return a.name < b.name; };
  std::sort(joined->tensors_.begin(), joined->tensors_.end(), by_name);
  std::sort(joined->skipped_.begin(), joined->skipped_.end(), by_name);
  return std::unique_ptr<Checkpoint>(std::move(joined));
}

absl::Status FolderCheckpoint::Read(const CheckpointTensor& tensor, uint64_t first,
                                    uint64_t count, absl::Span<std::byte> out) {
  const auto at = places_.find(tensor.name);
  if (at == places_.end() || at->second.tensor_idx == SIZE_MAX) {
    return absl::NotFoundError(absl::StrCat("no tensor ", QuotedName(tensor.name)));
  }
  CheckpointShard& shard = *shards_[at->second.shard];
  const CheckpointTensor& own = shard.tensors()[at->second.tensor_idx];
  if (!(Checked(first) + count).valid_and_at_most(own.elements)) {
    return absl::OutOfRangeError(absl::StrCat(QuotedName(own.name), ": elements ", first, " + ",
                                              count, " of ", own.elements));
  }
  const Checked bytes = Checked(count) * ElementBytes(own.type);
  if (!bytes.valid() || bytes.value() != out.size()) {
    return absl::InvalidArgumentError(absl::StrCat(QuotedName(own.name), ": ", count,
                                                   " elements do not fill ", out.size(),
                                                   " bytes"));
  }
  if (count == 0) return absl::OkStatus();
  try {
    return Annotate(shard.Read(at->second.tensor_idx, first, count, out),
                    absl::StrCat("tensor ", QuotedName(own.name)));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory to read a tensor");
  }
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenOne(const std::string& path, OpenShard open) {
  std::vector<std::unique_ptr<CheckpointShard>> shards;
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<CheckpointShard> shard, open(path));
  shards.push_back(std::move(shard));
  return FolderCheckpoint::Join({path}, std::move(shards), {});
}

absl::Status CheckShardName(const std::string& name) {
  if (name.empty() || name[0] == '.' || absl::StrContains(name, "..") ||
      absl::StrContains(name, "/") || absl::StrContains(name, "\\") ||
      absl::StrContains(name, absl::string_view("\0", 1))) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard ", QuotedName(name), " is not the name of a file in this folder"));
  }
  return absl::OkStatus();
}

struct Index {
  std::vector<std::string> shards;  // sorted
  WeightMap placed;
};

absl::StatusOr<Index> ReadIndex(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxIndexBytes));
  SLUICE_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, path));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no object weight_map"));
  }
  Index index;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": weight_map: ", QuotedName(tensor), " has no file name"));
    }
    const std::string& name = shard.get_ref<const std::string&>();
    SLUICE_RETURN_IF_ERROR(Annotate(CheckShardName(name), absl::StrCat(path, ": weight_map")));
    index.shards.push_back(name);
  }
  std::sort(index.shards.begin(), index.shards.end());
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  if (index.shards.empty() || index.shards.size() > kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": names ", index.shards.size(),
                                                   " shards, not 1 to ", kMaxShards));
  }
  for (const auto& [tensor, shard] : map->items()) {
    const auto at = std::lower_bound(index.shards.begin(), index.shards.end(),
                                     shard.get_ref<const std::string&>());
    index.placed[tensor] = static_cast<size_t>(at - index.shards.begin());
  }
  return index;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenIndexed(const std::string& folder,
                                                        const std::string& index_path,
                                                        OpenShard open) {
  SLUICE_ASSIGN_OR_RETURN(const Index index, ReadIndex(index_path));
  std::vector<std::string> files;
  std::string missing;
  for (const std::string& shard : index.shards) {
    files.push_back(absl::StrCat(folder, "/", shard));
    if (!FileExists(files.back())) absl::StrAppend(&missing, " ", shard);
  }
  if (!missing.empty()) {
    return absl::DataLossError(absl::StrCat(index_path, ": expected ", files.size(),
                                            " shards beside it, missing:", missing));
  }
  std::vector<std::unique_ptr<CheckpointShard>> shards;
  for (const std::string& file : files) {
    SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<CheckpointShard> shard, open(file));
    shards.push_back(std::move(shard));
  }
  absl::StatusOr<std::unique_ptr<Checkpoint>> joined =
      FolderCheckpoint::Join(std::move(files), std::move(shards), index.placed);
  if (!joined.ok()) return Annotate(joined.status(), index_path);
  return joined;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenFolder(const std::string& folder) {
  const std::string safetensors = absl::StrCat(folder, "/model.safetensors");
  const std::string torch_bin = absl::StrCat(folder, "/pytorch_model.bin");
  const std::string safetensors_index = absl::StrCat(safetensors, ".index.json");
  const std::string torch_index = absl::StrCat(torch_bin, ".index.json");
  if (FileExists(safetensors)) return OpenOne(safetensors, OpenSafetensors);
  if (FileExists(safetensors_index)) {
    return OpenIndexed(folder, safetensors_index, OpenSafetensors);
  }
  if (FileExists(torch_bin)) return OpenOne(torch_bin, OpenTorchBin);
  if (FileExists(torch_index)) return OpenIndexed(folder, torch_index, OpenTorchBin);
  return absl::NotFoundError(absl::StrCat(
      folder, ": no weights: looked for model.safetensors, model.safetensors.index.json, ",
      "pytorch_model.bin, pytorch_model.bin.index.json"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& folder) {
  try {
    return OpenFolder(folder);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(folder, ": no memory for its headers"));
  }
}

const CheckpointTensor* Checkpoint::Find(absl::string_view name) const {
  const std::vector<CheckpointTensor>& all = tensors();
  const auto at =
      std::lower_bound(all.begin(), all.end(), name, [](const CheckpointTensor& tensor,
                                                        absl::string_view wanted) {
        return absl::string_view(tensor.name) < wanted;
      });
  return at != all.end() && at->name == name ? &*at : nullptr;
}

}  // namespace sluice
