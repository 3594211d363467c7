#include "capi/src/structs.h"

#include "absl/strings/str_cat.h"
#include "sluice/flash_model.h"

namespace sluice::capi {
namespace {

// A struct_size that nobody set must not make us touch what is not the caller's.
constexpr size_t kMaxStructBytes = 4096;

}  // namespace

absl::Status CheckStructSize(size_t theirs, size_t abi1, const char* name) {
  if (theirs >= abi1 && theirs <= kMaxStructBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("struct_size of ", name, " is ", theirs, ", expected sizeof: ", abi1,
                   " in ABI 1, at most ", kMaxStructBytes));
}

bool AllZero(const void* bytes, size_t count) {
  const auto* first = static_cast<const unsigned char*>(bytes);
  return std::all_of(first, first + count, [](unsigned char byte) { return byte == 0; });
}

absl::Status UnknownMember(const char* name) {
  return absl::UnimplementedError(
      absl::StrCat(name, ": a reserved member, or one that this library (", Version(),
                   ") does not know, is not zero; was the struct initialised?"));
}

absl::Status OutOfRange(const char* member, double value, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(member, " is ", value, ", expected ", expected));
}

absl::StatusOr<bool> ReadFlag(uint32_t value, const char* member) {
  if (value > 1) return OutOfRange(member, value, "0 or 1");
  return value == 1;
}

}  // namespace sluice::capi
