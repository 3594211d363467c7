#include "lib/convert/pickle.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/convert/pickle_machine.h"
#include "lib/convert/pickle_opcodes.h"

namespace sluice {
namespace {

using Kind = PickleValue::Kind;

}  // namespace

absl::string_view PickleKindName(Kind kind) {
  static constexpr absl::string_view kNames[] = {"None", "bool",   "int",        "long int",
                                                 "float", "string", "tuple",     "list",
                                                 "dict", "global", "persistent", "call"};
  return kNames[static_cast<size_t>(kind)];
}

absl::Status PickleMachine::StepText(uint8_t op) {
  switch (op) {
    case kOpShortBinString:
    case kOpShortBinUnicode:
      return String(1);
    case kOpBinString:
    case kOpBinUnicode:
      return String(4);
    case kOpBinUnicode8:
      return String(8);
    case kOpGlobal:
      return GlobalLines();
    case kOpStackGlobal:
      return GlobalFromStack();
    case kOpProto:
      return Protocol();
    case kOpFrame:
      return Frame();
    default:
      return absl::UnimplementedError(
          absl::StrFormat("pickle: opcode %s (0x%02x) at byte %d, which no plain state_dict has",
                          PickleOpcodeName(op), op, op_at_));
  }
}

absl::Status PickleMachine::StepNumber(uint8_t op) {
  uint64_t bits = 0;
  switch (op) {
    case kOpNone:
      return PushKind(Kind::kNone);
    case kOpNewTrue:
      return PushInt(Kind::kBool, 1);
    case kOpNewFalse:
      return PushInt(Kind::kBool, 0);
    case kOpBinInt1:
      SLUICE_RETURN_IF_ERROR(TakeUint(1, &bits));
      return PushInt(Kind::kInt, static_cast<int64_t>(bits));
    case kOpBinInt2:
      SLUICE_RETURN_IF_ERROR(TakeUint(2, &bits));
      return PushInt(Kind::kInt, static_cast<int64_t>(bits));
    case kOpBinInt:
      SLUICE_RETURN_IF_ERROR(TakeUint(4, &bits));
      return PushInt(Kind::kInt, static_cast<int32_t>(static_cast<uint32_t>(bits)));
    case kOpLong1:
      return Long(1);
    case kOpLong4:
      return Long(4);
    case kOpBinFloat:  // no value of it is ever used
      SLUICE_RETURN_IF_ERROR(TakeUint(8, &bits));
      return PushKind(Kind::kFloat);
    default:
      return StepText(op);
  }
}

absl::Status PickleMachine::StepBuild(uint8_t op) {
  std::vector<PickleId> items;
  switch (op) {
    case kOpAppend:
      items.resize(1);
      SLUICE_RETURN_IF_ERROR(Pop(&items[0]));
      return AddItems(Kind::kList, std::move(items));
    case kOpAppends:
      SLUICE_RETURN_IF_ERROR(PopToMark(&items));
      return AddItems(Kind::kList, std::move(items));
    case kOpSetItem:
      items.resize(2);
      SLUICE_RETURN_IF_ERROR(Pop(&items[1]));
      SLUICE_RETURN_IF_ERROR(Pop(&items[0]));
      return AddItems(Kind::kDict, std::move(items));
    case kOpSetItems:
      SLUICE_RETURN_IF_ERROR(PopToMark(&items));
      return AddItems(Kind::kDict, std::move(items));
    case kOpBinPersid:
      return Persistent();
    case kOpReduce:
      return Reduce();
    case kOpBuild:
      return BuildState();
    default:
      return StepNumber(op);
  }
}

absl::Status PickleMachine::Step(uint8_t op) {
  switch (op) {
    case kOpMark:
      return Mark();
    case kOpEmptyTuple:
      return PushKind(Kind::kTuple);
    case kOpEmptyList:
      return PushKind(Kind::kList);
    case kOpEmptyDict:
      return PushKind(Kind::kDict);
    case kOpTuple:
      return TupleFromMark();
    case kOpTuple1:
      return Tuple(1);
    case kOpTuple2:
      return Tuple(2);
    case kOpTuple3:
      return Tuple(3);
    case kOpBinPut:
      return PutIndexed(1);
    case kOpLongBinPut:
      return PutIndexed(4);
    case kOpMemoize:
      return Put(memo_.size());
    case kOpBinGet:
      return GetIndexed(1);
    case kOpLongBinGet:
      return GetIndexed(4);
    default:
      return StepBuild(op);
  }
}

absl::StatusOr<Pickle> PickleMachine::Run() {
  while (true) {
    op_at_ = at_;
    absl::string_view op;
    SLUICE_RETURN_IF_ERROR(Take(1, &op));
    if (static_cast<uint8_t>(op[0]) == kOpStop) break;
    SLUICE_RETURN_IF_ERROR(Step(static_cast<uint8_t>(op[0])));
  }
  if (stack_.size() != 1 || !marks_.empty()) {
    return Bad(absl::StrCat("ends with ", stack_.size(), " values"));
  }
  pickle_.root_ = stack_[0];
  pickle_.end_ = at_;
  return std::move(pickle_);
}

absl::StatusOr<Pickle> Pickle::Parse(absl::string_view bytes, size_t begin,
                                     absl::Span<const absl::string_view> globals) {
  if (begin > bytes.size()) return absl::DataLossError("pickle: begins past the end");
  return PickleMachine(bytes, begin, globals).Run();
}

}  // namespace sluice
