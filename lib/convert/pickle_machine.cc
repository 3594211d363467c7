#include "lib/convert/pickle_machine.h"

#include "lib/base/status_macros.h"
#include "lib/convert/checkpoint_shard.h"

namespace sluice {
namespace {

using Kind = PickleValue::Kind;

// A saved tensor costs about 40 values: this is room for 50,000 tensors in one file.
constexpr size_t kMaxValues = size_t{1} << 21;
// Python writes dictionaries in batches of 1000 pairs.
constexpr size_t kMaxStack = size_t{1} << 20;
// A state_dict nests five deep.
constexpr size_t kMaxMarks = 64;
// The longest string that torch writes is a tensor's name.
constexpr uint64_t kMaxString = 64 << 10;
// torch's magic number has ten bytes; every other integer fits in eight.
constexpr uint64_t kMaxLong = 16;
constexpr uint8_t kMaxProtocol = 5;
constexpr absl::string_view kOrderedDict = "collections.OrderedDict";

}  // namespace

absl::Status PickleMachine::Take(uint64_t count, absl::string_view* out) {
  if (count > bytes_.size() - at_) {
    return absl::DataLossError(absl::StrCat("pickle: the opcode at byte ", op_at_, " needs ",
                                            count, " more bytes, ", bytes_.size() - at_,
                                            " are left"));
  }
  *out = bytes_.substr(at_, count);
  at_ += count;
  return absl::OkStatus();
}

absl::Status PickleMachine::TakeUint(size_t width, uint64_t* out) {
  absl::string_view raw;
  SLUICE_RETURN_IF_ERROR(Take(width, &raw));
  *out = 0;
  for (size_t i = 0; i < width; ++i) *out |= uint64_t{static_cast<uint8_t>(raw[i])} << (8 * i);
  return absl::OkStatus();
}

absl::Status PickleMachine::TakeLine(absl::string_view* out) {
  const absl::string_view rest = bytes_.substr(at_, kMaxString);
  const size_t length = rest.find('\n');
  if (length == absl::string_view::npos) return Bad("a name without an end");
  *out = rest.substr(0, length);
  at_ += length + 1;
  return absl::OkStatus();
}

absl::Status PickleMachine::Push(PickleId id) {
  if (stack_.size() >= kMaxStack) return Bad("stack too high");
  stack_.push_back(id);
  return absl::OkStatus();
}

absl::Status PickleMachine::PushNew(PickleValue value) {
  if (pickle_.values_.size() >= kMaxValues) return Bad("too many values");
  pickle_.values_.push_back(std::move(value));
  return Push(static_cast<PickleId>(pickle_.values_.size() - 1));
}

absl::Status PickleMachine::Pop(PickleId* out) {
  if (stack_.size() <= Floor()) return Bad("stack is empty");
  *out = stack_.back();
  stack_.pop_back();
  return absl::OkStatus();
}

absl::Status PickleMachine::PopToMark(std::vector<PickleId>* out) {
  if (marks_.empty()) return Bad("no mark");
  out->assign(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
  stack_.resize(marks_.back());
  marks_.pop_back();
  return absl::OkStatus();
}

absl::Status PickleMachine::Mark() {
  if (marks_.size() >= kMaxMarks) return Bad("nested too deep");
  marks_.push_back(stack_.size());
  return absl::OkStatus();
}

absl::Status PickleMachine::String(size_t length_width) {
  uint64_t length = 0;
  SLUICE_RETURN_IF_ERROR(TakeUint(length_width, &length));
  if (length > kMaxString) return Bad(absl::StrCat("a string of ", length, " bytes"));
  PickleValue value;
  value.kind = Kind::kString;
  SLUICE_RETURN_IF_ERROR(Take(length, &value.text));
  return PushNew(std::move(value));
}

absl::Status PickleMachine::Long(size_t length_width) {
  uint64_t length = 0;
  SLUICE_RETURN_IF_ERROR(TakeUint(length_width, &length));
  if (length > kMaxLong) return Bad(absl::StrCat("an integer of ", length, " bytes"));
  if (length > sizeof(uint64_t)) {
    PickleValue value;
    value.kind = Kind::kLong;
    SLUICE_RETURN_IF_ERROR(Take(length, &value.text));
    return PushNew(std::move(value));
  }
  uint64_t bits = 0;
  SLUICE_RETURN_IF_ERROR(TakeUint(length, &bits));
  const uint64_t sign = length == 0 ? 0 : uint64_t{1} << (8 * length - 1);
  // Two's complement of `length` bytes, widened.
  return PushInt(Kind::kInt, static_cast<int64_t>((bits ^ sign) - sign));
}

absl::Status PickleMachine::Global(absl::string_view module, absl::string_view name) {
  for (const absl::string_view known : globals_) {
    if (known.size() == module.size() + 1 + name.size() &&
        known.substr(0, module.size()) == module && known[module.size()] == '.' &&
        known.substr(module.size() + 1) == name) {
      return PushNew({Kind::kGlobal, 0, known, {}});
    }
  }
  return absl::UnimplementedError(
      absl::StrCat("pickle: refers to ", QuotedName(absl::StrCat(module, ".", name)), " at byte ",
                   op_at_, ", which no plain state_dict does; nothing of it was run"));
}

absl::Status PickleMachine::GlobalLines() {
  absl::string_view module;
  absl::string_view name;
  SLUICE_RETURN_IF_ERROR(TakeLine(&module));
  SLUICE_RETURN_IF_ERROR(TakeLine(&name));
  return Global(module, name);
}

absl::Status PickleMachine::GlobalFromStack() {
  PickleId name = 0;
  PickleId module = 0;
  SLUICE_RETURN_IF_ERROR(Pop(&name));
  SLUICE_RETURN_IF_ERROR(Pop(&module));
  const PickleValue& name_value = pickle_.values_[name];
  const PickleValue& module_value = pickle_.values_[module];
  if (name_value.kind != Kind::kString || module_value.kind != Kind::kString) {
    return Bad("STACK_GLOBAL without names");
  }
  return Global(module_value.text, name_value.text);
}

absl::Status PickleMachine::Tuple(size_t count) {
  PickleValue value;
  value.kind = Kind::kTuple;
  value.items.resize(count);
  for (size_t i = count; i > 0; --i) SLUICE_RETURN_IF_ERROR(Pop(&value.items[i - 1]));
  return PushNew(std::move(value));
}

absl::Status PickleMachine::TupleFromMark() {
  PickleValue value;
  value.kind = Kind::kTuple;
  SLUICE_RETURN_IF_ERROR(PopToMark(&value.items));
  return PushNew(std::move(value));
}

absl::Status PickleMachine::Put(uint64_t key) {
  if (stack_.size() <= Floor()) return Bad("stack is empty");
  if (memo_.size() >= kMaxValues) return Bad("memo too large");
  memo_[key] = stack_.back();
  return absl::OkStatus();
}

absl::Status PickleMachine::PutIndexed(size_t width) {
  uint64_t key = 0;
  SLUICE_RETURN_IF_ERROR(TakeUint(width, &key));
  return Put(key);
}

absl::Status PickleMachine::GetIndexed(size_t width) {
  uint64_t key = 0;
  SLUICE_RETURN_IF_ERROR(TakeUint(width, &key));
  const auto at = memo_.find(key);
  if (at == memo_.end()) return Bad(absl::StrCat("nothing kept as ", key));
  return Push(at->second);
}

absl::Status PickleMachine::AddItems(Kind kind, std::vector<PickleId> items) {
  if (stack_.size() <= Floor()) return Bad("stack is empty");
  PickleValue& target = pickle_.values_[stack_.back()];
  if (target.kind != kind) {
    return Bad(absl::StrCat("adds to a ", PickleKindName(target.kind), " as if it were a ",
                            PickleKindName(kind)));
  }
  if (kind == Kind::kDict && items.size() % 2 != 0) return Bad("a key without a value");
  target.items.insert(target.items.end(), items.begin(), items.end());
  return absl::OkStatus();
}

absl::Status PickleMachine::Persistent() {
  PickleId id = 0;
  SLUICE_RETURN_IF_ERROR(Pop(&id));
  return PushNew({Kind::kPersistent, 0, {}, {id}});
}

absl::Status PickleMachine::Reduce() {
  PickleId args = 0;
  PickleId callee = 0;
  SLUICE_RETURN_IF_ERROR(Pop(&args));
  SLUICE_RETURN_IF_ERROR(Pop(&callee));
  const PickleValue& function = pickle_.values_[callee];
  if (function.kind != Kind::kGlobal || pickle_.values_[args].kind != Kind::kTuple) {
    return Bad("a call of something that is no function");
  }
  if (function.text == kOrderedDict) {
    if (!pickle_.values_[args].items.empty()) return Bad("OrderedDict with arguments");
    return PushKind(Kind::kDict);
  }
  return PushNew({Kind::kCall, 0, {}, {callee, args}});
}

// The state of a dictionary is its attributes: torch keeps version numbers there that no reader
// of weights needs. On anything else a state would change the value, so it is refused.
absl::Status PickleMachine::BuildState() {
  PickleId state = 0;
  SLUICE_RETURN_IF_ERROR(Pop(&state));
  if (stack_.size() <= Floor()) return Bad("stack is empty");
  const Kind kind = pickle_.values_[stack_.back()].kind;
  if (kind == Kind::kDict) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("pickle: opcode BUILD of a ",
                                               PickleKindName(kind), " at byte ", op_at_));
}

absl::Status PickleMachine::Protocol() {
  uint64_t protocol = 0;
  SLUICE_RETURN_IF_ERROR(TakeUint(1, &protocol));
  if (protocol <= kMaxProtocol) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("pickle: protocol ", protocol, ", known are 0 to ", kMaxProtocol));
}

// A frame is a hint for readers of pipes; its length is only compared with what is there.
absl::Status PickleMachine::Frame() {
  uint64_t length = 0;
  SLUICE_RETURN_IF_ERROR(TakeUint(8, &length));
  if (length <= bytes_.size() - at_) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("pickle: the frame at byte ", op_at_, " has ", length,
                                          " bytes, ", bytes_.size() - at_, " are left"));
}

}  // namespace sluice
