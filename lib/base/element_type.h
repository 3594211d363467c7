// The element types of stored weights. Arithmetic is always in f32.
#ifndef SLUICE_LIB_BASE_ELEMENT_TYPE_H_
#define SLUICE_LIB_BASE_ELEMENT_TYPE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

// The numbers are stored in files: append only.
enum class ElementType : uint32_t { kF32 = 0, kF16 = 1, kBF16 = 2 };

size_t ElementBytes(ElementType type);

// "f32", "f16", "bf16"; the names of the command line and of the manifest.
absl::string_view ElementTypeName(ElementType type);

// kInvalidArgument for any other name.
absl::StatusOr<ElementType> ParseElementType(absl::string_view name);

}  // namespace sluice

#endif  // SLUICE_LIB_BASE_ELEMENT_TYPE_H_
