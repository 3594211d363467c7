#include "lib/format/bundle_file.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/checked.h"
#include "lib/base/json_guard.h"
#include "lib/base/status_macros.h"
#include "lib/format/bundle_header.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/format/manifest.h"
#include "lib/format/part_set.h"

namespace sluice {

struct BundleFile::State {
  std::shared_ptr<StorageFile> storage;
  PartPage part;  // of the first part; part_bytes is 0 when it is one file
  BundleHeader header;
  nlohmann::json manifest;
  ManifestContent content;
  absl::flat_hash_map<absl::string_view, const TensorEntry*> tensor_by_name;
  std::vector<uint64_t> first_record;  // of each layer, as an index into the checksum table
  AlignedBuffer checksum_table;        // u64 little-endian, as in the file
  uint64_t resident_bytes = 0;

  absl::Status ReadHeader();
  absl::Status ReadManifest();
  absl::Status ReadChecksumTable();
  // Reads a section that is hashed as a whole, and checks the hash.
  absl::StatusOr<AlignedBuffer> ReadSection(const Section& section, uint64_t max_bytes) const;
  void Index();
};

namespace {

// What is read between two calls of a ReadProgress.
constexpr size_t kProgressBytes = 4 << 20;

absl::Status ReadingCancelled(const std::string& path) {
  return absl::CancelledError(absl::StrCat(path, ": reading was cancelled"));
}

absl::string_view AsText(const AlignedBuffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

// Roughly what a JSON tree takes on the heap. The depth is bounded (json_guard.h).
uint64_t JsonBytes(const nlohmann::json& value) {
  constexpr uint64_t kNodeBytes = 48;  // of a std::map, and what malloc adds
  uint64_t bytes = sizeof(value);
  if (value.is_string()) bytes += value.get_ref<const std::string&>().capacity() + sizeof(void*);
  if (!value.is_structured()) return bytes;
  for (const auto& item : value.items()) {
    if (value.is_object()) bytes += kNodeBytes + sizeof(std::string) + item.key().capacity();
    bytes += JsonBytes(item.value());
  }
  return bytes;
}

std::string HashMismatch(uint64_t expected, uint64_t found) {
  return absl::StrCat("expected checksum ", HashToHex(expected), ", found ", HashToHex(found));
}

absl::Status CheckTensorHash(const std::string& path, const TensorEntry& entry, uint64_t found) {
  if (found == entry.xxh3) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": tensor \"", entry.name, "\" at ", entry.offset,
                                          ", ", entry.bytes, " bytes: ",
                                          HashMismatch(entry.xxh3, found)));
}

}  // namespace

absl::Status BundleFile::State::ReadHeader() {
  std::byte page[kHeaderBytes];
  const uint64_t bytes = std::min<uint64_t>(kHeaderBytes, storage->size());
  const absl::Span<std::byte> head(page, static_cast<size_t>(bytes));
  if (!head.empty()) SLUICE_RETURN_IF_ERROR(storage->ReadAt(0, head));
  if (StartsWithPartMagic(head)) {
    return absl::InvalidArgumentError(
        absl::StrCat(storage->path(), ": is one of several parts, which are opened by the path of ",
                     "the first"));
  }
  SLUICE_ASSIGN_OR_RETURN(header, DecodeHeader(head, storage->size(), storage->path()));
  if (part.part_bytes == 0) return absl::OkStatus();
  const uint64_t set = LoadU64(page + kChecksumOffset);
  if (set == part.set && header.uuid == part.uuid) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      storage->path(), ": header: its checksum is ", HashToHex(set), " and its uuid ",
      HashToHex(header.uuid), ", its part page says ", HashToHex(part.set), " and ",
      HashToHex(part.uuid)));
}

