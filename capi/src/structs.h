// How the structs of the C headers cross the boundary: each begins with the caller's own size, ends
// in reserved members, and grows behind them.
#ifndef SLUICE_CAPI_STRUCTS_H_
#define SLUICE_CAPI_STRUCTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "capi/src/handles.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {

// Every struct ended with `reserved` in ABI 1; later members stand behind it.
template <typename Struct>
constexpr size_t kAbi1Bytes = offsetof(Struct, reserved) + sizeof(Struct::reserved);

// kInvalidArgument unless `theirs` is a size that struct `name` can have: from `abi1` to a bound
// far above any struct to come.
absl::Status CheckStructSize(size_t theirs, size_t abi1, const char* name);

bool AllZero(const void* bytes, size_t count);

// The kUnimplemented for a member of struct `name` that is set and means nothing here.
absl::Status UnknownMember(const char* name);

// kInvalidArgument "`member` is `value`, expected `expected`".
absl::Status OutOfRange(const char* member, double value, const char* expected);

// Only 0 and 1, so that other values may get a meaning one day.
absl::StatusOr<bool> ReadFlag(uint32_t value, const char* member);

// Copies what both sides know of `theirs`, which is not NULL, over the zeroed `ours`.
template <typename Struct>
absl::Status ReadStruct(const Struct* theirs, const char* name, Struct* ours) {
  uint32_t size = 0;
  std::memcpy(&size, theirs, sizeof size);
  SLUICE_RETURN_IF_ERROR(CheckStructSize(size, kAbi1Bytes<Struct>, name));
  std::memcpy(ours, theirs, std::min<size_t>(size, sizeof *ours));
  const auto* bytes = reinterpret_cast<const unsigned char*>(theirs);
  if (size > sizeof *ours && !AllZero(bytes + sizeof *ours, size - sizeof *ours)) {
    return UnknownMember(name);
  }
  if (!AllZero(ours->reserved, sizeof ours->reserved)) return UnknownMember(name);
  return absl::OkStatus();
}

// Whether WriteStruct() will do: for calls that work for minutes before they have what to write.
template <typename Struct>
absl::Status CheckOutput(const Struct* theirs, const char* name) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(theirs, name));
  uint32_t size = 0;
  std::memcpy(&size, theirs, sizeof size);
  return CheckStructSize(size, kAbi1Bytes<Struct>, name);
}

// Fills `theirs` to the size that it states, with zeros behind what this library knows.
template <typename Struct>
absl::Status WriteStruct(Struct ours, Struct* theirs, const char* name) {
  SLUICE_RETURN_IF_ERROR(CheckOutput(theirs, name));
  uint32_t size = 0;
  std::memcpy(&size, theirs, sizeof size);
  ours.struct_size = size;
  std::memset(static_cast<void*>(theirs), 0, size);
  std::memcpy(static_cast<void*>(theirs), &ours, std::min<size_t>(size, sizeof ours));
  return absl::OkStatus();
}

// Zeros, all defaults, to the size given, which becomes struct_size.
template <typename Struct>
absl::Status InitStruct(Struct* theirs, size_t size, const char* name) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(theirs, name));
  SLUICE_RETURN_IF_ERROR(CheckStructSize(size, kAbi1Bytes<Struct>, name));
  std::memset(static_cast<void*>(theirs), 0, size);
  theirs->struct_size = static_cast<uint32_t>(size);
  return absl::OkStatus();
}

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_STRUCTS_H_
