#include "lib/convert/strided_view.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/convert/checkpoint_shard.h"

namespace sluice {
namespace {

// Reading through this much that nobody asked for costs less than another request does.
constexpr uint64_t kBridgeBytes = 4096;

// One dimension of a box of elements: how far its neighbours are apart on both sides.
struct Axis {
  uint64_t extent;
  uint64_t source;  // stride in the storage, in elements
  uint64_t target;  // stride in `out`, in elements
};

// A box: some range of indices in every dimension.
struct Box {
  uint64_t source = 0;  // its first element in the storage
  uint64_t target = 0;  // and in `out`
  std::vector<Axis> axes;
};

class ViewReader {
 public:
  ViewReader(const StridedView& view, uint64_t first, ReadStorageFn read,
             absl::Span<std::byte> scratch, absl::Span<std::byte> out)
      : view_(view), first_(first), read_(read), scratch_(scratch), out_(out) {
    rows_.assign(view.shape.size() + 1, 1);
    for (size_t d = view.shape.size(); d > 0; --d) rows_[d - 1] = rows_[d] * view.shape[d - 1];
  }

  // Elements [begin, end) in row-major order of the part of the view that fixes the first
  // `dim` indices; that part begins at element `source` of the storage and at `base` of the view.
  absl::Status ReadRange(size_t dim, uint64_t source, uint64_t base, uint64_t begin,
                         uint64_t end);

 private:
  absl::Status ReadRows(size_t dim, uint64_t source, uint64_t base, uint64_t begin,
                        uint64_t end);
  absl::Status ReadBox(Box box);
  absl::Status ReadOuter(const Box& box, size_t inner, size_t axis, uint64_t span,
                         uint64_t source, uint64_t target);
  void Scatter(const Box& box, size_t axis, uint64_t source, uint64_t target);

