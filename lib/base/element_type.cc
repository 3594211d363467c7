#include "lib/base/element_type.h"

#include "absl/strings/str_cat.h"

namespace sluice {

size_t ElementBytes(ElementType type) { return type == ElementType::kF32 ? 4 : 2; }

absl::string_view ElementTypeName(ElementType type) {
  switch (type) {
    case ElementType::kF32:
      return "f32";
    case ElementType::kF16:
      return "f16";
    case ElementType::kBF16:
      return "bf16";
  }
  return "unknown";
}

absl::StatusOr<ElementType> ParseElementType(absl::string_view name) {
  for (ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBF16}) {
    if (name == ElementTypeName(type)) return type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("element type \"", name, "\" is none of f32, f16, bf16"));
}

}  // namespace sluice
