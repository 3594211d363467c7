#include "lib/format/bundle_writer.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/format/bundle_file.h"
#include "lib/format/bundle_header.h"
#include "lib/format/bundle_output.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/format/manifest.h"
#include "lib/format/neuron_order.h"
#include "lib/format/reorder_records.h"
#include "lib/format/sequential_output.h"

namespace sluice {
namespace {

// What has been written so far; each stage allows some calls and refuses the others.
enum class Stage {
  kTensors, kInTensor, kLayers, kInLayer, kTokenizer, kFinished, kReordering, kDone, kFailed
};

}  // namespace

struct BundleWriter::State {
  std::unique_ptr<BundleOutput> file;
  std::unique_ptr<SequentialOutput> output;
  Stage stage = Stage::kTensors;
  BundleHeader header;
  ManifestContent content;
  absl::flat_hash_set<std::string> tensor_names;
  std::unique_ptr<Xxh3Stream> tensor_hash;
  std::vector<std::byte> checksum_table;
  uint64_t layer_records = 0;  // of the open layer, so far
  std::string tokenizer;
  nlohmann::json members;    // the caller's part of the manifest
  uint64_t tail_offset = 0;  // where predictors and manifest begin

  // Runs one step; after the first that fails, every further one is refused.
  template <typename Step>
  absl::Status Run(absl::string_view call, std::initializer_list<Stage> allowed, Step step);
  absl::Status Fail(absl::string_view what);

  absl::Status BeginTensor(const std::string& name, ElementType type,
                           std::vector<uint64_t> shape, SectionKind section);
  absl::Status AppendTensor(absl::Span<const std::byte> data);
  absl::Status EndTensor();
  absl::Status BeginLayer(RecordLayout layout);
  absl::Status AppendRecords(absl::Span<const std::byte> data);
  absl::Status EndLayer();
  absl::Status WriteSection(SectionKind kind, absl::Span<const std::byte> data);
  absl::Status WriteTail(const std::vector<NamedTensor>& predictors);
  absl::Status WritePredictors(const std::vector<NamedTensor>& tensors);
  absl::Status WriteHeader();
  absl::Status LoadCopy();
  absl::Status BeginReordering();
  absl::Status ReorderNeurons(uint32_t layer, absl::Span<const uint32_t> order,
                              const std::string& tensor);
  absl::Status WriteChecksums();
  const Section* Find(SectionKind kind) const;
  // The section of that kind, which is the last one; made when it is not there yet.
  Section* LastSection(SectionKind kind);
};

template <typename Step>
absl::Status BundleWriter::State::Run(absl::string_view call,
                                      std::initializer_list<Stage> allowed, Step step) {
  absl::Status status;
  if (std::find(allowed.begin(), allowed.end(), stage) == allowed.end()) {
    status = absl::FailedPreconditionError(
        absl::StrCat(file->final_path(), ": ", call, " is out of order",
                     stage == Stage::kFailed ? ": an earlier call failed" : ""));
  } else {
    try {
      status = step();
    } catch (const std::exception& e) {  // std::bad_alloc
      status = absl::ResourceExhaustedError(
          absl::StrCat(file->final_path(), ": ", call, ": ", e.what()));
    }
  }
  if (!status.ok()) stage = Stage::kFailed;
  return status;
}

absl::Status BundleWriter::State::Fail(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file->final_path(), ": ", what));
}

Section* BundleWriter::State::LastSection(SectionKind kind) {
  if (header.sections.empty() || header.sections.back().kind != kind) {
    Section section;
    section.kind = kind;
    section.offset = output->position();
    header.sections.push_back(section);
  }
  return &header.sections.back();
}

absl::Status BundleWriter::State::BeginTensor(const std::string& name, ElementType type,
                                              std::vector<uint64_t> shape, SectionKind section) {
  SLUICE_RETURN_IF_ERROR(CheckTensorName(name));
  TensorEntry entry;
  absl::StatusOr<uint64_t> bytes = TensorBytes(type, shape);
  if (!bytes.ok()) return Fail(absl::StrCat("tensor \"", name, "\": ", bytes.status().message()));
  if (content.tensors.size() == kMaxTensors) {
    return Fail(absl::StrCat("more than ", kMaxTensors, " tensors"));
  }
  if (!tensor_names.insert(name).second) {
    return Fail(absl::StrCat("two tensors are named \"", name, "\""));
  }
  LastSection(section);
  entry.name = name;
  entry.section = section;
  entry.type = type;
  entry.shape = std::move(shape);
  entry.offset = output->position();
  entry.bytes = *bytes;
  content.tensors.push_back(std::move(entry));
  tensor_hash->Reset(0);
  stage = Stage::kInTensor;
  return absl::OkStatus();
}

