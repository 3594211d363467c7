#include "lib/convert/safetensors.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/json_guard.h"
#include "lib/base/status_macros.h"

namespace sluice {
namespace {

constexpr uint64_t kLengthBytes = 8;

struct DtypeInfo {
  absl::string_view name;
  uint64_t bits;
  std::optional<ElementType> type;  // none: known, but not read
};

constexpr DtypeInfo kDtypes[] = {
    {"F32", 32, ElementType::kF32}, {"F16", 16, ElementType::kF16},
    {"BF16", 16, ElementType::kBF16}, {"F64", 64, {}}, {"I64", 64, {}}, {"I32", 32, {}},
    {"I16", 16, {}}, {"I8", 8, {}}, {"U64", 64, {}}, {"U32", 32, {}}, {"U16", 16, {}},
    {"U8", 8, {}}, {"BOOL", 8, {}}, {"F8_E4M3", 8, {}}, {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}}, {"F6_E2M3", 6, {}}, {"F6_E3M2", 6, {}}, {"F4", 4, {}},
    {"C64", 64, {}},
};

const DtypeInfo* FindDtype(absl::string_view name) {
  for (const DtypeInfo& dtype : kDtypes) {
    if (dtype.name == name) return &dtype;
  }
  return nullptr;
}

// One entry of the header. `begin` and `end` count from the end of the header.
struct Entry {
  std::string name;
  const DtypeInfo* dtype = nullptr;
  std::vector<uint64_t> shape;
  uint64_t elements = 0;
  uint64_t begin = 0;
  uint64_t end = 0;
};

absl::Status Invalid(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

bool IsCount(const nlohmann::json& value) { return value.is_number_unsigned(); }

absl::Status ReadShape(const nlohmann::json& shape, Entry* entry) {
  if (!shape.is_array()) return absl::InvalidArgumentError("shape is not an array");
  if (shape.size() > kMaxTensorRank) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", shape.size(), ", at most ", kMaxTensorRank, " are read"));
  }
  for (const nlohmann::json& dim : shape) {
    if (!IsCount(dim)) {
      return absl::InvalidArgumentError("shape has an element that is no size");
    }
    entry->shape.push_back(dim.get<uint64_t>());
  }
  return absl::OkStatus();
}

absl::Status CheckExtent(uint64_t data_bytes, Entry* entry) {
  if (entry->begin > entry->end) {
    return absl::InvalidArgumentError(
        absl::StrCat("data_offsets [", entry->begin, ", ", entry->end, "] run backwards"));
  }
  // Our own product counts an empty tensor as empty whatever its other dimensions are; the
  // format's reader does not, and nothing that it refuses is accepted here.
  Checked plain = 1;
  for (const uint64_t dim : entry->shape) plain = plain * dim;
  const Checked bits = plain * entry->dtype->bits;
  if (!bits.valid()) {
    return absl::InvalidArgumentError("shape times element size does not fit 64 bits");
  }
  if (bits.value() % 8 != 0 || bits.value() / 8 != entry->end - entry->begin) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape needs ", bits.value() / 8, " bytes of ", entry->dtype->name,
                     ", data_offsets hold ", entry->end - entry->begin));
  }
  if (entry->end > data_bytes) {
    return absl::DataLossError(absl::StrCat("ends at data byte ", entry->end,
                                            ", the file has ", data_bytes,
                                            " (truncated download?)"));
  }
  entry->elements = plain.value();
  return absl::OkStatus();
}

absl::Status ReadEntry(const nlohmann::json& json, uint64_t data_bytes, Entry* entry) {
  if (!json.is_object()) return absl::InvalidArgumentError("not an object");
  const auto dtype = json.find("dtype");
  const auto shape = json.find("shape");
  const auto offsets = json.find("data_offsets");
  if (dtype == json.end() || shape == json.end() || offsets == json.end()) {
    return absl::InvalidArgumentError("needs dtype, shape and data_offsets");
  }
  if (!dtype->is_string()) return absl::InvalidArgumentError("dtype is not a string");
  const std::string& dtype_name = dtype->get_ref<const std::string&>();
  entry->dtype = FindDtype(dtype_name);
  if (entry->dtype == nullptr) {
    return absl::UnimplementedError(absl::StrCat("unknown dtype ", QuotedName(dtype_name)));
  }
  SLUICE_RETURN_IF_ERROR(ReadShape(*shape, entry));
  if (!offsets->is_array() || offsets->size() != 2 || !IsCount((*offsets)[0]) ||
      !IsCount((*offsets)[1])) {
    return absl::InvalidArgumentError("data_offsets are not two offsets");
  }
  entry->begin = (*offsets)[0].get<uint64_t>();
  entry->end = (*offsets)[1].get<uint64_t>();
  return CheckExtent(data_bytes, entry);
}

absl::Status CheckMetadata(const nlohmann::json& metadata) {
  if (!metadata.is_object()) return absl::InvalidArgumentError("not an object");
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(QuotedName(key), " is not a string"));
    }
  }
  return absl::OkStatus();
}

