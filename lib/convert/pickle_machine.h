// The stack machine behind Pickle::Parse: its own header so that its parts and its dispatch can
// lie in two files. Nothing else includes it.
#ifndef SLUICE_LIB_CONVERT_PICKLE_MACHINE_H_
#define SLUICE_LIB_CONVERT_PICKLE_MACHINE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/convert/pickle.h"

namespace sluice {

class PickleMachine {
 public:
  PickleMachine(absl::string_view bytes, size_t begin,
                absl::Span<const absl::string_view> globals)
      : bytes_(bytes), globals_(globals), at_(begin) {}

  absl::StatusOr<Pickle> Run();

 private:
  absl::Status Step(uint8_t op);
  absl::Status StepText(uint8_t op);
  absl::Status StepNumber(uint8_t op);
  absl::Status StepBuild(uint8_t op);

  // Input. Each fails, without moving, when the input is too short.
  absl::Status Take(uint64_t count, absl::string_view* out);
  absl::Status TakeUint(size_t width, uint64_t* out);
  absl::Status TakeLine(absl::string_view* out);

  // Stack. Nothing below the latest mark can be popped.
  absl::Status Push(PickleId id);
  absl::Status PushNew(PickleValue value);
  absl::Status PushKind(PickleValue::Kind kind) { return PushNew({kind, 0, {}, {}}); }
  absl::Status PushInt(PickleValue::Kind kind, int64_t number) {
    return PushNew({kind, number, {}, {}});
  }
  absl::Status Pop(PickleId* out);
  absl::Status PopToMark(std::vector<PickleId>* out);

  absl::Status Mark();
  absl::Status String(size_t length_width);
  absl::Status Long(size_t length_width);
  absl::Status Global(absl::string_view module, absl::string_view name);
  absl::Status GlobalLines();
  absl::Status GlobalFromStack();
  absl::Status Tuple(size_t count);
  absl::Status TupleFromMark();
  absl::Status Put(uint64_t key);
  absl::Status PutIndexed(size_t width);
  absl::Status GetIndexed(size_t width);
  absl::Status AddItems(PickleValue::Kind kind, std::vector<PickleId> items);
  absl::Status Persistent();
  absl::Status Reduce();
  absl::Status BuildState();
  absl::Status Protocol();
  absl::Status Frame();

  absl::Status Bad(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("pickle: ", what, " at byte ", op_at_));
  }
  size_t Floor() const { return marks_.empty() ? 0 : marks_.back(); }

  absl::string_view bytes_;
  absl::Span<const absl::string_view> globals_;
  size_t at_;
  size_t op_at_ = 0;
  Pickle pickle_;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  absl::flat_hash_map<uint64_t, PickleId> memo_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_PICKLE_MACHINE_H_