absl::Status BundleWriter::State::AppendTensor(absl::Span<const std::byte> data) {
  const TensorEntry& entry = content.tensors.back();
  const uint64_t left = entry.offset + entry.bytes - output->position();
  if (data.size() > left) {
    return Fail(absl::StrCat("tensor \"", entry.name, "\" has ", entry.bytes, " bytes, got ",
                             data.size() - left, " more"));
  }
  tensor_hash->Update(data);
  return output->Append(data);
}

absl::Status BundleWriter::State::EndTensor() {
  TensorEntry& entry = content.tensors.back();
  const uint64_t written = output->position() - entry.offset;
  if (written != entry.bytes) {
    return Fail(absl::StrCat("tensor \"", entry.name, "\" has ", entry.bytes, " bytes, got ",
                             written));
  }
  entry.xxh3 = tensor_hash->Digest();
  Section* section = LastSection(entry.section);
  section->bytes = output->position() - section->offset;
  stage = Stage::kTensors;
  return output->PadTo(kSectionAlignment);
}

absl::Status BundleWriter::State::BeginLayer(RecordLayout layout) {
  const std::string what = absl::StrCat("layer ", content.layers.size());
  if (content.layers.size() == kMaxLayers) {
    return Fail(absl::StrCat("more than ", kMaxLayers, " layers"));
  }
  if (layout.neurons_per_record != 0) {
    layout.num_records =
        static_cast<uint32_t>(DivideRoundUp(layout.num_neurons, layout.neurons_per_record));
  }
  if (absl::Status status = CheckRecordLayout(layout); !status.ok()) {
    return Fail(absl::StrCat(what, ": ", status.message()));
  }
  LastSection(SectionKind::kRecords);
  layout.offset = output->position();
  content.layers.push_back(layout);
  layer_records = 0;
  stage = Stage::kInLayer;
  return absl::OkStatus();
}

absl::Status BundleWriter::State::AppendRecords(absl::Span<const std::byte> data) {
  const RecordLayout& layout = content.layers.back();
  const uint32_t layer = static_cast<uint32_t>(content.layers.size() - 1);
  if (data.size() % layout.record_bytes != 0 ||
      data.size() / layout.record_bytes > layout.num_records - layer_records) {
    return Fail(absl::StrCat("layer ", layer, ": got ", data.size(), " bytes, expected up to ",
                             layout.num_records - layer_records, " records of ",
                             layout.record_bytes));
  }
  for (size_t at = 0; at < data.size(); at += layout.record_bytes) {
    const absl::Span<const std::byte> bytes = data.subspan(at, layout.record_bytes);
    const uint32_t record = static_cast<uint32_t>(layer_records++);
    if (!AllZero(bytes.subspan(layout.used_bytes(record)))) {
      return Fail(absl::StrCat(DescribeRecord(layout, layer, record), ": padding is not zero"));
    }
    std::byte hash[sizeof(uint64_t)];
    StoreU64(Xxh3(bytes, RecordSeed(header.uuid, layer, record)), hash);
    checksum_table.insert(checksum_table.end(), hash, hash + sizeof(hash));
  }
  if (checksum_table.size() > kMaxChecksumTableBytes) {
    return Fail(absl::StrCat("more than ", kMaxChecksumTableBytes / sizeof(uint64_t),
                             " records"));
  }
  return output->Append(data);
}

absl::Status BundleWriter::State::EndLayer() {
  const RecordLayout& layout = content.layers.back();
  if (layer_records != layout.num_records) {
    return Fail(absl::StrCat("layer ", content.layers.size() - 1, " has ", layout.num_records,
                             " records, got ", layer_records));
  }
  Section* section = LastSection(SectionKind::kRecords);
  section->bytes = output->position() - section->offset;
  stage = Stage::kLayers;
  return absl::OkStatus();
}

