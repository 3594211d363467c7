#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/convert/checkpoint_shard.h"
#include "lib/convert/torch_archive.h"

namespace sluice {
namespace {

using Kind = PickleValue::Kind;

// 0x1950a86a20f9469cfc6c, little-endian as a pickle has it.
constexpr absl::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr int64_t kProtocolVersion = 1001;
constexpr uint64_t kCountBytes = 8;

class TorchLegacy : public TorchArchive {
 public:
  static absl::StatusOr<std::unique_ptr<TorchArchive>> Open(const InputFile& file);
  absl::Status ReadStorage(size_t storage_idx, uint64_t offset,
                           absl::Span<std::byte> out) override {
    return file_.ReadAt(offsets_[storage_idx] + offset, out);
  }

  explicit TorchLegacy(const InputFile& file) : file_(file) {}

 private:
  absl::Status ReadPickles(absl::string_view head);
  absl::Status PlaceStorages(const Pickle& keys);
  absl::Status CheckCount(const TorchStorage& storage, uint64_t offset) const;

  const InputFile& file_;
  std::vector<uint64_t> offsets_;  // of each storage in the file
};

absl::Status CheckPreamble(absl::string_view head, size_t* at) {
  SLUICE_ASSIGN_OR_RETURN(const Pickle magic, Pickle::Parse(head, *at, {}));
  if (magic.value(magic.root()).text != kMagic) {
    return absl::InvalidArgumentError("not a file of torch.save: wrong magic number");
  }
  SLUICE_ASSIGN_OR_RETURN(const Pickle version, Pickle::Parse(head, magic.end(), {}));
  const PickleValue& number = version.value(version.root());
  if (number.kind != Kind::kInt || number.number != kProtocolVersion) {
    return absl::UnimplementedError(absl::StrCat("legacy protocol version ", number.number,
                                                 ", known is ", kProtocolVersion));
  }
  SLUICE_ASSIGN_OR_RETURN(const Pickle system, Pickle::Parse(head, version.end(), {}));
  const PickleValue& info = system.value(system.root());
  for (size_t i = 0; info.kind == Kind::kDict && i + 1 < info.items.size(); i += 2) {
    if (system.value(info.items[i]).text != "little_endian") continue;
    if (system.value(info.items[i + 1]).number == 1) break;
    return absl::UnimplementedError("written on a big-endian machine");
  }
  *at = system.end();
  return absl::OkStatus();
}

absl::Status TorchLegacy::ReadPickles(absl::string_view head) {
  size_t at = 0;
  SLUICE_RETURN_IF_ERROR(CheckPreamble(head, &at));
  SLUICE_ASSIGN_OR_RETURN(const Pickle object, Pickle::Parse(head, at, TorchGlobals()));
  SLUICE_ASSIGN_OR_RETURN(state_, ReadTorchState(object));
  SLUICE_ASSIGN_OR_RETURN(const Pickle keys, Pickle::Parse(head, object.end(), {}));
  return PlaceStorages(keys);
}

absl::Status TorchLegacy::CheckCount(const TorchStorage& storage, uint64_t offset) const {
  unsigned char raw[kCountBytes];
  SLUICE_RETURN_IF_ERROR(
      file_.ReadAt(offset, absl::MakeSpan(reinterpret_cast<std::byte*>(raw), kCountBytes)));
  uint64_t elements = 0;
  for (uint64_t i = 0; i < kCountBytes; ++i) elements |= uint64_t{raw[i]} << (8 * i);
  if (elements == storage.elements) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("storage ", QuotedName(storage.key),
                                                 ": expected ", storage.elements,
                                                 " elements, found ", elements, " at byte ",
                                                 offset));
}

absl::Status TorchLegacy::PlaceStorages(const Pickle& keys) {
  const PickleValue& list = keys.value(keys.root());
  absl::flat_hash_map<absl::string_view, size_t> by_key;
  for (size_t i = 0; i < state_.storages.size(); ++i) by_key[state_.storages[i].key] = i;
  if (list.kind != Kind::kList || list.items.size() != by_key.size()) {
    return absl::InvalidArgumentError(absl::StrCat("expected a list of ", by_key.size(),
                                                   " storages, found a ",
                                                   PickleKindName(list.kind), " of ",
                                                   list.items.size()));
  }
  offsets_.resize(by_key.size());
  std::vector<size_t> order;
  Checked end = keys.end();
  for (const PickleId id : list.items) {
    const auto at = by_key.find(keys.value(id).text);
    if (at == by_key.end()) {
      return absl::InvalidArgumentError(absl::StrCat("storage ",
                                                     QuotedName(keys.value(id).text),
                                                     " is listed twice or belongs to nothing"));
    }
    offsets_[at->second] = (end + kCountBytes).value();
    order.push_back(at->second);
    end = end + kCountBytes + state_.storages[at->second].bytes;
    by_key.erase(at);
  }
  if (!end.valid() || end.value() != file_.size()) {
    return absl::DataLossError(absl::StrCat("expected ", end.valid() ? end.value() : UINT64_MAX,
                                            " bytes, found ", file_.size(),
                                            " (truncated download?)"));
  }
  for (const size_t i : order) {
    SLUICE_RETURN_IF_ERROR(CheckCount(state_.storages[i], offsets_[i] - kCountBytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TorchArchive>> TorchLegacy::Open(const InputFile& file) {
  std::string head(std::min(file.size(), kMaxPickleBytes), '\0');
  SLUICE_RETURN_IF_ERROR(file.ReadAt(
      0, absl::MakeSpan(reinterpret_cast<std::byte*>(head.data()), head.size())));
  auto archive = std::make_unique<TorchLegacy>(file);
  SLUICE_RETURN_IF_ERROR(archive->ReadPickles(head));
  return std::unique_ptr<TorchArchive>(std::move(archive));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TorchArchive>> OpenTorchLegacy(const InputFile& file) {
  return TorchLegacy::Open(file);
}

}  // namespace sluice
