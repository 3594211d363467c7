#include "lib/loader/bundle_loader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/base/dynamic_annotations.h"
#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/loader/read_planner.h"

namespace sluice {
namespace {

// Adds what its scope lasts to a counter.
class ScopedTimer {
 public:
  explicit ScopedTimer(int64_t* total_ns) : total_ns_(total_ns), start_ns_(NowNs()) {}
  ~ScopedTimer() { *total_ns_ += NowNs() - start_ns_; }
  ScopedTimer(const ScopedTimer&) = delete;
  ScopedTimer& operator=(const ScopedTimer&) = delete;

 private:
  int64_t* total_ns_;
  int64_t start_ns_;
};

}  // namespace

// The vectors hold the submission that is in flight. They are reserved for the largest layer, so
// that no token allocates.
struct BundleLoader::State {
  State(std::shared_ptr<const BundleFile> bundle, std::unique_ptr<IoEngine> engine, Options opts)
      : file(std::move(bundle)),
        options(std::move(opts)),
        reader(std::move(engine), file->path()) {}

  void PrepareForGaps();
  const ReadCosts* CostsOf(const RecordLayout& of) const;
  absl::Status Check(uint32_t for_layer, absl::Span<const RecordRead> wanted) const;
  void Plan(absl::Span<const RecordRead> wanted);
  void AddRead(uint32_t extent_idx);
  absl::Status Deliver(const FinishedRead& read, std::vector<uint32_t>* arrived);
  absl::Status Fail(const absl::Status& status);
  std::string Neurons(const Extent& extent) const;

  const RecordLayout& layout() const { return file->layers()[layer]; }

  std::shared_ptr<const BundleFile> file;
  Options options;
  std::vector<ReadCosts> costs;  // one for each size of record; empty: no gap is read through
  // Where the bytes of gaps go; nobody looks at them, so all reads share it. Outlives the reader.
  AlignedBuffer sink;
  BatchReader reader;
  uint32_t layer = 0;
  size_t pending = 0;
  std::vector<uint32_t> records;
  std::vector<std::byte*> destinations;
  std::vector<Extent> extents;
  std::vector<IoSegment> segments;
  std::vector<IoRead> reads;  // one per extent; the tag is the extent's position
  uint64_t gap_records = 0;
  std::vector<FinishedRead> finished;
  LoaderStats stats;
  int64_t busy_ns_at_reset = 0;
};

BundleLoader::BundleLoader(std::shared_ptr<const BundleFile> file,
                           std::unique_ptr<IoEngine> engine, Options options)
    : state_(std::make_unique<State>(std::move(file), std::move(engine), std::move(options))) {
  size_t most = 0;
  for (const RecordLayout& layout : state_->file->layers()) {
    most = std::max<size_t>(most, layout.num_records);
  }
  state_->records.reserve(most);
  state_->destinations.reserve(most);
  state_->extents.reserve(most);
  state_->segments.reserve(2 * most);  // a gap behind each record
  state_->reads.reserve(most);
  state_->finished.reserve(most);
  state_->PrepareForGaps();
}

void BundleLoader::State::PrepareForGaps() {
  if (options.curve == nullptr) return;
  uint64_t sink_bytes = 0;
  for (const RecordLayout& each : file->layers()) {
    const uint64_t record_bytes = each.record_bytes;
    if (CostsOf(each) != nullptr) continue;
    costs.emplace_back(*options.curve, record_bytes, options.max_extent_bytes);
    sink_bytes = std::max(sink_bytes, costs.back().max_gap() * record_bytes);
  }
  absl::StatusOr<AlignedBuffer> memory = AlignedBuffer::Allocate(sink_bytes);
  if (sink_bytes == 0 || !memory.ok()) {
    costs.clear();
    return;
  }
  sink = *std::move(memory);
  ABSL_ANNOTATE_BENIGN_RACE_SIZED(sink.data(), sink.size(), "bytes that nobody reads");
}

// Layers rarely differ in the size of their records.
const ReadCosts* BundleLoader::State::CostsOf(const RecordLayout& of) const {
  for (const ReadCosts& each : costs) {
    if (each.record_bytes() == of.record_bytes) return &each;
  }
  return nullptr;
}

uint64_t BundleLoader::BytesFor(uint32_t max_records) {
  // Here, and in the reader: its request (some 100 bytes), its places in two queues and a batch.
  const uint64_t here = sizeof(uint32_t) + sizeof(std::byte*) + sizeof(Extent) +
                        2 * sizeof(IoSegment) + sizeof(IoRead) + sizeof(FinishedRead);
  return ReadCosts::kMaxGapBytes +
         max_records * (here + 128 + 3 * sizeof(size_t) + sizeof(IoRead));
}

BundleLoader::~BundleLoader() { Cancel(); }

absl::Status BundleLoader::Submit(uint32_t layer, absl::Span<const RecordRead> reads) {
  ScopedTimer timer(&state_->stats.planning_ns);
  SLUICE_RETURN_IF_ERROR(state_->Check(layer, reads));
  if (reads.empty()) return absl::OkStatus();
  state_->layer = layer;
  state_->Plan(reads);
  state_->pending = reads.size();
  absl::Status status = state_->reader.Start(state_->reads);
  if (!status.ok()) return state_->Fail(Annotate(status, absl::StrCat("layer ", layer)));
  state_->stats.reads += state_->extents.size();
  const uint64_t record_bytes = state_->layout().record_bytes;
  state_->stats.bytes += (reads.size() + state_->gap_records) * record_bytes;
  state_->stats.gap_bytes += state_->gap_records * record_bytes;
  return absl::OkStatus();
}

absl::Status BundleLoader::State::Check(uint32_t for_layer,
                                        absl::Span<const RecordRead> wanted) const {
  if (pending != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(file->path(), ": ", pending, " records of layer ", layer,
                     " are still pending; layer ", for_layer, " cannot be asked for"));
  }
  const std::vector<RecordLayout>& layers = file->layers();
  if (for_layer >= layers.size()) {
    return absl::OutOfRangeError(absl::StrCat(file->path(), ": layer ", for_layer,
                                              " of a file with ", layers.size()));
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].record >= layers[for_layer].num_records) {
      return absl::OutOfRangeError(absl::StrCat(file->path(), ": layer ", for_layer, ": record ",
                                                wanted[i].record, " of ",
                                                layers[for_layer].num_records));
    }
    const bool ascending = i == 0 || wanted[i].record > wanted[i - 1].record;
    if (!ascending || wanted[i].destination == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          file->path(), ": layer ", for_layer, ": record ", wanted[i].record,
          ascending ? " has no destination" : " is not in ascending order"));
    }
  }
  return absl::OkStatus();
}