absl::Status BundleWriter::State::WriteSection(SectionKind kind,
                                               absl::Span<const std::byte> data) {
  if (data.empty()) return absl::OkStatus();
  Section* section = LastSection(kind);
  section->bytes = data.size();
  section->xxh3 = Xxh3(data);
  SLUICE_RETURN_IF_ERROR(output->Append(data));
  return output->PadTo(kSectionAlignment);
}

absl::Status BundleWriter::State::WritePredictors(const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& tensor : tensors) {
    SLUICE_RETURN_IF_ERROR(
        BeginTensor(tensor.name, tensor.type, tensor.shape, SectionKind::kPredictors));
    SLUICE_RETURN_IF_ERROR(AppendTensor(tensor.data));
    SLUICE_RETURN_IF_ERROR(EndTensor());
  }
  return absl::OkStatus();
}

// Predictors and manifest are last in the file, so that new ones need no other byte moved.
absl::Status BundleWriter::State::WriteTail(const std::vector<NamedTensor>& predictors) {
  auto& sections = header.sections;
  sections.erase(std::remove_if(sections.begin(), sections.end(),
                                [this](const Section& s) { return s.offset >= tail_offset; }),
                 sections.end());
  auto& tensors = content.tensors;
  for (const TensorEntry& entry : tensors) {
    if (entry.section == SectionKind::kPredictors) tensor_names.erase(entry.name);
  }
  tensors.erase(std::remove_if(tensors.begin(), tensors.end(),
                               [](const TensorEntry& entry) {
                                 return entry.section == SectionKind::kPredictors;
                               }),
                tensors.end());
  SLUICE_RETURN_IF_ERROR(output->MoveTo(tail_offset));
  SLUICE_RETURN_IF_ERROR(WritePredictors(predictors));
  absl::StatusOr<std::string> manifest = MakeManifest(members, header.uuid, content);
  if (!manifest.ok()) return Annotate(manifest.status(), file->final_path());
  SLUICE_RETURN_IF_ERROR(WriteSection(SectionKind::kManifest, AsBytes(*manifest)));
  return WriteHeader();
}

// Last of all: until then the first page is no header, and nobody takes the file for a whole one.
absl::Status BundleWriter::State::WriteHeader() {
  header.file_bytes = output->position();
  SLUICE_RETURN_IF_ERROR(output->Flush());
  SLUICE_RETURN_IF_ERROR(file->Truncate(header.file_bytes));
  std::byte page[kHeaderBytes];
  EncodeHeader(header, page);
  SLUICE_RETURN_IF_ERROR(file->WriteAt(0, page));
  SLUICE_RETURN_IF_ERROR(
      file->Seal(header.uuid, LoadU64(page + kChecksumOffset), header.file_bytes));
  stage = Stage::kFinished;
  return absl::OkStatus();
}

// Takes over what the copied file holds. It is read back from the copy, so that a file that was
// replaced in the meantime cannot come in between.
absl::Status BundleWriter::State::LoadCopy() {
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> copy,
                          BundleFile::Open(file->temporary_path()));
  header.minor = copy->minor_version();
  header.file_bytes = copy->file_bytes();
  header.uuid = copy->uuid();
  header.sections = copy->sections();
  const auto in_tail = [](const Section& section) {
    return section.kind == SectionKind::kPredictors || section.kind == SectionKind::kManifest;
  };
  const auto first =
      std::find_if(header.sections.begin(), header.sections.end(), in_tail);
  if (!std::all_of(first, header.sections.end(), in_tail)) {
    return absl::UnimplementedError(
        absl::StrCat(file->final_path(), ": version ", copy->major_version(), ".",
                     copy->minor_version(), " with sections behind its predictors; editing it ",
                     "would lose them: use a newer Sluice"));
  }
  tail_offset = first->offset;
  content.tensors = copy->tensors();
  content.layers = copy->layers();
  for (const TensorEntry& entry : content.tensors) tensor_names.insert(entry.name);
  members = copy->manifest();
  members.erase("format");
  stage = Stage::kFinished;
  return absl::OkStatus();
}

const Section* BundleWriter::State::Find(SectionKind kind) const {
  for (const Section& section : header.sections) {
    if (section.kind == kind) return &section;
  }
  return nullptr;
}

