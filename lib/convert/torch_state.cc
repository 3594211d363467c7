#include "lib/convert/torch_state.h"

#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/convert/checkpoint_shard.h"
#include "lib/text/utf8.h"

namespace sluice {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMaxNameBytes = 1024;
// A tensor may repeat the elements of its storage (a stride of 0). Up to this size that is as it
// comes; beyond it a file of a few bytes would ask for any amount of memory or disk.
constexpr uint64_t kMaxExpandedBytes = 64 << 20;

constexpr absl::string_view kOrderedDict = "collections.OrderedDict";
constexpr absl::string_view kRebuildTensor = "torch._utils._rebuild_tensor";
constexpr absl::string_view kRebuildTensorV2 = "torch._utils._rebuild_tensor_v2";
constexpr absl::string_view kRebuildTensorV3 = "torch._utils._rebuild_tensor_v3";
constexpr absl::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr absl::string_view kUntypedStorage = "torch.storage.UntypedStorage";

constexpr absl::string_view kGlobals[] = {
    kOrderedDict, kRebuildTensor, kRebuildTensorV2, kRebuildTensorV3, kRebuildParameter,
    kUntypedStorage, "torch.FloatStorage", "torch.HalfStorage", "torch.BFloat16Storage",
    "torch.DoubleStorage", "torch.LongStorage", "torch.IntStorage", "torch.ShortStorage",
    "torch.CharStorage", "torch.ByteStorage", "torch.BoolStorage", "torch.ComplexFloatStorage",
    "torch.ComplexDoubleStorage", "torch.uint16", "torch.uint32", "torch.uint64",
    "torch.float8_e4m3fn", "torch.float8_e4m3fnuz", "torch.float8_e5m2",
    "torch.float8_e5m2fnuz", "torch.float8_e8m0fnu",
};

struct TorchType {
  absl::string_view global;  // a storage class or a dtype
  absl::string_view name;
  uint64_t bytes;
  std::optional<ElementType> type;  // none: known, but not read
};

constexpr TorchType kTypes[] = {
    {"torch.FloatStorage", "float32", 4, ElementType::kF32},
    {"torch.HalfStorage", "float16", 2, ElementType::kF16},
    {"torch.BFloat16Storage", "bfloat16", 2, ElementType::kBF16},
    {"torch.DoubleStorage", "float64", 8, {}},
    {"torch.LongStorage", "int64", 8, {}},
    {"torch.IntStorage", "int32", 4, {}},
    {"torch.ShortStorage", "int16", 2, {}},
    {"torch.CharStorage", "int8", 1, {}},
    {"torch.ByteStorage", "uint8", 1, {}},
    {"torch.BoolStorage", "bool", 1, {}},
    {"torch.ComplexFloatStorage", "complex64", 8, {}},
    {"torch.ComplexDoubleStorage", "complex128", 16, {}},
    {kUntypedStorage, "bytes", 1, {}},
    {"torch.uint16", "uint16", 2, {}},
    {"torch.uint32", "uint32", 4, {}},
    {"torch.uint64", "uint64", 8, {}},
    {"torch.float8_e4m3fn", "float8_e4m3fn", 1, {}},
    {"torch.float8_e4m3fnuz", "float8_e4m3fnuz", 1, {}},
    {"torch.float8_e5m2", "float8_e5m2", 1, {}},
    {"torch.float8_e5m2fnuz", "float8_e5m2fnuz", 1, {}},
    {"torch.float8_e8m0fnu", "float8_e8m0fnu", 1, {}},
};

class StateReader {
 public:
  explicit StateReader(const Pickle& pickle) : pickle_(pickle) {}
  absl::StatusOr<TorchState> Run();

 private:
  struct StorageUse {
    size_t storage_idx;
    const TorchType* type;
  };

  const PickleValue& Value(PickleId id) const { return pickle_.value(id); }
  const PickleValue* FindEntry(const PickleValue& dict, absl::string_view key) const;
  absl::Status ReadType(PickleId id, const TorchType** out) const;
  absl::Status ReadSizes(PickleId id, absl::string_view what, std::vector<uint64_t>* out) const;
  absl::Status AddStorage(PickleId id);
  absl::Status AddEntry(PickleId key, PickleId value);
  absl::Status AddTensor(absl::string_view name, const PickleValue& call);
  absl::Status CheckExtras(absl::Span<const PickleId> args) const;

