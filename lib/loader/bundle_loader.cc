#include "lib/loader/bundle_loader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/base/dynamic_annotations.h"
#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/loader/cost_estimate.h"
#include "lib/loader/layer_reads.h"
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

struct BundleLoader::State {
  State(std::shared_ptr<const BundleFile> bundle, std::unique_ptr<IoEngine> engine, Options opts,
        size_t most)
      : file(std::move(bundle)),
        options(std::move(opts)),
        reader(std::move(engine), file->path()),
        layers{LayerReads(most), LayerReads(most)} {
    finished.reserve(most);
    delivered.reserve(most);
    verdicts.reserve(most);
  }

  // What reads of one size of record cost; corrected by what is observed.
  struct Costs {
    ReadCosts costs;
    CostEstimate estimate;
  };

  void PrepareForGaps();
  Costs* CostsOf(const RecordLayout& of);
  void ObserveCosts(const RecordLayout& of);
  absl::Status Check(uint32_t layer, absl::Span<const RecordRead> wanted) const;
  absl::StatusOr<LayerReads*> Choose(uint32_t layer, size_t count);
  LayerReads* Find(uint32_t layer);
  absl::Status Distribute();
  void Deliver(LayerReads* from, std::vector<uint32_t>* arrived,
               std::vector<RecordFailure>* failed);
  void Verify(uint32_t layer);
  absl::Status Fail(const absl::Status& status);
  void CancelAll();
  std::string Neurons(uint32_t layer, const LayerReads::Piece& piece) const;

  std::shared_ptr<const BundleFile> file;
  Options options;
  std::vector<Costs> costs;  // one for each size of record; empty: no gap is read through
  // When the reader was last idle: what it had read and how long it had been busy.
  uint64_t idle_reads = 0, idle_bytes = 0;
  int64_t idle_busy_ns = 0;
  uint64_t all_reads = 0, all_bytes = 0;  // as in stats, but never reset
  // Where the bytes of gaps go; nobody looks at them, so all reads share it. Outlives the reader.
  AlignedBuffer sink;
  BatchReader reader;
  LayerReads layers[2];
  std::vector<FinishedRead> finished;
  std::vector<RecordRead> delivered;    // of one call of Next()
  std::vector<absl::Status> verdicts;  // on them
  LoaderStats stats;
  int64_t busy_ns_at_reset = 0;
};

namespace {

// A read's tag: whose it is, and which of that layer's.
constexpr int kLayerShift = 32;

size_t MostRecords(const BundleFile& file) {
  size_t most = 0;
  for (const RecordLayout& layout : file.layers()) {
    most = std::max<size_t>(most, layout.num_records);
  }
  return most;
}

}  // namespace

BundleLoader::BundleLoader(std::shared_ptr<const BundleFile> file,
                           std::unique_ptr<IoEngine> engine, Options options)
    : state_(std::make_unique<State>(file, std::move(engine), std::move(options),
                                     MostRecords(*file))) {
  state_->PrepareForGaps();
}

void BundleLoader::State::PrepareForGaps() {
  if (options.curve == nullptr) return;
  for (const RecordLayout& each : file->layers()) {
    const uint64_t record_bytes = each.record_bytes;
    if (CostsOf(each) != nullptr) continue;
    const uint64_t largest = std::max(options.max_extent_bytes, record_bytes);
    costs.push_back({ReadCosts(*options.curve, record_bytes, options.max_extent_bytes),
                     CostEstimate(*options.curve, record_bytes, largest)});
  }
  // What is observed later may make larger gaps pay, so there is room for the largest.
  absl::StatusOr<AlignedBuffer> memory = AlignedBuffer::Allocate(ReadCosts::kMaxGapBytes);
  if (!memory.ok()) {
    costs.clear();
    return;
  }
  sink = *std::move(memory);
  ABSL_ANNOTATE_BENIGN_RACE_SIZED(sink.data(), sink.size(), "bytes that nobody reads");
}

// Layers rarely differ in the size of their records.
BundleLoader::State::Costs* BundleLoader::State::CostsOf(const RecordLayout& of) {
  for (Costs& each : costs) {
    if (each.costs.record_bytes() == of.record_bytes) return &each;
  }
  return nullptr;
}

// Before a submission: whenever the reader is idle, what it did since it last was is an observation
// (of the layer that is asked for now; layers rarely differ).
void BundleLoader::State::ObserveCosts(const RecordLayout& of) {
  Costs* const known = CostsOf(of);
  if (known == nullptr || reader.outstanding() > 0) return;
  const int64_t busy_ns = reader.busy_ns();
  known->estimate.Observe(all_reads - idle_reads, all_bytes - idle_bytes, busy_ns - idle_busy_ns);
  idle_reads = all_reads;
  idle_bytes = all_bytes;
  idle_busy_ns = busy_ns;
  if (!known->estimate.TakeUpdate()) return;
  known->costs = ReadCosts(known->estimate.Curve(), of.record_bytes, options.max_extent_bytes);
}

