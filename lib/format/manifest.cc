#include "lib/format/manifest.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/json_guard.h"
#include "lib/base/status_macros.h"
#include "lib/format/checksum.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr char kChecksumName[] = "xxh3-64";

absl::Status Damaged(absl::string_view what) { return absl::DataLossError(what); }

// A number that is wrong in a file is damage, not an argument of our caller's.
absl::Status AsDamage(const absl::Status& status) { return Damaged(status.message()); }

absl::StatusOr<const json*> GetMember(const json& object, const char* key) {
  if (!object.is_object()) return Damaged("not an object");
  const auto it = object.find(key);
  if (it == object.end()) return Damaged(absl::StrCat("\"", key, "\" is missing"));
  return &*it;
}

absl::StatusOr<uint64_t> GetNumber(const json& object, const char* key, uint64_t max) {
  SLUICE_ASSIGN_OR_RETURN(const json* value, GetMember(object, key));
  if (!value->is_number_unsigned() || value->get<uint64_t>() > max) {
    return Damaged(absl::StrCat("\"", key, "\" is no whole number from 0 to ", max));
  }
  return value->get<uint64_t>();
}

absl::Status GetU32(const json& object, const char* key, uint32_t* out) {
  SLUICE_ASSIGN_OR_RETURN(const uint64_t value, GetNumber(object, key, UINT32_MAX));
  *out = static_cast<uint32_t>(value);
  return absl::OkStatus();
}

absl::StatusOr<std::string> GetString(const json& object, const char* key) {
  SLUICE_ASSIGN_OR_RETURN(const json* value, GetMember(object, key));
  if (!value->is_string()) return Damaged(absl::StrCat("\"", key, "\" is no string"));
  return value->get<std::string>();
}

absl::StatusOr<uint64_t> GetHash(const json& object, const char* key) {
  SLUICE_ASSIGN_OR_RETURN(const std::string hex, GetString(object, key));
  absl::StatusOr<uint64_t> hash = HashFromHex(hex);
  if (!hash.ok()) {
    return Damaged(absl::StrCat("\"", key, "\": ", hash.status().message()));
  }
  return hash;
}

absl::StatusOr<ElementType> GetElementType(const json& object) {
  SLUICE_ASSIGN_OR_RETURN(const std::string name, GetString(object, "dtype"));
  absl::StatusOr<ElementType> type = ParseElementType(name);
  if (!type.ok()) return absl::UnimplementedError(type.status().message());
  return type;
}

absl::StatusOr<const json*> GetArray(const json& object, const char* key, size_t max) {
  SLUICE_ASSIGN_OR_RETURN(const json* value, GetMember(object, key));
  if (!value->is_array() || value->size() > max) {
    return Damaged(absl::StrCat("\"", key, "\" is no array of up to ", max, " members"));
  }
  return value;
}

absl::StatusOr<SectionKind> GetTensorSection(const json& object) {
  SLUICE_ASSIGN_OR_RETURN(const std::string name, GetString(object, "section"));
  for (SectionKind kind : {SectionKind::kResident, SectionKind::kPredictors}) {
    if (name == SectionName(kind)) return kind;
  }
  return Damaged("\"section\" is neither resident nor predictors");
}