// From here to the next WriteHeader() the file must not look finished.
absl::Status BundleWriter::State::BeginReordering() {
  const Section* table = Find(SectionKind::kChecksums);
  if (table == nullptr) return Fail("there are no records to reorder");
  checksum_table.resize(table->bytes);
  SLUICE_RETURN_IF_ERROR(file->ReadAt(table->offset, absl::MakeSpan(checksum_table)));
  const std::byte page[kHeaderBytes] = {};
  SLUICE_RETURN_IF_ERROR(file->WriteAt(0, page));
  stage = Stage::kReordering;
  return absl::OkStatus();
}

absl::Status BundleWriter::State::ReorderNeurons(uint32_t layer,
                                                 absl::Span<const uint32_t> order,
                                                 const std::string& tensor) {
  const std::string what = absl::StrCat(file->final_path(), ": layer ", layer);
  if (layer >= content.layers.size()) return Fail(absl::StrCat("there is no layer ", layer));
  const RecordLayout& layout = content.layers[layer];
  SLUICE_RETURN_IF_ERROR(CheckOrder(order, layout.num_neurons, what));
  if (stage == Stage::kFinished) SLUICE_RETURN_IF_ERROR(BeginReordering());
  uint64_t first = 0;
  for (uint32_t i = 0; i < layer; ++i) first += content.layers[i].num_records;
  const auto checksums = absl::MakeSpan(checksum_table)
                             .subspan(first * sizeof(uint64_t),
                                      uint64_t{layout.num_records} * sizeof(uint64_t));
  SLUICE_RETURN_IF_ERROR(
      ReorderRecords(layout, layer, header.uuid, order, checksums, file.get()));
  for (TensorEntry& entry : content.tensors) {
    if (entry.name != tensor || entry.section != SectionKind::kResident) continue;
    if (entry.shape[0] != layout.num_neurons) {
      return Fail(absl::StrCat("tensor \"", tensor, "\" has ", entry.shape[0],
                               " rows, the layer ", layout.num_neurons, " neurons"));
    }
    std::vector<std::byte> from(entry.bytes), to(entry.bytes);
    SLUICE_RETURN_IF_ERROR(file->ReadAt(entry.offset, absl::MakeSpan(from)));
    ReorderRows(order, from, absl::MakeSpan(to));
    entry.xxh3 = Xxh3(to);
    SLUICE_RETURN_IF_ERROR(file->WriteAt(entry.offset, to));
  }
  return absl::OkStatus();
}

absl::Status BundleWriter::State::WriteChecksums() {
  for (Section& section : header.sections) {
    if (section.kind != SectionKind::kChecksums) continue;
    section.xxh3 = Xxh3(checksum_table);
    SLUICE_RETURN_IF_ERROR(file->WriteAt(section.offset, checksum_table));
  }
  checksum_table = {};
  return absl::OkStatus();
}

BundleWriter::BundleWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
BundleWriter::~BundleWriter() = default;

absl::StatusOr<std::unique_ptr<BundleWriter>> BundleWriter::Create(const std::string& final_path,
                                                                   uint64_t expected_bytes,
                                                                   absl::string_view identity,
                                                                   uint64_t part_bytes) {
  auto state = std::make_unique<State>();
  SLUICE_ASSIGN_OR_RETURN(Xxh3Stream hash, Xxh3Stream::Create());
  state->tensor_hash = std::make_unique<Xxh3Stream>(std::move(hash));
  SLUICE_ASSIGN_OR_RETURN(state->file, BundleOutput::Create(final_path, part_bytes));
  if (expected_bytes != 0) SLUICE_RETURN_IF_ERROR(state->file->Reserve(expected_bytes));
  SLUICE_ASSIGN_OR_RETURN(state->output,
                          SequentialOutput::Create(state->file.get(), kHeaderBytes));
  state->header.uuid = Xxh3(AsBytes(identity));
  return std::unique_ptr<BundleWriter>(new BundleWriter(std::move(state)));
}

absl::StatusOr<std::unique_ptr<BundleWriter>> BundleWriter::Edit(const std::string& path) {
  // A file that is none is to be refused before it is copied.
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> source, BundleFile::Open(path));
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<BundleWriter> writer,
                          Create(path, 0, "", source->part_bytes()));
  State* state = writer->state_.get();
  SLUICE_RETURN_IF_ERROR(state->file->CopyFrom(path, source->num_parts()));
  SLUICE_RETURN_IF_ERROR(
      state->Run("Edit", {Stage::kTensors}, [&] { return state->LoadCopy(); }));
  return writer;
}

