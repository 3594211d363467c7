#include "sluice/convert.h"

#include <algorithm>
#include <filesystem>
#include <new>

#include "absl/strings/str_cat.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/status_macros.h"
#include "lib/convert/opt_checkpoint.h"
#include "lib/convert/placement.h"
#include "lib/convert/record_size.h"
#include "lib/convert/tensor_writer.h"
#include "lib/format/bundle_writer.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/format/part_set.h"
#include "lib/io/file.h"
#include "lib/io/host.h"
#include "lib/text/tokenizer.h"
#include "lib/train/capture.h"
#include "lib/train/train_predictors.h"

namespace sluice {
namespace {

constexpr uint64_t kHashPieceBytes = 1 << 20;
// Header page, checksum table, manifest and section padding: an upper guess for the reservation.
constexpr uint64_t kOverheadBytes = 1 << 20;

bool Report(const ConvertOptions& options, const char* stage, double done) {
  return !options.on_progress || options.on_progress(stage, done);
}

// [{"file", "bytes", "xxh3"}]: where the model came from.
absl::StatusOr<nlohmann::json> DescribeSources(const OptCheckpoint& checkpoint,
                                               const ConvertOptions& options) {
  nlohmann::json sources = nlohmann::json::array();
  std::vector<std::byte> piece(kHashPieceBytes);
  double done = 0;
  for (const std::string& path : checkpoint.weights->files()) {
    SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<InputFile> file, InputFile::Open(path));
    SLUICE_ASSIGN_OR_RETURN(Xxh3Stream hash, Xxh3Stream::Create());
    for (uint64_t at = 0; at < file->size(); at += piece.size()) {
      const auto part =
          absl::MakeSpan(piece).first(std::min<uint64_t>(piece.size(), file->size() - at));
      SLUICE_RETURN_IF_ERROR(file->ReadAt(at, part));
      hash.Update(part);
      if (!Report(options, "sources", done)) return absl::CancelledError("cancelled");
    }
    done += 1.0 / static_cast<double>(checkpoint.weights->files().size());
    sources.push_back({{"file", std::filesystem::path(path).filename().string()},
                       {"bytes", file->size()},
                       {"xxh3", HashToHex(hash.Digest())}});
  }
  return sources;
}

struct Target {
  ElementType records;
  bool forced = false;  // --dtype was given: matrices in the resident section follow it too
};

// Each record holds rows of one type: the wider of the two projections', unless one is asked for.
absl::StatusOr<Target> ChooseType(const OptCheckpoint& checkpoint, const std::string& dtype) {
  Target target;
  if (!dtype.empty()) {
    SLUICE_ASSIGN_OR_RETURN(target.records, ParseElementType(dtype));
    target.forced = true;
    return target;
  }
  target.records = checkpoint.up[0]->type;
  for (const auto* list : {&checkpoint.up, &checkpoint.down}) {
    for (const CheckpointTensor* tensor : *list) {
      if (tensor->type != target.records) target.records = ElementType::kF32;
    }
  }
  return target;
}

absl::StatusOr<RecordLayout> ChooseLayout(const ModelConfig& config, ElementType type,
                                          const ConvertOptions& options) {
  constexpr uint32_t kRows = 2;  // up and down
  if (options.device_curve_path.empty()) {
    return MakeRecordLayout(config.d_ffn, config.d_model, kRows, type);
  }
  SLUICE_ASSIGN_OR_RETURN(const DeviceCurve curve, DeviceCurve::Load(options.device_curve_path));
  SLUICE_ASSIGN_OR_RETURN(const RecordLayout one,
                          MakeRecordLayout(config.d_ffn, config.d_model, kRows, type, 1));
  const bool placed = options.placement && !options.calibration_path.empty();
  return MakeRecordLayout(config.d_ffn, config.d_model, kRows, type,
                          NeuronsPerRecordFor(curve, one.bundle_bytes(), placed));
}

ElementType ResidentType(const ResidentSource& source, const Target& target) {
  if (source.as_f32) return ElementType::kF32;
  return target.forced ? target.records : source.tensor->type;
}

uint64_t ExpectedBytes(const OptCheckpoint& checkpoint, const Target& target,
                       const RecordLayout& layout) {
  const uint64_t records = uint64_t{layout.num_neurons / layout.neurons_per_record + 1};
  uint64_t bytes = kOverheadBytes + checkpoint.tokenizer_json.size() +
                   checkpoint.config.num_layers * records * (layout.record_bytes + 8);
  for (const ResidentSource& source : checkpoint.resident) {
    bytes += source.tensor->elements * ElementBytes(ResidentType(source, target)) + 4096;
  }
  return bytes;
}

absl::Status WriteWeights(OptCheckpoint& checkpoint, const Target& target,
                          const RecordLayout& layout, const ConvertOptions& options,
                          BundleWriter* writer) {
  size_t done = 0;
  for (const ResidentSource& source : checkpoint.resident) {
    SLUICE_RETURN_IF_ERROR(WriteResident(*checkpoint.weights, source,
                                         ResidentType(source, target), writer));
    const double share = static_cast<double>(++done) /
                         static_cast<double>(checkpoint.resident.size());
    if (!Report(options, "tensors", share)) return absl::CancelledError("cancelled");
  }
  const uint32_t layers = checkpoint.config.num_layers;
  for (uint32_t i = 0; i < layers; ++i) {
    SLUICE_RETURN_IF_ERROR(WriteLayerRecords(
        *checkpoint.weights, *checkpoint.up[i], *checkpoint.down[i], layout, writer,
        [&](double share) { return Report(options, "records", (i + share) / layers); }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<BundleWriter>> WriteBundle(OptCheckpoint& checkpoint,
                                                          const std::string& output,
                                                          const std::string& text,
                                                          const ConvertOptions& options,
                                                          ConvertReport* report) {
  SLUICE_ASSIGN_OR_RETURN(const Target target, ChooseType(checkpoint, options.dtype));
  SLUICE_ASSIGN_OR_RETURN(const RecordLayout layout,
                          ChooseLayout(checkpoint.config, target.records, options));
  SLUICE_ASSIGN_OR_RETURN(const nlohmann::json sources, DescribeSources(checkpoint, options));
  std::string identity =
      absl::StrCat(sources.dump(), checkpoint.config.ToJson().dump(), options.dtype);
  if (!options.device_curve_path.empty()) {
    absl::StrAppend(&identity, "neurons per record ", layout.neurons_per_record);
  }
  // What decides the order of the neurons is part of what a record is.
  if (options.placement && !options.calibration_path.empty()) {
    absl::StrAppend(&identity, "placed by ", HashToHex(Xxh3(AsBytes(text))), " seed ",
                    options.train.seed, " rank ", options.train.rank, " share ",
                    options.train.parameter_share);
  }
  SLUICE_ASSIGN_OR_RETURN(
      std::unique_ptr<BundleWriter> writer,
      BundleWriter::Create(output, ExpectedBytes(checkpoint, target, layout), identity,
                           options.part_bytes));
  SLUICE_RETURN_IF_ERROR(WriteWeights(checkpoint, target, layout, options, writer.get()));
  if (!checkpoint.tokenizer_json.empty()) {
    SLUICE_RETURN_IF_ERROR(writer->SetTokenizer(std::move(checkpoint.tokenizer_json)));
    report->has_tokenizer = true;
  }
  SLUICE_RETURN_IF_ERROR(writer->Finish({{"config", checkpoint.config.ToJson()},
                                         {"sources", sources},
                                         {"skipped_tensors", checkpoint.unused}}));
  report->record_bytes = layout.record_bytes;
  const uint64_t per_layer =
      (uint64_t{layout.num_neurons} + layout.neurons_per_record - 1) / layout.neurons_per_record;
  report->records = per_layer * checkpoint.config.num_layers;
  report->skipped_tensors = checkpoint.unused;
  return writer;
}

// Before the work starts: is there a tokenizer, and enough text?
absl::Status CheckCalibration(const OptCheckpoint& checkpoint, const std::string& source,
                              const std::string& text) {
  if (checkpoint.tokenizer_json.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        source, " has no tokenizer (tokenizer.json, or vocab.json with merges.txt), which "
                "calibration text needs"));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                          Tokenizer::FromJson(checkpoint.tokenizer_json, source));
  return train::CutWindows(tokenizer->Encode(text, false), tokenizer->Encode("", true),
                           checkpoint.config, UINT64_MAX)
      .status();
}

absl::StatusOr<ConvertReport> DoConvert(const std::string& source, const std::string& output,
                                        const ConvertOptions& options) {
  const int64_t start = NowNs();
  if (absl::Status status = CheckPartBytes(options.part_bytes); !status.ok()) {
    return Annotate(status, output);
  }
  ConvertReport report;
  std::string text;
  if (!options.calibration_path.empty()) {
    SLUICE_ASSIGN_OR_RETURN(text, ReadCalibrationText(options.calibration_path));
  }
  SLUICE_ASSIGN_OR_RETURN(OptCheckpoint checkpoint, OpenOptCheckpoint(source));
  if (!options.calibration_path.empty()) {
    SLUICE_RETURN_IF_ERROR(CheckCalibration(checkpoint, source, text));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<BundleWriter> writer,
                          WriteBundle(checkpoint, output, text, options, &report));
  if (!options.calibration_path.empty()) {
    TrainOptions train = options.train;
    if (!train.on_progress) train.on_progress = options.on_progress;
    const std::string name = std::filesystem::path(options.calibration_path).filename().string();
    const OrderNeuronsFn order =
        options.placement ? OrderNeuronsFn(PlaceByCoactivation) : OrderNeuronsFn();
    SLUICE_ASSIGN_OR_RETURN(report.layers, TrainInto(writer.get(), text, name, train, order));
  }
  SLUICE_RETURN_IF_ERROR(writer->Commit());
  for (const std::string& name : report.skipped_tensors) {
    Log(LogLevel::kInfo, absl::StrCat(source, ": passed over tensor ", name));
  }
  report.bytes = writer->file_bytes();
  report.num_parts = writer->num_parts();
  report.seconds = static_cast<double>(NowNs() - start) / 1e9;
  report.peak_rss_bytes = PeakRssBytes();
  return report;
}

}  // namespace

absl::StatusOr<ConvertReport> Convert(const std::string& source, const std::string& output,
                                      const ConvertOptions& options) {
  try {
    return DoConvert(source, output, options);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("converting ", source, ": out of memory"));
  }
}

}  // namespace sluice