  const StridedView& view_;
  const uint64_t first_;
  ReadStorageFn read_;
  absl::Span<std::byte> scratch_;
  absl::Span<std::byte> out_;
  std::vector<uint64_t> rows_;  // rows_[d]: elements in one index of dimension d - 1
};

absl::Status ViewReader::ReadRange(size_t dim, uint64_t source, uint64_t base, uint64_t begin,
                                   uint64_t end) {
  if (begin >= end) return absl::OkStatus();
  if (dim == view_.shape.size()) return ReadRows(dim, source, base, 0, 1);
  const uint64_t row = rows_[dim + 1];
  const uint64_t stride = view_.strides[dim];
  const uint64_t whole_begin = DivideRoundUp(begin, row);
  const uint64_t whole_end = end / row;
  if (whole_begin > whole_end) {  // all within one row
    return ReadRange(dim + 1, source + whole_end * stride, base + whole_end * row,
                     begin - whole_end * row, end - whole_end * row);
  }
  if (begin < whole_begin * row) {
    const uint64_t before = whole_begin - 1;
    SLUICE_RETURN_IF_ERROR(ReadRange(dim + 1, source + before * stride, base + before * row,
                                     begin - before * row, row));
  }
  SLUICE_RETURN_IF_ERROR(ReadRows(dim, source, base, whole_begin, whole_end));
  if (whole_end * row == end) return absl::OkStatus();
  return ReadRange(dim + 1, source + whole_end * stride, base + whole_end * row, 0,
                   end - whole_end * row);
}

// Indices [begin, end) of dimension `dim`, each with all that is below it.
absl::Status ViewReader::ReadRows(size_t dim, uint64_t source, uint64_t base, uint64_t begin,
                                  uint64_t end) {
  if (begin >= end) return absl::OkStatus();
  Box box;
  box.source = source;
  box.target = base - first_;
  for (size_t d = dim; d < view_.shape.size(); ++d) {
    const uint64_t extent = d == dim ? end - begin : view_.shape[d];
    if (d == dim) box.source += begin * view_.strides[d];
    if (d == dim) box.target += begin * rows_[d + 1];
    if (extent > 1) box.axes.push_back({extent, view_.strides[d], rows_[d + 1]});
  }
  return ReadBox(std::move(box));
}

// Visits the box in the order of the storage, and reads as many of its innermost axes with one
// request as lie close together.
absl::Status ViewReader::ReadBox(Box box) {
  std::sort(box.axes.begin(), box.axes.end(),
            [](const Axis& a, const Axis& b) { return a.source < b.source; });
  const uint64_t most = scratch_.size() / view_.element_bytes;
  uint64_t span = 1;
  size_t inner = 0;
  while (inner < box.axes.size()) {
    const Axis axis = box.axes[inner];
    const uint64_t gap = axis.source > span ? axis.source - span : 0;
    if (gap * view_.element_bytes > kBridgeBytes || span >= most) break;
    // How many indices of this axis fit beside one another. A stride of zero adds nothing.
    const uint64_t fit = axis.source == 0 ? axis.extent : (most - span) / axis.source + 1;
    if (fit < 2) break;
    if (fit < axis.extent) {
      // Cut the axis in two: whole pieces of `fit` as an axis of its own, and the rest as a box.
      Box rest = box;
      const uint64_t pieces = axis.extent / fit;
      const uint64_t done = pieces * fit;
      box.axes[inner].extent = fit;
      if (pieces > 1) {
        box.axes.insert(box.axes.begin() + static_cast<ptrdiff_t>(inner) + 1,
                        Axis{pieces, axis.source * fit, axis.target * fit});
      }
      span = (fit - 1) * axis.source + span;
      ++inner;
      SLUICE_RETURN_IF_ERROR(
          ReadOuter(box, inner, box.axes.size(), span, box.source, box.target));
      if (done == axis.extent) return absl::OkStatus();
      rest.axes[inner - 1].extent = axis.extent - done;
      rest.source += done * axis.source;
      rest.target += done * axis.target;
      return ReadBox(std::move(rest));
    }
    span = (axis.extent - 1) * axis.source + span;
    ++inner;
  }
  return ReadOuter(box, inner, box.axes.size(), span, box.source, box.target);
}

// Axes [inner, axis) are still to be walked through, from the largest stride to the smallest.
absl::Status ViewReader::ReadOuter(const Box& box, size_t inner, size_t axis, uint64_t span,
                                   uint64_t source, uint64_t target) {
  if (axis > inner) {
    const Axis& outer = box.axes[axis - 1];
    for (uint64_t i = 0; i < outer.extent; ++i) {
      SLUICE_RETURN_IF_ERROR(ReadOuter(box, inner, axis - 1, span, source + i * outer.source,
                                       target + i * outer.target));
    }
    return absl::OkStatus();
  }
  const absl::Span<std::byte> piece = scratch_.subspan(0, span * view_.element_bytes);
  SLUICE_RETURN_IF_ERROR(read_(source * view_.element_bytes, piece));
  Scatter(box, inner, 0, target);
  return absl::OkStatus();
}

// Puts what `scratch_` holds of axes [0, axis) in its place.
void ViewReader::Scatter(const Box& box, size_t axis, uint64_t source, uint64_t target) {
  const uint64_t bytes = view_.element_bytes;
  if (axis == 0) {
    std::memcpy(out_.data() + target * bytes, scratch_.data() + source * bytes, bytes);
    return;
  }
  const Axis& outer = box.axes[axis - 1];
  if (axis > 1) {
    for (uint64_t i = 0; i < outer.extent; ++i) {
      Scatter(box, axis - 1, source + i * outer.source, target + i * outer.target);
    }
    return;
  }
  std::byte* to = out_.data() + target * bytes;
  const std::byte* from = scratch_.data() + source * bytes;
  for (uint64_t i = 0; i < outer.extent; ++i) {
    std::memcpy(to, from, bytes);
    to += outer.target * bytes;
    from += outer.source * bytes;
  }
}

}  // namespace

absl::Status CheckView(const StridedView& view, uint64_t storage_bytes) {
  if (view.shape.size() != view.strides.size() || view.shape.size() > kMaxTensorRank) {
    return absl::InvalidArgumentError(
        absl::StrCat("a shape of ", view.shape.size(), " dimensions with ", view.strides.size(),
                     " strides; at most ", kMaxTensorRank, " are read"));
  }
  const Checked elements = NumElements(view.shape);
  if (!elements.valid() || !(elements * view.element_bytes).valid()) {
    return absl::InvalidArgumentError("shape times element size does not fit 64 bits");
  }
  if (elements.value() == 0) return absl::OkStatus();
  Checked last = view.offset;
  for (size_t d = 0; d < view.shape.size(); ++d) {
    last = last + Checked(view.shape[d] - 1) * view.strides[d];
  }
  const Checked end = (last + 1) * view.element_bytes;
  if (end.valid_and_at_most(storage_bytes)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      end.valid() ? absl::StrCat("its last element ends at byte ", end.value(),
                                 " of a storage of ", storage_bytes)
                  : "offset and strides do not fit 64 bits");
}

bool IsContiguous(const StridedView& view) {
  uint64_t expected = 1;
  for (size_t d = view.shape.size(); d > 0; --d) {
    if (view.shape[d - 1] == 0) return true;
    if (view.shape[d - 1] == 1) continue;
    if (view.strides[d - 1] != expected) return false;
    expected *= view.shape[d - 1];
  }
  return true;
}

absl::Status ReadView(const StridedView& view, uint64_t first, uint64_t count,
                      ReadStorageFn read, absl::Span<std::byte> scratch,
                      absl::Span<std::byte> out) {
  if (IsContiguous(view)) return read((view.offset + first) * view.element_bytes, out);
  return ViewReader(view, first, read, scratch, out)
      .ReadRange(0, view.offset, 0, first, first + count);
}

}  // namespace sluice