bool BundleLoader::CanSplitBundles(const RecordLayout& layout) {
  return layout.neurons_per_record == 1 && layout.down_offset(0) % kRecordAlignment == 0;
}

uint64_t BundleLoader::BytesFor(uint32_t max_records) {
  // Here, and in the reader: its request (some 100 bytes), its places in two queues and a batch.
  const uint64_t here = sizeof(FinishedRead) + sizeof(RecordRead) + sizeof(absl::Status);
  return ReadCosts::kMaxGapBytes + 2 * LayerReads::BytesFor(max_records) +
         max_records * (here + 128 + 3 * sizeof(size_t) + sizeof(IoRead));
}

BundleLoader::~BundleLoader() { Cancel(); }

LayerReads* BundleLoader::State::Find(uint32_t layer) {
  for (LayerReads& each : layers) {
    if (each.pending() > 0 && each.layer() == layer) return &each;
  }
  return nullptr;
}

// The layer's reads, or the place for new ones.
absl::StatusOr<LayerReads*> BundleLoader::State::Choose(uint32_t layer, size_t count) {
  if (LayerReads* const found = Find(layer)) {
    if (found->HasRoomFor(count)) return found;
    return absl::FailedPreconditionError(absl::StrCat(file->path(), ": layer ", layer,
                                                      ": more records than it has"));
  }
  for (LayerReads& each : layers) {
    if (each.pending() > 0) continue;
    each.Begin(layer);
    return &each;
  }
  return absl::FailedPreconditionError(
      absl::StrCat(file->path(), ": records of layers ", layers[0].layer(), " and ",
                   layers[1].layer(), " are still pending; layer ", layer,
                   " cannot be asked for"));
}

absl::Status BundleLoader::Submit(uint32_t layer, absl::Span<const RecordRead> reads) {
  State& state = *state_;
  absl::Span<const IoRead> planned;
  {
    ScopedTimer timer(&state.stats.planning_ns);
    SLUICE_RETURN_IF_ERROR(state.Check(layer, reads));
    if (reads.empty()) return absl::OkStatus();
    SLUICE_ASSIGN_OR_RETURN(LayerReads * of_layer, state.Choose(layer, reads.size()));
    const RecordLayout& layout = state.file->layers()[layer];
    state.ObserveCosts(layout);
    const State::Costs* const costs = state.CostsOf(layout);
    const ReadRules rules{state.options.max_extent_bytes, state.options.join,
                          state.options.split_bundles && CanSplitBundles(layout),
                          costs == nullptr ? nullptr : &costs->costs, state.sink.data()};
    const auto whose = static_cast<uint64_t>(of_layer - state.layers);
    const uint64_t gaps =
        of_layer->Add(layout, reads, rules, whose << kLayerShift, &planned);
    state.stats.reads += planned.size();
    state.stats.bytes += (reads.size() + gaps) * layout.record_bytes;
    state.stats.gap_bytes += gaps * layout.record_bytes;
    state.all_reads += planned.size();
    state.all_bytes += (reads.size() + gaps) * layout.record_bytes;
  }
  ScopedTimer timer(&state.stats.starting_ns);
  const absl::Status status = state.reader.Start(planned);
  if (status.ok()) return status;
  return state.Fail(Annotate(status, absl::StrCat("layer ", layer)));
}

absl::Status BundleLoader::State::Check(uint32_t layer,
                                        absl::Span<const RecordRead> wanted) const {
  const std::vector<RecordLayout>& layouts = file->layers();
  if (layer >= layouts.size()) {
    return absl::OutOfRangeError(absl::StrCat(file->path(), ": layer ", layer,
                                              " of a file with ", layouts.size()));
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].record >= layouts[layer].num_records) {
      return absl::OutOfRangeError(absl::StrCat(file->path(), ": layer ", layer, ": record ",
                                                wanted[i].record, " of ",
                                                layouts[layer].num_records));
    }
    const bool ascending = i == 0 || wanted[i].record > wanted[i - 1].record;
    if (!ascending || wanted[i].destination == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          file->path(), ": layer ", layer, ": record ", wanted[i].record,
          ascending ? " has no destination" : " is not in ascending order"));
    }
  }
  return absl::OkStatus();
}

