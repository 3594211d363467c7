#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/status_macros.h"
#include "lib/format/bundle_file.h"
#include "lib/format/bundle_header.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"

namespace sluice {
namespace {

// Large enough for the bandwidth of any single device, small enough to be no burden.
constexpr size_t kPieceBytes = 4u << 20;
// A file that is all wrong is told in this many lines, and a count.
constexpr size_t kMaxBadLines = 10000;

// Bytes of the file with one hash, or none (padding, which is zero).
struct Region {
  enum class Kind { kHeader, kSection, kTensor, kLayer };
  Kind kind = Kind::kSection;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  size_t index = 0;  // of the section, tensor or layer
};

class Verifier {
 public:
  Verifier(const BundleFile& file, const std::function<bool(uint64_t, uint64_t)>& progress,
           AlignedBuffer buffer, Xxh3Stream hash)
      : file_(file), progress_(progress), buffer_(std::move(buffer)), hash_(std::move(hash)) {}

  absl::StatusOr<VerifyReport> Run();

 private:
  std::vector<Region> Regions() const;
  absl::Status CheckPadding(uint64_t end);
  absl::Status CheckHeader();
  absl::Status CheckHashed(const Region& region);
  absl::Status CheckLayer(uint32_t layer);
  absl::Status CheckRecord(uint32_t layer, uint32_t record, absl::Span<const std::byte> bytes);
  // Fills the buffer with the next `bytes` (at most its size).
  absl::StatusOr<absl::Span<const std::byte>> Read(uint64_t bytes);
  void Report(std::string line);