absl::Status BundleWriter::BeginTensor(const std::string& name, ElementType type,
                                       std::vector<uint64_t> shape) {
  return state_->Run("BeginTensor", {Stage::kTensors}, [&] {
    return state_->BeginTensor(name, type, std::move(shape), SectionKind::kResident);
  });
}

absl::Status BundleWriter::AppendTensor(absl::Span<const std::byte> data) {
  return state_->Run("AppendTensor", {Stage::kInTensor},
                     [&] { return state_->AppendTensor(data); });
}

absl::Status BundleWriter::EndTensor() {
  return state_->Run("EndTensor", {Stage::kInTensor}, [&] { return state_->EndTensor(); });
}

absl::Status BundleWriter::BeginLayer(RecordLayout layout) {
  return state_->Run("BeginLayer", {Stage::kTensors, Stage::kLayers},
                     [&] { return state_->BeginLayer(layout); });
}

absl::Status BundleWriter::AppendRecords(absl::Span<const std::byte> data) {
  return state_->Run("AppendRecords", {Stage::kInLayer},
                     [&] { return state_->AppendRecords(data); });
}

absl::Status BundleWriter::EndLayer() {
  return state_->Run("EndLayer", {Stage::kInLayer}, [&] { return state_->EndLayer(); });
}

absl::Status BundleWriter::SetTokenizer(std::string tokenizer_json) {
  return state_->Run("SetTokenizer", {Stage::kTensors, Stage::kLayers}, [&]() -> absl::Status {
    if (tokenizer_json.empty() || tokenizer_json.size() > kMaxTokenizerBytes) {
      return state_->Fail(absl::StrCat("a tokenizer of ", tokenizer_json.size(),
                                       " bytes, not 1 to ", kMaxTokenizerBytes));
    }
    state_->tokenizer = std::move(tokenizer_json);
    state_->stage = Stage::kTokenizer;
    return absl::OkStatus();
  });
}

absl::Status BundleWriter::Finish(nlohmann::json manifest) {
  return state_->Run("Finish", {Stage::kTensors, Stage::kLayers, Stage::kTokenizer},
                     [&]() -> absl::Status {
    State* s = state_.get();
    SLUICE_RETURN_IF_ERROR(s->WriteSection(SectionKind::kChecksums, s->checksum_table));
    SLUICE_RETURN_IF_ERROR(s->WriteSection(SectionKind::kTokenizer, AsBytes(s->tokenizer)));
    s->checksum_table = {};
    s->tokenizer = {};
    s->members = std::move(manifest);
    s->tail_offset = s->output->position();
    return s->WriteTail({});
  });
}

absl::Status BundleWriter::ReorderNeurons(uint32_t layer, absl::Span<const uint32_t> order,
                                          const std::string& tensor) {
  return state_->Run("ReorderNeurons", {Stage::kFinished, Stage::kReordering},
                     [&] { return state_->ReorderNeurons(layer, order, tensor); });
}

absl::Status BundleWriter::ReplacePredictors(const std::vector<NamedTensor>& tensors,
                                             const nlohmann::json& members) {
  return state_->Run("ReplacePredictors", {Stage::kFinished, Stage::kReordering},
                     [&]() -> absl::Status {
    if (state_->stage == Stage::kReordering) {
      SLUICE_RETURN_IF_ERROR(state_->WriteChecksums());
    }
    if (!members.is_object()) return state_->Fail("the members are no JSON object");
    for (const auto& item : members.items()) {
      if (item.value().is_null()) {
        state_->members.erase(item.key());
      } else {
        state_->members[item.key()] = item.value();
      }
    }
    return state_->WriteTail(tensors);
  });
}

const std::string& BundleWriter::temporary_path() const { return state_->file->temporary_path(); }
uint64_t BundleWriter::file_bytes() const { return state_->header.file_bytes; }
uint32_t BundleWriter::num_parts() const { return state_->file->num_parts(); }

absl::Status BundleWriter::Commit() {
  return state_->Run("Commit", {Stage::kFinished}, [&] {
    state_->stage = Stage::kDone;
    return state_->file->Commit();
  });
}

}  // namespace sluice
