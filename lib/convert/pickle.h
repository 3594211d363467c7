// Python's pickle format as data. A pickle is a program for a stack machine that can call any
// function; this reader knows only the opcodes that build plain values, keeps every call as a
// value of its own, and runs nothing.
#ifndef SLUICE_LIB_CONVERT_PICKLE_H_
#define SLUICE_LIB_CONVERT_PICKLE_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sluice {

// Position of a value in its Pickle.
using PickleId = uint32_t;

struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kLong,        // an integer of more than 8 bytes
    kFloat,
    kString,
    kTuple,
    kList,
    kDict,        // also collections.OrderedDict
    kGlobal,      // the name of a class or function
    kPersistent,  // something outside the pickle (a storage)
    kCall,        // what a function would have returned
  };
  Kind kind = Kind::kNone;
  int64_t number = 0;             // kBool, kInt
  absl::string_view text;         // kString; kGlobal: "module.name"; kLong: little-endian bytes
  std::vector<PickleId> items;    // kTuple, kList; kDict: key, value, key, value, ...
                                  // kPersistent: its id; kCall: function, argument tuple
};

// "int", "tuple", ...: for messages.
absl::string_view PickleKindName(PickleValue::Kind kind);

// Values refer to one another by id, so a value that occurs twice is held once, and a value that
// contains itself is no trouble to anyone who bounds how deep he looks.
class Pickle {
 public:
  // Reads the pickle that begins at bytes[begin].
  //   globals  the names that may occur, as "module.name"; must outlive the Pickle
  // Values point into `bytes`, which must outlive the Pickle. kUnimplemented: any other opcode or
  // global, by name and position in `bytes`. kInvalidArgument, kDataLoss: not a well-formed
  // pickle, cut short, or larger than a saved model has reason to be. Memory is bounded by 100
  // bytes for each byte read and by a few hundred MiB in all; time is linear.
  static absl::StatusOr<Pickle> Parse(absl::string_view bytes, size_t begin,
                                      absl::Span<const absl::string_view> globals);

  PickleId root() const { return root_; }
  size_t size() const { return values_.size(); }
  const PickleValue& value(PickleId id) const { return values_[id]; }
  // Where in `bytes` the pickle ends.
  size_t end() const { return end_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;
  PickleId root_ = 0;
  size_t end_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_PICKLE_H_