  const BundleFile& file_;
  const std::function<bool(uint64_t, uint64_t)>& progress_;
  AlignedBuffer buffer_;
  Xxh3Stream hash_;
  uint64_t position_ = 0;
  VerifyReport report_;
  uint64_t untold_ = 0;
};

std::vector<Region> Verifier::Regions() const {
  std::vector<Region> regions = {{Region::Kind::kHeader, 0, kHeaderBytes, 0}};
  for (size_t i = 0; i < file_.sections().size(); ++i) {
    const Section& section = file_.sections()[i];
    if (section.kind == SectionKind::kResident || section.kind == SectionKind::kRecords ||
        section.kind == SectionKind::kPredictors) {
      continue;
    }
    regions.push_back({Region::Kind::kSection, section.offset, section.bytes, i});
  }
  for (size_t i = 0; i < file_.tensors().size(); ++i) {
    const TensorEntry& tensor = file_.tensors()[i];
    regions.push_back({Region::Kind::kTensor, tensor.offset, tensor.bytes, i});
  }
  for (size_t i = 0; i < file_.layers().size(); ++i) {
    const RecordLayout& layout = file_.layers()[i];
    regions.push_back({Region::Kind::kLayer, layout.offset,
                       static_cast<uint64_t>(layout.num_records) * layout.record_bytes, i});
  }
  std::sort(regions.begin(), regions.end(),
            [](const Region& a, const Region& b) { return a.offset < b.offset; });
  return regions;
}

void Verifier::Report(std::string line) {
  if (report_.bad.size() < kMaxBadLines) {
    report_.bad.push_back(std::move(line));
  } else {
    ++untold_;
  }
}

absl::StatusOr<absl::Span<const std::byte>> Verifier::Read(uint64_t bytes) {
  const absl::Span<std::byte> out = buffer_.span().first(static_cast<size_t>(bytes));
  SLUICE_RETURN_IF_ERROR(file_.storage()->ReadAt(position_, out));
  position_ += bytes;
  if (progress_ && !progress_(position_, file_.file_bytes())) {
    return absl::CancelledError(absl::StrCat(file_.path(), ": verification cancelled"));
  }
  return absl::Span<const std::byte>(out);
}

absl::Status Verifier::CheckPadding(uint64_t end) {
  const uint64_t begin = position_;
  bool zero = true;
  while (position_ < end) {
    SLUICE_ASSIGN_OR_RETURN(const auto bytes,
                            Read(std::min<uint64_t>(kPieceBytes, end - position_)));
    zero = zero && AllZero(bytes);
  }
  if (!zero) Report(absl::StrCat("padding from ", begin, " to ", end, ": not zero"));
  return absl::OkStatus();
}

absl::Status Verifier::CheckHeader() {
  SLUICE_ASSIGN_OR_RETURN(const auto page, Read(kHeaderBytes));
  const auto header = DecodeHeader(page, file_.file_bytes(), file_.path());
  if (!header.ok()) Report(std::string(header.status().message()));
  return absl::OkStatus();
}

absl::Status Verifier::CheckHashed(const Region& region) {
  hash_.Reset(0);
  const uint64_t end = region.offset + region.bytes;
  while (position_ < end) {
    SLUICE_ASSIGN_OR_RETURN(const auto bytes,
                            Read(std::min<uint64_t>(kPieceBytes, end - position_)));
    hash_.Update(bytes);
  }
  const bool tensor = region.kind == Region::Kind::kTensor;
  const uint64_t expected =
      tensor ? file_.tensors()[region.index].xxh3 : file_.sections()[region.index].xxh3;
  const uint64_t found = hash_.Digest();
  if (found == expected) return absl::OkStatus();
  const std::string what =
      tensor ? absl::StrCat("tensor \"", file_.tensors()[region.index].name, "\"")
             : absl::StrCat("section ", region.index, " (",
                            SectionName(file_.sections()[region.index].kind), ")");
  Report(absl::StrCat(what, " at ", region.offset, ", ", region.bytes,
                      " bytes: expected checksum ", HashToHex(expected), ", found ",
                      HashToHex(found)));
  return absl::OkStatus();
}

absl::Status Verifier::CheckRecord(uint32_t layer, uint32_t record,
                                   absl::Span<const std::byte> bytes) {
  ++report_.records;
  const RecordLayout& layout = file_.layers()[layer];
  const absl::Status status = file_.VerifyRecord(layer, record, bytes);
  if (absl::IsDataLoss(status)) {
    Report(std::string(status.message()));
    return absl::OkStatus();
  }
  SLUICE_RETURN_IF_ERROR(status);
  if (!AllZero(bytes.subspan(layout.used_bytes(record)))) {
    Report(absl::StrCat(DescribeRecord(layout, layer, record), ": its padding is not zero"));
  }
  return absl::OkStatus();
}

// Whole records, as many as the buffer holds at a time; it is at least as large as one.
absl::Status Verifier::CheckLayer(uint32_t layer) {
  const RecordLayout& layout = file_.layers()[layer];
  const uint64_t records_at_once = buffer_.size() / layout.record_bytes;
  uint32_t record = 0;
  while (record < layout.num_records) {
    const uint64_t count = std::min<uint64_t>(records_at_once, layout.num_records - record);
    SLUICE_ASSIGN_OR_RETURN(const auto bytes, Read(count * layout.record_bytes));
    for (uint64_t i = 0; i < count; ++i, ++record) {
      SLUICE_RETURN_IF_ERROR(CheckRecord(
          layer, record,
          bytes.subspan(static_cast<size_t>(i) * layout.record_bytes, layout.record_bytes)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<VerifyReport> Verifier::Run() {
  for (const Region& region : Regions()) {
    SLUICE_RETURN_IF_ERROR(CheckPadding(region.offset));
    switch (region.kind) {
      case Region::Kind::kHeader:
        SLUICE_RETURN_IF_ERROR(CheckHeader());
        break;
      case Region::Kind::kLayer:
        SLUICE_RETURN_IF_ERROR(CheckLayer(static_cast<uint32_t>(region.index)));
        break;
      default:
        SLUICE_RETURN_IF_ERROR(CheckHashed(region));
    }
  }
  SLUICE_RETURN_IF_ERROR(CheckPadding(file_.file_bytes()));
  if (untold_ != 0) report_.bad.push_back(absl::StrCat("and ", untold_, " more"));
  return std::move(report_);
}

}  // namespace

absl::StatusOr<VerifyReport> VerifyBundle(
    const BundleFile& file, const std::function<bool(uint64_t, uint64_t)>& progress) {
  size_t bytes = kPieceBytes;
  for (const RecordLayout& layout : file.layers()) {
    bytes = std::max<size_t>(bytes, layout.record_bytes);
  }
  try {
    SLUICE_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(bytes));
    SLUICE_ASSIGN_OR_RETURN(Xxh3Stream hash, Xxh3Stream::Create());
    return Verifier(file, progress, std::move(buffer), std::move(hash)).Run();
  } catch (const std::bad_alloc& e) {
    return absl::ResourceExhaustedError(absl::StrCat(file.path(), ": ", e.what()));
  }
}

}  // namespace sluice
