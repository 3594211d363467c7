#include "sluice/inspect.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/format/bundle_file.h"

namespace sluice {
namespace {

nlohmann::json Member(const nlohmann::json& manifest, const char* name) {
  const auto it = manifest.find(name);
  return it == manifest.end() ? nlohmann::json() : *it;
}

nlohmann::json LayersJson(const BundleFile& file) {
  nlohmann::json layers = nlohmann::json::array();
  for (const RecordLayout& l : file.layers()) {
    layers.push_back({{"offset", l.offset},
                      {"records", l.num_records},
                      {"record_bytes", l.record_bytes},
                      {"neurons", l.num_neurons},
                      {"neurons_per_record", l.neurons_per_record},
                      {"dtype", std::string(ElementTypeName(l.type))}});
  }
  return layers;
}

nlohmann::json TensorsJson(const BundleFile& file) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const TensorEntry& t : file.tensors()) {
    tensors.push_back({{"name", t.name},
                       {"section", std::string(SectionName(t.section))},
                       {"dtype", std::string(ElementTypeName(t.type))},
                       {"shape", t.shape},
                       {"bytes", t.bytes}});
  }
  return tensors;
}

// Without the orders themselves, which are of no use to a reader.
nlohmann::json PlacementOf(const nlohmann::json& manifest) {
  nlohmann::json placement = Member(manifest, "placement");
  if (placement.is_object()) placement.erase("layers");
  return placement;
}

}  // namespace

absl::StatusOr<std::string> InspectJson(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> file, BundleFile::Open(path));
  nlohmann::json sections = nlohmann::json::array();
  for (const Section& s : file->sections()) {
    sections.push_back({{"name", std::string(SectionName(s.kind))},
                        {"offset", s.offset},
                        {"bytes", s.bytes}});
  }
  const nlohmann::json& manifest = file->manifest();
  const nlohmann::json out = {
      {"path", path},
      {"version", absl::StrCat(file->major_version(), ".", file->minor_version())},
      {"bytes", file->file_bytes()},
      {"parts", file->num_parts()},
      {"part_bytes", file->part_bytes()},
      {"uuid", absl::StrFormat("%016x", file->uuid())},
      {"config", Member(manifest, "config")},
      {"sections", std::move(sections)},
      {"layers", LayersJson(*file)},
      {"tensors", TensorsJson(*file)},
      {"sources", Member(manifest, "sources")},
      {"placement", PlacementOf(manifest)},
      {"predictors", Member(manifest, "predictors")},
      {"quality", Member(manifest, "quality")},
      {"skipped_tensors", Member(manifest, "skipped_tensors")}};
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<VerifyResult> VerifyFile(
    const std::string& path, const std::function<bool(uint64_t, uint64_t)>& on_progress) {
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> file, BundleFile::Open(path));
  SLUICE_ASSIGN_OR_RETURN(VerifyReport report, VerifyBundle(*file, on_progress));
  return VerifyResult{report.records, std::move(report.bad)};
}

}  // namespace sluice
