#include "lib/convert/checkpoint_shard.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace sluice {
namespace {

constexpr size_t kMaxQuoted = 200;
constexpr absl::string_view kLfsPointer = "version https://git-lfs";

}  // namespace

Checked NumElements(absl::Span<const uint64_t> shape) {
  Checked elements = 1;
  bool empty = false;
  for (const uint64_t dim : shape) {
    empty = empty || dim == 0;
    elements = elements * dim;
  }
  // A zero anywhere makes the tensor empty, also where the other dimensions wrap on the way.
  return empty ? Checked(0) : elements;
}

std::string QuotedName(absl::string_view text) {
  const bool cut = text.size() > kMaxQuoted;
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, kMaxQuoted)), cut ? "..." : "", "'");
}

absl::Status RefuseLfsPointer(const InputFile& file) {
  if (file.size() < kLfsPointer.size()) return absl::OkStatus();
  std::string head(kLfsPointer.size(), '\0');
  SLUICE_RETURN_IF_ERROR(file.ReadAt(
      0, absl::MakeSpan(reinterpret_cast<std::byte*>(head.data()), head.size())));
  if (head != kLfsPointer) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      file.path(), ": a Git LFS pointer of ", file.size(),
      " bytes and not the weights: fetch them with `git lfs pull`"));
}

}  // namespace sluice