// Hands what the reader has finished to the layers that it is for.
absl::Status BundleLoader::State::Distribute() {
  absl::Status status;
  for (const FinishedRead& read : finished) {
    const uint64_t whose = read.tag >> kLayerShift;
    const uint64_t tag = read.tag & ((uint64_t{1} << kLayerShift) - 1);
    if (whose < 2 && layers[whose].Land(tag, read.status)) continue;
    status = absl::InternalError(
        absl::StrCat(file->path(), ": a read came back that was never started"));
  }
  finished.clear();
  return status;
}

absl::Status BundleLoader::Next(uint32_t layer, size_t least, std::vector<uint32_t>* arrived,
                                std::vector<RecordFailure>* failed) {
  State& state = *state_;
  LayerReads* const from = state.Find(layer);
  if (from == nullptr) return absl::OkStatus();
  least = std::clamp<size_t>(least, 1, from->pending());
  while (from->num_landed() < least) {
    absl::Status waited;
    {
      ScopedTimer timer(&state.stats.waiting_ns);
      waited = state.reader.Wait(&state.finished);
    }
    if (waited.ok() && state.finished.empty()) {
      waited = absl::InternalError(absl::StrCat(state.file->path(), ": ", from->pending(),
                                                " records are pending but no read is"));
    }
    if (waited.ok()) waited = state.Distribute();
    if (!waited.ok()) return state.Fail(Annotate(waited, absl::StrCat("layer ", layer)));
  }
  state.Deliver(from, arrived, failed);
  return absl::OkStatus();
}

void BundleLoader::Poll() {
  State& state = *state_;
  if (state.reader.outstanding() == 0) return;
  ScopedTimer timer(&state.stats.starting_ns);
  // An engine that fails here fails in Wait() as well, where somebody can be told; a read that
  // was never started is noticed there, since its layer waits for ever for what is missing.
  state.reader.Poll(&state.finished).IgnoreError();
  state.Distribute().IgnoreError();
}

void BundleLoader::State::Deliver(LayerReads* from, std::vector<uint32_t>* arrived,
                                  std::vector<RecordFailure>* failed) {
  delivered.clear();
  const uint32_t layer = from->layer();
  while (from->has_landed()) {
    const LayerReads::Piece piece = from->Take();
    if (piece.status->ok()) {
      delivered.insert(delivered.end(), piece.records.begin(), piece.records.end());
      continue;
    }
    const absl::Status status = Annotate(*piece.status, Neurons(layer, piece));
    for (const RecordRead& read : piece.records) failed->push_back({read.record, status});
  }
  verdicts.assign(delivered.size(), absl::OkStatus());
  if (options.verify) Verify(layer);
  for (size_t i = 0; i < delivered.size(); ++i) {
    if (verdicts[i].ok()) {
      arrived->push_back(delivered[i].record);
      ++stats.records;
    } else {
      failed->push_back({delivered[i].record, verdicts[i]});
    }
  }
}

void BundleLoader::State::Verify(uint32_t layer) {
  ScopedTimer timer(&stats.verifying_ns);
  const size_t record_bytes = file->layers()[layer].record_bytes;
  const auto verify = [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const absl::Span<const std::byte> bytes(delivered[i].destination, record_bytes);
      verdicts[i] = file->VerifyRecord(layer, delivered[i].record, bytes);
    }
  };
  constexpr size_t kGrainBytes = 128 << 10;  // less is not worth a hand-over
  const size_t grain = std::max<size_t>(kGrainBytes / record_bytes, 1);
  if (options.pool == nullptr) return verify(0, delivered.size());
  options.pool->ParallelFor(delivered.size(), grain, verify);
}

absl::Status BundleLoader::State::Fail(const absl::Status& status) {
  CancelAll();
  return status;
}

void BundleLoader::State::CancelAll() {
  reader.Drain();
  finished.clear();
  for (LayerReads& each : layers) each.Begin(0);
}

std::string BundleLoader::State::Neurons(uint32_t layer, const LayerReads::Piece& piece) const {
  const RecordLayout& layout = file->layers()[layer];
  const uint64_t per_record = layout.neurons_per_record;
  const uint64_t first = piece.records.front().record * per_record;
  const uint64_t end = first + piece.span * per_record;
  return absl::StrCat("layer ", layer, ", neurons ", first, " to ",
                      std::min<uint64_t>(end, layout.num_neurons) - 1);
}

size_t BundleLoader::pending(uint32_t layer) const {
  const LayerReads* const found = state_->Find(layer);
  return found == nullptr ? 0 : found->pending();
}

size_t BundleLoader::pending() const {
  return state_->layers[0].pending() + state_->layers[1].pending();
}

void BundleLoader::Cancel() { state_->CancelAll(); }

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