absl::Status CheckInside(const TensorEntry& tensor, const BundleHeader& header) {
  const Section* section = header.Find(tensor.section);
  if (section == nullptr) {
    return Damaged(absl::StrCat("there is no section ", SectionName(tensor.section)));
  }
  if (tensor.offset % kSectionAlignment != 0) {
    return Damaged(absl::StrCat("offset ", tensor.offset, " is not a multiple of ",
                                kSectionAlignment));
  }
  const Checked end = Checked(tensor.offset) + tensor.bytes;
  if (tensor.offset < section->offset ||
      !end.valid_and_at_most(section->offset + section->bytes)) {
    return Damaged(absl::StrCat(tensor.bytes, " bytes at ", tensor.offset,
                                " are not inside section ", SectionName(tensor.section), ", ",
                                section->bytes, " bytes at ", section->offset));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorEntry> ParseTensor(const json& object, const BundleHeader& header) {
  TensorEntry tensor;
  SLUICE_ASSIGN_OR_RETURN(tensor.name, GetString(object, "name"));
  if (absl::Status status = CheckTensorName(tensor.name); !status.ok()) return AsDamage(status);
  SLUICE_ASSIGN_OR_RETURN(tensor.section, GetTensorSection(object));
  SLUICE_ASSIGN_OR_RETURN(tensor.type, GetElementType(object));
  SLUICE_ASSIGN_OR_RETURN(const json* shape, GetArray(object, "shape", kMaxTensorRank));
  for (const json& dimension : *shape) {
    if (!dimension.is_number_unsigned()) {
      return Damaged("\"shape\" has a member that is no whole number");
    }
    tensor.shape.push_back(dimension.get<uint64_t>());
  }
  SLUICE_ASSIGN_OR_RETURN(tensor.offset, GetNumber(object, "offset", header.file_bytes));
  SLUICE_ASSIGN_OR_RETURN(tensor.bytes, GetNumber(object, "bytes", header.file_bytes));
  SLUICE_ASSIGN_OR_RETURN(tensor.xxh3, GetHash(object, "xxh3"));
  const absl::StatusOr<uint64_t> expected = TensorBytes(tensor.type, tensor.shape);
  if (!expected.ok()) return AsDamage(expected.status());
  if (tensor.bytes != *expected) {
    return Damaged(absl::StrCat("\"bytes\" is ", tensor.bytes, ", its shape takes ", *expected));
  }
  SLUICE_RETURN_IF_ERROR(CheckInside(tensor, header));
  return tensor;
}

absl::Status CheckNoOverlap(const std::vector<TensorEntry>& tensors) {
  std::vector<const TensorEntry*> sorted;
  for (const TensorEntry& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(),
            [](const TensorEntry* a, const TensorEntry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1]->offset + sorted[i - 1]->bytes > sorted[i]->offset) {
      return Damaged(absl::StrCat("tensors \"", sorted[i - 1]->name, "\" at ",
                                  sorted[i - 1]->offset, " and \"", sorted[i]->name, "\" at ",
                                  sorted[i]->offset, " overlap"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TensorEntry>> ParseTensors(const json& manifest,
                                                      const BundleHeader& header) {
  SLUICE_ASSIGN_OR_RETURN(const json* array, GetArray(manifest, "tensors", kMaxTensors));
  std::vector<TensorEntry> tensors;
  tensors.reserve(array->size());
  absl::flat_hash_set<std::string> names;
  for (const json& object : *array) {
    absl::StatusOr<TensorEntry> tensor = ParseTensor(object, header);
    if (!tensor.ok()) {
      return Annotate(tensor.status(), absl::StrCat("tensor ", tensors.size()));
    }
    if (!names.insert(tensor->name).second) {
      return Damaged(absl::StrCat("two tensors are named \"", tensor->name, "\""));
    }
    tensors.push_back(*std::move(tensor));
  }
  SLUICE_RETURN_IF_ERROR(CheckNoOverlap(tensors));
  return tensors;
}

absl::StatusOr<RecordLayout> ParseLayer(const json& object, const BundleHeader& header) {
  SLUICE_ASSIGN_OR_RETURN(const std::string kind, GetString(object, "kind"));
  if (kind != "neuron") {
    return absl::UnimplementedError("its records are of a kind that this version does not know");
  }
  RecordLayout layout;
  SLUICE_ASSIGN_OR_RETURN(layout.offset, GetNumber(object, "offset", header.file_bytes));
  SLUICE_ASSIGN_OR_RETURN(layout.type, GetElementType(object));
  SLUICE_RETURN_IF_ERROR(GetU32(object, "num_neurons", &layout.num_neurons));
  SLUICE_RETURN_IF_ERROR(GetU32(object, "row_elements", &layout.row_elements));
  SLUICE_RETURN_IF_ERROR(GetU32(object, "rows_per_neuron", &layout.rows_per_neuron));
  SLUICE_RETURN_IF_ERROR(GetU32(object, "neurons_per_record", &layout.neurons_per_record));
  SLUICE_RETURN_IF_ERROR(GetU32(object, "record_bytes", &layout.record_bytes));
  SLUICE_RETURN_IF_ERROR(GetU32(object, "num_records", &layout.num_records));
  if (absl::Status status = CheckRecordLayout(layout); !status.ok()) return AsDamage(status);
  return layout;
}

// Layers follow one another without a gap, and every record has its checksum.
absl::Status CheckLayerTiling(const std::vector<RecordLayout>& layers,
                              const BundleHeader& header) {
  const Section* records = header.Find(SectionKind::kRecords);
  const Section* checksums = header.Find(SectionKind::kChecksums);
  Checked end = records == nullptr ? 0 : records->offset;
  Checked num_records = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!end.valid() || layers[i].offset != end.value()) {
      return Damaged(absl::StrCat("layer ", i, " is at ", layers[i].offset,
                                  ", not where the one before ends"));
    }
    end = end + Checked(layers[i].num_records) * layers[i].record_bytes;
    num_records = num_records + layers[i].num_records;
  }
  const uint64_t section_end = records == nullptr ? 0 : records->offset + records->bytes;
  if (!end.valid() || end.value() != section_end) {
    return Damaged(absl::StrCat("the layers do not end where section records does, at ",
                                section_end));
  }
  const Checked table = num_records * sizeof(uint64_t);
  const uint64_t table_bytes = checksums == nullptr ? 0 : checksums->bytes;
  if (!table.valid() || table.value() != table_bytes) {
    return Damaged(absl::StrCat("section checksums has ", table_bytes, " bytes, expected 8 for ",
                                "each of the layers' records"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RecordLayout>> ParseLayers(const json& manifest,
                                                      const BundleHeader& header) {
  SLUICE_ASSIGN_OR_RETURN(const json* array, GetArray(manifest, "layers", kMaxLayers));
  std::vector<RecordLayout> layers;
  for (const json& object : *array) {
    absl::StatusOr<RecordLayout> layout = ParseLayer(object, header);
    if (!layout.ok()) {
      return Annotate(layout.status(), absl::StrCat("layer ", layers.size()));
    }
    layers.push_back(*layout);
  }
  SLUICE_RETURN_IF_ERROR(CheckLayerTiling(layers, header));
  return layers;
}

json TensorToJson(const TensorEntry& tensor) {
  return {{"name", tensor.name},
          {"section", std::string(SectionName(tensor.section))},
          {"dtype", std::string(ElementTypeName(tensor.type))},
          {"shape", tensor.shape},
          {"offset", tensor.offset},
          {"bytes", tensor.bytes},
          {"xxh3", HashToHex(tensor.xxh3)}};
}

json LayerToJson(const RecordLayout& layout) {
  return {{"kind", "neuron"},
          {"offset", layout.offset},
          {"num_neurons", layout.num_neurons},
          {"row_elements", layout.row_elements},
          {"rows_per_neuron", layout.rows_per_neuron},
          {"dtype", std::string(ElementTypeName(layout.type))},
          {"neurons_per_record", layout.neurons_per_record},
          {"record_bytes", layout.record_bytes},
          {"num_records", layout.num_records}};
}

}  // namespace

absl::StatusOr<uint64_t> TensorBytes(ElementType type, const std::vector<uint64_t>& shape) {
  if (shape.empty() || shape.size() > kMaxTensorRank) {
    return absl::InvalidArgumentError(
        absl::StrCat("a shape of rank ", shape.size(), ", not 1 to ", kMaxTensorRank));
  }
  Checked bytes = ElementBytes(type);
  for (uint64_t dimension : shape) bytes = bytes * dimension;
  if (!bytes.valid()) return absl::InvalidArgumentError("a shape of more than 2^64 bytes");
  if (bytes.value() == 0) return absl::InvalidArgumentError("a shape with a dimension of 0");
  return bytes.value();
}

absl::Status CheckTensorName(absl::string_view name) {
  const bool printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (name.empty() || name.size() > kMaxTensorNameBytes || !printable) {
    return absl::InvalidArgumentError(absl::StrCat("a tensor's name has 1 to ",
                                                   kMaxTensorNameBytes,
                                                   " printable ASCII characters"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> MakeManifest(const json& members, uint64_t uuid,
                                         const ManifestContent& content) {
  if (!members.is_object()) return absl::InvalidArgumentError("the manifest is no JSON object");
  for (const char* member : {"tensors", "layers", "format"}) {
    if (members.contains(member)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the manifest's \"", member, "\" is the writer's own"));
    }
  }
  std::string text;
  try {
    json manifest = members;
    manifest["format"] = {{"uuid", HashToHex(uuid)},
                          {"checksum", kChecksumName},
                          {"alignment", kSectionAlignment}};
    json& tensors = manifest["tensors"] = json::array();
    for (const TensorEntry& tensor : content.tensors) tensors.push_back(TensorToJson(tensor));
    json& layers = manifest["layers"] = json::array();
    for (const RecordLayout& layout : content.layers) layers.push_back(LayerToJson(layout));
    text = manifest.dump();
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("the manifest cannot be written: ", e.what()));
  }
  if (text.size() > kMaxManifestBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the manifest has ", text.size(),
                                                   " bytes, at most ", kMaxManifestBytes));
  }
  // What a reader would refuse must not be written: depth, for one.
  SLUICE_RETURN_IF_ERROR(ParseJson(text, "the manifest").status());
  return text;
}

absl::StatusOr<ManifestContent> TakeManifestContent(json* manifest, const BundleHeader& header) {
  SLUICE_ASSIGN_OR_RETURN(const json* format, GetMember(*manifest, "format"));
  SLUICE_ASSIGN_OR_RETURN(const uint64_t uuid, GetHash(*format, "uuid"));
  if (uuid != header.uuid) {
    return Damaged(absl::StrCat("it belongs to a file with uuid ", HashToHex(uuid),
                                ", the header's is ", HashToHex(header.uuid)));
  }
  ManifestContent content;
  SLUICE_ASSIGN_OR_RETURN(content.tensors, ParseTensors(*manifest, header));
  SLUICE_ASSIGN_OR_RETURN(content.layers, ParseLayers(*manifest, header));
  manifest->erase("tensors");
  manifest->erase("layers");
  return content;
}

}  // namespace sluice