// The header text, checked as far as that goes without reading it as JSON.
absl::StatusOr<std::string> ReadHeader(const InputFile& file) {
  SLUICE_RETURN_IF_ERROR(RefuseLfsPointer(file));
  if (file.size() < kLengthBytes + 2) {
    return absl::DataLossError(absl::StrCat(file.path(), ": expected a header, found ",
                                            file.size(), " bytes in all"));
  }
  unsigned char raw[kLengthBytes];
  SLUICE_RETURN_IF_ERROR(
      file.ReadAt(0, absl::MakeSpan(reinterpret_cast<std::byte*>(raw), kLengthBytes)));
  uint64_t length = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) length |= uint64_t{raw[i]} << (8 * i);
  if (length < 2 || length > kMaxSafetensorsHeader) {
    return Invalid(file.path(), absl::StrCat("header of ", length, " bytes, allowed are 2 to ",
                                             kMaxSafetensorsHeader));
  }
  if (length > file.size() - kLengthBytes) {
    return absl::DataLossError(absl::StrCat(file.path(), ": expected a header of ", length,
                                            " bytes, found a file of ", file.size(),
                                            " (truncated download?)"));
  }
  std::string header(length, '\0');
  SLUICE_RETURN_IF_ERROR(file.ReadAt(
      kLengthBytes, absl::MakeSpan(reinterpret_cast<std::byte*>(header.data()), length)));
  if (header[0] != '{') return Invalid(file.path(), "header does not begin with '{'");
  return header;
}

// Tensors lie end to end from the first data byte to the last: a gap or an overlap could hide
// something, or give one tensor's bytes to another.
absl::Status CheckCover(std::vector<Entry>* entries, uint64_t header_end, uint64_t file_bytes) {
  std::sort(entries->begin(), entries->end(), [](const Entry& a, const Entry& b) {
    return std::make_pair(a.begin, a.end) < std::make_pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const Entry& entry : *entries) {
    if (entry.begin != at) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", QuotedName(entry.name), " begins at data byte ", entry.begin, ", expected ",
          at, entry.begin < at ? " (overlaps the one before)" : " (leaves a hole)"));
    }
    at = entry.end;
  }
  if (header_end + at != file_bytes) {
    return absl::DataLossError(absl::StrCat("expected ", header_end + at,
                                            " bytes by the header, found ", file_bytes));
  }
  return absl::OkStatus();
}

class SafetensorsShard : public CheckpointShard {
 public:
  static absl::StatusOr<std::unique_ptr<CheckpointShard>> Open(const std::string& path);
  absl::Status Read(size_t tensor_idx, uint64_t first, uint64_t count,
                    absl::Span<std::byte> out) override;

 private:
  absl::Status ReadEntries(const nlohmann::json& header, uint64_t header_end);

  std::unique_ptr<InputFile> file_;
  std::vector<uint64_t> offsets_;  // in the file, one for each of tensors()
};

absl::Status SafetensorsShard::ReadEntries(const nlohmann::json& header, uint64_t header_end) {
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name == "__metadata__") {
      SLUICE_RETURN_IF_ERROR(Annotate(CheckMetadata(json), name));
      continue;
    }
    Entry entry;
    entry.name = name;
    SLUICE_RETURN_IF_ERROR(Annotate(ReadEntry(json, file_->size() - header_end, &entry),
                                    absl::StrCat("tensor ", QuotedName(name))));
    entries.push_back(std::move(entry));
  }
  SLUICE_RETURN_IF_ERROR(CheckCover(&entries, header_end, file_->size()));
  for (Entry& entry : entries) {
    if (!entry.dtype->type.has_value()) {
      skipped_.push_back({std::move(entry.name), std::string(entry.dtype->name)});
      continue;
    }
    offsets_.push_back(header_end + entry.begin);
    tensors_.push_back({std::move(entry.name), *entry.dtype->type, std::move(entry.shape),
                        entry.elements, file_->path()});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CheckpointShard>> SafetensorsShard::Open(
    const std::string& path) {
  auto shard = std::make_unique<SafetensorsShard>();
  SLUICE_ASSIGN_OR_RETURN(shard->file_, InputFile::Open(path));
  SLUICE_ASSIGN_OR_RETURN(const std::string text, ReadHeader(*shard->file_));
  SLUICE_ASSIGN_OR_RETURN(const nlohmann::json header,
                          ParseJson(text, absl::StrCat(path, ": header")));
  if (!header.is_object()) return Invalid(path, "header is not an object");
  SLUICE_RETURN_IF_ERROR(
      Annotate(shard->ReadEntries(header, kLengthBytes + text.size()), path));
  return std::unique_ptr<CheckpointShard>(std::move(shard));
}

absl::Status SafetensorsShard::Read(size_t tensor_idx, uint64_t first, uint64_t count,
                                    absl::Span<std::byte> out) {
  const uint64_t skip = first * ElementBytes(tensors_[tensor_idx].type);
  return file_->ReadAt(offsets_[tensor_idx] + skip, out);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CheckpointShard>> OpenSafetensors(const std::string& path) {
  return SafetensorsShard::Open(path);
}

}  // namespace sluice