absl::StatusOr<AlignedBuffer> BundleFile::State::ReadSection(const Section& section,
                                                             uint64_t max_bytes) const {
  const std::string where = absl::StrCat(storage->path(), ": section ",
                                         SectionName(section.kind), " at ", section.offset);
  if (section.bytes > max_bytes) {
    return absl::DataLossError(
        absl::StrCat(where, " has ", section.bytes, " bytes, at most ", max_bytes));
  }
  absl::StatusOr<AlignedBuffer> buffer = AlignedBuffer::Allocate(section.bytes);
  if (!buffer.ok()) return Annotate(buffer.status(), where);
  SLUICE_RETURN_IF_ERROR(storage->ReadAt(section.offset, buffer->span()));
  const uint64_t found = Xxh3(buffer->span());
  if (found != section.xxh3) {
    return absl::DataLossError(absl::StrCat(where, ", ", section.bytes, " bytes: ",
                                            HashMismatch(section.xxh3, found)));
  }
  return buffer;
}

absl::Status BundleFile::State::ReadManifest() {
  const Section* section = header.Find(SectionKind::kManifest);
  SLUICE_ASSIGN_OR_RETURN(const AlignedBuffer text, ReadSection(*section, kMaxManifestBytes));
  const std::string what = absl::StrCat(storage->path(), ": manifest");
  absl::StatusOr<nlohmann::json> parsed = ParseJson(AsText(text), what);
  if (absl::IsInvalidArgument(parsed.status())) {
    return absl::DataLossError(parsed.status().message());
  }
  SLUICE_RETURN_IF_ERROR(parsed.status());
  manifest = *std::move(parsed);
  absl::StatusOr<ManifestContent> taken = TakeManifestContent(&manifest, header);
  if (!taken.ok()) return Annotate(taken.status(), what);
  content = *std::move(taken);
  return absl::OkStatus();
}

absl::Status BundleFile::State::ReadChecksumTable() {
  const Section* section = header.Find(SectionKind::kChecksums);
  if (section == nullptr) return absl::OkStatus();
  SLUICE_ASSIGN_OR_RETURN(checksum_table, ReadSection(*section, kMaxChecksumTableBytes));
  return absl::OkStatus();
}

void BundleFile::State::Index() {
  resident_bytes = sizeof(State) + checksum_table.size() + JsonBytes(manifest);
  tensor_by_name.reserve(content.tensors.size());
  for (const TensorEntry& tensor : content.tensors) {
    tensor_by_name.emplace(tensor.name, &tensor);
    resident_bytes += sizeof(tensor) + tensor.name.capacity() +
                      tensor.shape.capacity() * sizeof(uint64_t) +
                      2 * sizeof(*tensor_by_name.begin());  // the table is at most half empty
  }
  uint64_t record = 0;
  for (const RecordLayout& layout : content.layers) {
    first_record.push_back(record);
    record += layout.num_records;
    resident_bytes += sizeof(layout) + sizeof(record);
  }
}

absl::StatusOr<std::shared_ptr<BundleFile>> BundleFile::Open(const std::string& path) {
  try {
    auto state = std::make_unique<State>();
    SLUICE_ASSIGN_OR_RETURN(BundleStorage bundle, OpenBundleStorage(path));
    state->storage = std::move(bundle.storage);
    state->part = bundle.first;
    return Read(std::move(state));
  } catch (const std::bad_alloc& e) {
    return absl::ResourceExhaustedError(absl::StrCat(path, ": cannot be opened: ", e.what()));
  }
}

absl::StatusOr<std::shared_ptr<BundleFile>> BundleFile::Open(
    std::shared_ptr<StorageFile> storage) {
  auto state = std::make_unique<State>();
  state->storage = std::move(storage);
  return Read(std::move(state));
}

absl::StatusOr<std::shared_ptr<BundleFile>> BundleFile::Read(std::unique_ptr<State> state) {
  const std::string path = state->storage->path();
  try {
    SLUICE_RETURN_IF_ERROR(state->ReadHeader());
    SLUICE_RETURN_IF_ERROR(state->ReadManifest());
    SLUICE_RETURN_IF_ERROR(state->ReadChecksumTable());
    state->Index();
    return std::shared_ptr<BundleFile>(new BundleFile(std::move(state)));
  } catch (const std::exception& e) {  // std::bad_alloc: the directory is as large as the file says
    return absl::ResourceExhaustedError(absl::StrCat(path, ": cannot be opened: ", e.what()));
  }
}

BundleFile::BundleFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
BundleFile::~BundleFile() = default;