  const Pickle& pickle_;
  TorchState state_;
  absl::flat_hash_map<PickleId, StorageUse> uses_;
  absl::flat_hash_map<absl::string_view, size_t> storage_of_key_;
  absl::flat_hash_set<absl::string_view> names_;
};

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::Status ReadCount(const PickleValue& value, absl::string_view what, uint64_t* out) {
  if (value.kind != Kind::kInt) {
    return Invalid(absl::StrCat(what, " is a ", PickleKindName(value.kind)));
  }
  if (value.number < 0) return Invalid(absl::StrCat(what, " is ", value.number));
  *out = static_cast<uint64_t>(value.number);
  return absl::OkStatus();
}

absl::Status StateReader::ReadType(PickleId id, const TorchType** out) const {
  const PickleValue& value = Value(id);
  if (value.kind != Kind::kGlobal) return Invalid("an element type that is no name");
  for (const TorchType& type : kTypes) {
    if (type.global != value.text) continue;
    *out = &type;
    return absl::OkStatus();
  }
  return Invalid(absl::StrCat(value.text, " is no element type"));
}

absl::Status StateReader::ReadSizes(PickleId id, absl::string_view what,
                                    std::vector<uint64_t>* out) const {
  const PickleValue& value = Value(id);
  if (value.kind != Kind::kTuple && value.kind != Kind::kList) {
    return Invalid(absl::StrCat(what, " is a ", PickleKindName(value.kind)));
  }
  if (value.items.size() > kMaxTensorRank) {
    return Invalid(absl::StrCat(what, " has ", value.items.size(), " dimensions, at most ",
                                kMaxTensorRank, " are read"));
  }
  out->resize(value.items.size());
  for (size_t d = 0; d < out->size(); ++d) {
    SLUICE_RETURN_IF_ERROR(ReadCount(Value(value.items[d]), what, &(*out)[d]));
  }
  return absl::OkStatus();
}

// ('storage', class, key, device, elements) and, in the legacy form, a view, which stopped being
// written before state_dicts were published.
absl::Status StateReader::AddStorage(PickleId id) {
  const PickleValue& tuple = Value(Value(id).items[0]);
  if (tuple.kind != Kind::kTuple || tuple.items.size() < 5 || tuple.items.size() > 6 ||
      Value(tuple.items[0]).text != "storage") {
    return absl::UnimplementedError("a persistent id that is no storage");
  }
  if (tuple.items.size() == 6 && Value(tuple.items[5]).kind != Kind::kNone) {
    return absl::UnimplementedError("a view of a storage (PyTorch 0.1)");
  }
  const TorchType* type = nullptr;
  SLUICE_RETURN_IF_ERROR(ReadType(tuple.items[1], &type));
  if (!absl::EndsWith(type->global, "Storage")) return Invalid("a storage of no class");
  const PickleValue& key = Value(tuple.items[2]);
  if (key.kind != Kind::kString || key.text.empty()) return Invalid("a storage without a key");
  uint64_t elements = 0;
  SLUICE_RETURN_IF_ERROR(ReadCount(Value(tuple.items[4]), "storage size", &elements));
  const Checked bytes = Checked(elements) * type->bytes;
  if (!bytes.valid()) return Invalid("storage size does not fit 64 bits");
  const auto [at, is_new] = storage_of_key_.try_emplace(key.text, state_.storages.size());
  if (is_new) state_.storages.push_back({std::string(key.text), elements, bytes.value()});
  const TorchStorage& storage = state_.storages[at->second];
  if (storage.bytes != bytes.value()) {
    return Invalid(absl::StrCat("storage ", QuotedName(key.text), " has once ", storage.bytes,
                                " and once ", bytes.value(), " bytes"));
  }
  uses_[id] = {at->second, type};
  return absl::OkStatus();
}

// What follows the strides: whether it needs a gradient, hooks, and flags that would change the
// values (conjugated, negated).
absl::Status StateReader::CheckExtras(absl::Span<const PickleId> args) const {
  for (const PickleId id : args) {
    const PickleValue& value = Value(id);
    const bool plain = value.kind == Kind::kBool || value.kind == Kind::kNone ||
                       value.kind == Kind::kGlobal ||
                       (value.kind == Kind::kDict && value.items.empty());
    if (!plain) {
      return absl::UnimplementedError(absl::StrCat("a tensor with a ",
                                                   PickleKindName(value.kind), " attached"));
    }
  }
  return absl::OkStatus();
}

absl::Status StateReader::AddTensor(absl::string_view name, const PickleValue& call) {
  const absl::string_view function = Value(call.items[0]).text;
  const std::vector<PickleId>& args = Value(call.items[1]).items;
  const bool v3 = function == kRebuildTensorV3;
  if (function != kRebuildTensor && function != kRebuildTensorV2 && !v3) {
    return absl::UnimplementedError(absl::StrCat("a call of ", function));
  }
  if (args.size() < (v3 ? 7 : function == kRebuildTensor ? 4 : 6) || args.size() > 8) {
    return Invalid(absl::StrCat(function, " with ", args.size(), " arguments"));
  }
  const auto use = uses_.find(args[0]);
  if (use == uses_.end()) return Invalid("a tensor without a storage");
  const TorchType* type = use->second.type;
  if (v3) SLUICE_RETURN_IF_ERROR(ReadType(args[6], &type));
  TorchTensor tensor;
  tensor.name = std::string(name);
  tensor.storage_idx = use->second.storage_idx;
  tensor.view.element_bytes = type->bytes;
  SLUICE_RETURN_IF_ERROR(ReadCount(Value(args[1]), "storage offset", &tensor.view.offset));
  SLUICE_RETURN_IF_ERROR(ReadSizes(args[2], "shape", &tensor.view.shape));
  SLUICE_RETURN_IF_ERROR(ReadSizes(args[3], "strides", &tensor.view.strides));
  SLUICE_RETURN_IF_ERROR(CheckExtras(absl::MakeSpan(args).subspan(4)));
  const TorchStorage& storage = state_.storages[tensor.storage_idx];
  SLUICE_RETURN_IF_ERROR(Annotate(CheckView(tensor.view, storage.bytes),
                                  absl::StrCat("storage ", QuotedName(storage.key))));
  tensor.elements = NumElements(tensor.view.shape).value();
  const uint64_t bytes = tensor.elements * type->bytes;
  if (bytes > storage.bytes && bytes > kMaxExpandedBytes) {
    return Invalid(absl::StrCat("expands ", storage.bytes, " stored bytes to ", bytes));
  }
  if (!type->type.has_value()) {
    state_.skipped.push_back({std::move(tensor.name), std::string(type->name)});
    return absl::OkStatus();
  }
  tensor.type = *type->type;
  state_.tensors.push_back(std::move(tensor));
  return absl::OkStatus();
}

absl::Status StateReader::AddEntry(PickleId key, PickleId value) {
  const PickleValue& name = Value(key);
  if (name.kind != Kind::kString) {
    return Invalid(absl::StrCat("a ", PickleKindName(name.kind), " where a name was expected"));
  }
  if (name.text.size() > kMaxNameBytes || !IsValidUtf8(name.text)) {
    return Invalid(absl::StrCat("tensor ", QuotedName(name.text),
                                ": the name is not UTF-8 or longer than ", kMaxNameBytes));
  }
  if (!names_.insert(name.text).second) {
    return Invalid(absl::StrCat("tensor ", QuotedName(name.text), " is there twice"));
  }
  const PickleValue* tensor = &Value(value);
  if (tensor->kind == Kind::kCall && Value(tensor->items[0]).text == kRebuildParameter) {
    const std::vector<PickleId>& args = Value(tensor->items[1]).items;
    if (args.empty()) return Invalid("a parameter without a tensor");
    SLUICE_RETURN_IF_ERROR(CheckExtras(absl::MakeSpan(args).subspan(1)));
    tensor = &Value(args[0]);
  }
  if (tensor->kind != Kind::kCall) {
    state_.skipped.push_back({std::string(name.text), std::string(PickleKindName(tensor->kind))});
    return absl::OkStatus();
  }
  return Annotate(AddTensor(name.text, *tensor), absl::StrCat("tensor ", QuotedName(name.text)));
}

const PickleValue* StateReader::FindEntry(const PickleValue& dict, absl::string_view key) const {
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& name = Value(dict.items[i]);
    if (name.kind == Kind::kString && name.text == key) return &Value(dict.items[i + 1]);
  }
  return nullptr;
}

absl::StatusOr<TorchState> StateReader::Run() {
  const PickleValue* dict = &Value(pickle_.root());
  if (dict->kind != Kind::kDict) {
    return absl::UnimplementedError(
        absl::StrCat("holds a ", PickleKindName(dict->kind), " and not a state_dict"));
  }
  const PickleValue* nested = FindEntry(*dict, "state_dict");
  if (nested != nullptr && nested->kind == Kind::kDict) dict = nested;
  // All storages, also those that no tensor of the state_dict uses: the legacy form stores them
  // one after another.
  for (size_t id = 0; id < pickle_.size(); ++id) {
    if (Value(static_cast<PickleId>(id)).kind != Kind::kPersistent) continue;
    SLUICE_RETURN_IF_ERROR(AddStorage(static_cast<PickleId>(id)));
  }
  for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
    SLUICE_RETURN_IF_ERROR(AddEntry(dict->items[i], dict->items[i + 1]));
  }
  return std::move(state_);
}

}  // namespace

absl::Span<const absl::string_view> TorchGlobals() { return kGlobals; }

absl::StatusOr<TorchState> ReadTorchState(const Pickle& pickle) {
  return StateReader(pickle).Run();
}

}  // namespace sluice
