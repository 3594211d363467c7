// The opcodes of Python's pickle format, protocols 0 to 5.
#ifndef SLUICE_LIB_CONVERT_PICKLE_OPCODES_H_
#define SLUICE_LIB_CONVERT_PICKLE_OPCODES_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace sluice {

// Those that the reader knows.
enum PickleOpcode : uint8_t {
  kOpMark = '(',
  kOpEmptyTuple = ')',
  kOpStop = '.',
  kOpBinFloat = 'G',
  kOpBinInt = 'J',
  kOpBinInt1 = 'K',
  kOpBinInt2 = 'M',
  kOpNone = 'N',
  kOpBinPersid = 'Q',
  kOpReduce = 'R',
  kOpBinString = 'T',
  kOpShortBinString = 'U',
  kOpBinUnicode = 'X',
  kOpEmptyList = ']',
  kOpAppend = 'a',
  kOpBuild = 'b',
  kOpGlobal = 'c',
  kOpAppends = 'e',
  kOpBinGet = 'h',
  kOpLongBinGet = 'j',
  kOpBinPut = 'q',
  kOpLongBinPut = 'r',
  kOpSetItem = 's',
  kOpTuple = 't',
  kOpSetItems = 'u',
  kOpEmptyDict = '}',
  kOpProto = 0x80,
  kOpTuple1 = 0x85,
  kOpTuple2 = 0x86,
  kOpTuple3 = 0x87,
  kOpNewTrue = 0x88,
  kOpNewFalse = 0x89,
  kOpLong1 = 0x8a,
  kOpLong4 = 0x8b,
  kOpShortBinUnicode = 0x8c,
  kOpBinUnicode8 = 0x8d,
  kOpStackGlobal = 0x93,
  kOpMemoize = 0x94,
  kOpFrame = 0x95,
};

// "INST", ...; "unknown" for a byte that is no opcode.
absl::string_view PickleOpcodeName(uint8_t opcode);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_PICKLE_OPCODES_H_