const std::shared_ptr<StorageFile>& BundleFile::storage() const { return state_->storage; }
const std::string& BundleFile::path() const { return state_->storage->path(); }
uint64_t BundleFile::file_bytes() const { return state_->header.file_bytes; }
uint32_t BundleFile::num_parts() const { return state_->part.num_parts; }
uint64_t BundleFile::part_bytes() const { return state_->part.part_bytes; }
uint64_t BundleFile::uuid() const { return state_->header.uuid; }
uint32_t BundleFile::major_version() const { return state_->header.major; }
uint32_t BundleFile::minor_version() const { return state_->header.minor; }
const std::vector<Section>& BundleFile::sections() const { return state_->header.sections; }
const nlohmann::json& BundleFile::manifest() const { return state_->manifest; }
const std::vector<TensorEntry>& BundleFile::tensors() const { return state_->content.tensors; }
const std::vector<RecordLayout>& BundleFile::layers() const { return state_->content.layers; }
uint64_t BundleFile::resident_bytes() const { return state_->resident_bytes; }

const TensorEntry* BundleFile::FindTensor(absl::string_view name) const {
  const auto it = state_->tensor_by_name.find(name);
  return it == state_->tensor_by_name.end() ? nullptr : it->second;
}

absl::Status BundleFile::ReadTensor(const TensorEntry& entry, absl::Span<std::byte> out,
                                    const ReadProgress& progress) const {
  if (out.size() != entry.bytes) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", entry.name, "\" has ",
                                                   entry.bytes, " bytes, room for ",
                                                   out.size()));
  }
  for (uint64_t at = 0; at < entry.bytes;) {
    const auto piece = out.subspan(at, kProgressBytes);
    SLUICE_RETURN_IF_ERROR(state_->storage->ReadAt(entry.offset + at, piece));
    if (progress && !progress(piece.size())) return ReadingCancelled(path());
    at += piece.size();
  }
  return CheckTensorHash(path(), entry, Xxh3(out));
}

absl::Status BundleFile::ReadTensorInPieces(
    const TensorEntry& entry, absl::Span<std::byte> scratch,
    absl::FunctionRef<void(absl::Span<const std::byte> piece)> take,
    const ReadProgress& progress) const {
  if (scratch.empty()) return absl::InvalidArgumentError("no room for a piece of a tensor");
  SLUICE_ASSIGN_OR_RETURN(Xxh3Stream hash, Xxh3Stream::Create());
  hash.Reset(0);
  for (uint64_t at = 0; at < entry.bytes;) {
    const auto piece = scratch.first(std::min<uint64_t>(scratch.size(), entry.bytes - at));
    SLUICE_RETURN_IF_ERROR(state_->storage->ReadAt(entry.offset + at, piece));
    hash.Update(piece);
    take(piece);
    if (progress && !progress(piece.size())) return ReadingCancelled(path());
    at += piece.size();
  }
  return CheckTensorHash(path(), entry, hash.Digest());
}

absl::Status BundleFile::VerifyRecord(uint32_t layer, uint32_t record,
                                      absl::Span<const std::byte> bytes) const {
  if (layer >= layers().size() || record >= layers()[layer].num_records ||
      bytes.size() != layers()[layer].record_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        path(), ": there is no record ", record, " of ", bytes.size(), " bytes in layer ", layer));
  }
  const uint64_t index = state_->first_record[layer] + record;
  const uint64_t expected =
      LoadU64(state_->checksum_table.data() + index * sizeof(uint64_t));
  const uint64_t found = Xxh3(bytes, RecordSeed(uuid(), layer, record));
  if (found == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path(), ": ",
                                          DescribeRecord(layers()[layer], layer, record), ": ",
                                          HashMismatch(expected, found)));
}

absl::StatusOr<std::string> BundleFile::ReadTokenizer() const {
  const Section* section = state_->header.Find(SectionKind::kTokenizer);
  if (section == nullptr) return std::string();
  SLUICE_ASSIGN_OR_RETURN(const AlignedBuffer text,
                          state_->ReadSection(*section, kMaxTokenizerBytes));
  try {
    return std::string(AsText(text));
  } catch (const std::exception& e) {
    return absl::ResourceExhaustedError(absl::StrCat(path(), ": tokenizer: ", e.what()));
  }
}

}  // namespace sluice