void BundleLoader::State::Plan(absl::Span<const RecordRead> wanted) {
  records.clear();
  destinations.clear();
  for (const RecordRead& read : wanted) {
    records.push_back(read.record);
    destinations.push_back(read.destination);
  }
  PlanExtents(records, layout().record_bytes, options.max_extent_bytes, &extents);
  const ReadCosts* of_layer = CostsOf(layout());
  gap_records = of_layer == nullptr ? 0 : BridgeGaps(records, *of_layer, &extents);
  segments.clear();
  reads.clear();
  for (uint32_t i = 0; i < extents.size(); ++i) AddRead(i);
}

// `segments` has room for a segment per record and gap, so those of earlier reads stay where they
// are.
void BundleLoader::State::AddRead(uint32_t extent_idx) {
  const Extent& extent = extents[extent_idx];
  const size_t first_segment = segments.size();
  for (uint32_t i = extent.first; i < extent.first + extent.count; ++i) {
    const uint32_t gap = i == extent.first ? 0 : records[i] - records[i - 1] - 1;
    if (gap > 0) segments.push_back({sink.data(), gap * size_t{layout().record_bytes}});
    const bool adjacent = segments.size() > first_segment &&
                          segments.back().data + segments.back().bytes == destinations[i];
    if (adjacent) {
      segments.back().bytes += layout().record_bytes;
    } else {
      segments.push_back({destinations[i], layout().record_bytes});
    }
  }
  reads.push_back({layout().record_offset(records[extent.first]),
                   absl::MakeConstSpan(segments).subspan(first_segment), extent_idx});
}

absl::Status BundleLoader::Next(std::vector<uint32_t>* arrived) {
  State& state = *state_;
  if (state.pending == 0) return absl::OkStatus();
  state.finished.clear();
  absl::Status waited;
  {
    ScopedTimer timer(&state.stats.waiting_ns);
    waited = state.reader.Wait(&state.finished);
  }
  if (waited.ok() && state.finished.empty()) {
    waited = absl::InternalError(absl::StrCat(state.file->path(), ": ", state.pending,
                                              " records are pending but no read is"));
  }
  if (!waited.ok()) return state.Fail(Annotate(waited, absl::StrCat("layer ", state.layer)));

  const size_t num_before = arrived->size();
  for (const FinishedRead& read : state.finished) {
    absl::Status status = state.Deliver(read, arrived);
    if (!status.ok()) {
      arrived->resize(num_before);
      return state.Fail(status);
    }
  }
  const size_t num_arrived = arrived->size() - num_before;
  state.pending -= num_arrived;
  state.stats.records += num_arrived;
  return absl::OkStatus();
}

absl::Status BundleLoader::State::Deliver(const FinishedRead& read,
                                          std::vector<uint32_t>* arrived) {
  if (read.tag >= extents.size()) {
    return absl::InternalError(absl::StrCat(file->path(), ": layer ", layer,
                                            ": a read came back that was never started"));
  }
  const Extent& extent = extents[read.tag];
  if (!read.status.ok()) return Annotate(read.status, Neurons(extent));
  for (uint32_t i = extent.first; i < extent.first + extent.count; ++i) {
    if (options.verify) {
      ScopedTimer timer(&stats.verifying_ns);
      const absl::Span<const std::byte> bytes(destinations[i], layout().record_bytes);
      SLUICE_RETURN_IF_ERROR(file->VerifyRecord(layer, records[i], bytes));
    }
    arrived->push_back(i);
  }
  return absl::OkStatus();
}

absl::Status BundleLoader::State::Fail(const absl::Status& status) {
  reader.Drain();
  pending = 0;
  return status;
}

std::string BundleLoader::State::Neurons(const Extent& extent) const {
  const uint64_t per_record = layout().neurons_per_record;
  const uint64_t first = records[extent.first] * per_record;
  const uint64_t end = first + SpanOf(extent, records) * per_record;
  return absl::StrCat("layer ", layer, ", neurons ", first, " to ",
                      std::min<uint64_t>(end, layout().num_neurons) - 1);
}

size_t BundleLoader::pending() const { return state_->pending; }

void BundleLoader::Cancel() {
  state_->reader.Drain();
  state_->pending = 0;
}

const IoCapabilities& BundleLoader::capabilities() const { return state_->reader.capabilities(); }

const LoaderStats& BundleLoader::stats() const {
  state_->stats.busy_ns = state_->reader.busy_ns() - state_->busy_ns_at_reset;
  return state_->stats;
}

void BundleLoader::ResetStats() {
  state_->stats = LoaderStats();
  state_->busy_ns_at_reset = state_->reader.busy_ns();
}

}  // namespace sluice
