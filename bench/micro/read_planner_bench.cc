// What planned reads of scattered records cost on a real device, with O_DIRECT: one read for each
// record, adjacent records joined, and gaps read through, beside the best that the device's curve
// allows for the bytes that are needed. Slots are scattered, as they are after a few tokens; that
// this makes reads vectored, which no buffer is registered for, shows beside adjacent slots.
// Layers as large as OPT-6.7B's (16384 records of 16 KiB), of which a token misses about 2.4 %.
//
//   read_planner_bench FOLDER [ROUNDS]     takes a file of 1 GiB in FOLDER while it runs
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "lib/base/aligned_buffer.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/io/batch_reader.h"
#include "lib/io/file.h"
#include "lib/io/measure_device.h"
#include "lib/io/storage_file.h"
#include "lib/loader/read_planner.h"

namespace sluice {
namespace {

constexpr uint64_t kFileBytes = uint64_t{1} << 30;
constexpr uint64_t kLayerBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxExtentBytes = 256 << 10;
constexpr size_t kQueueDepth = 64;
// Of the four records behind an active one, so many are active too: a little clustering.
constexpr double kNearActive = 0.15;
constexpr double kActive = 0.024;

enum Way { kSingle, kJoined, kInOrder, kBridged, kNumWays };
const char* const kNames[kNumWays] = {"one read per record", "joined, into scattered slots",
                                      "joined, into adjacent slots",
                                      "joined and gaps, into scattered slots"};

using Records = std::vector<uint32_t>;

// A chain that starts anew often enough to make kActive of all.
Records Scattered(uint32_t num_records, std::mt19937_64* random) {
  std::uniform_real_distribution<double> uniform;
  const double followers = 4 * kNearActive;
  const double anew = kActive * (1 - followers) / (1 - kActive);
  Records active;
  for (uint32_t record = 0; record < num_records; ++record) {
    double p = anew;
    for (size_t i = active.size(); i-- > 0 && record - active[i] <= 4;) p += kNearActive;
    if (uniform(*random) < p) active.push_back(record);
  }
  return active;
}

struct Sample {
  double ms;
  double reads, bytes;
};

class Bench {
 public:
  static absl::StatusOr<std::unique_ptr<Bench>> Create(const std::string& path,
                                                       uint64_t record_bytes,
                                                       const DeviceCurve& curve) {
    auto bench = std::make_unique<Bench>(ReadCosts(curve, record_bytes, kMaxExtentBytes));
    SLUICE_ASSIGN_OR_RETURN(auto file, StorageFile::Open(path));
    SLUICE_ASSIGN_OR_RETURN(bench->slots_, AlignedBuffer::Allocate(64 << 20));
    SLUICE_ASSIGN_OR_RETURN(bench->sink_, AlignedBuffer::Allocate(ReadCosts::kMaxGapBytes));
    const IoSegment all{bench->slots_.data(), bench->slots_.size()};
    SLUICE_ASSIGN_OR_RETURN(auto engine,
                            MakeIoEngine(file, EngineChoice::kAuto, kQueueDepth, {&all, 1}));
    bench->reader_ = std::make_unique<BatchReader>(std::move(engine), path);
    return bench;
  }

  explicit Bench(ReadCosts costs) : costs_(std::move(costs)) {}

  absl::StatusOr<Sample> Read(const Records& records, uint64_t base, Way way) {
    const int64_t start = NowNs();
    const uint64_t record_bytes = costs_.record_bytes();
    PlanExtents(records, record_bytes, way == kSingle ? 0 : kMaxExtentBytes, &extents_);
    uint64_t gaps = 0;
    if (way == kBridged) gaps = BridgeGaps(records, costs_, &extents_);
    Build(records, base, way == kInOrder);
    SLUICE_RETURN_IF_ERROR(reader_->Start(reads_));
    while (reader_->outstanding() > 0) {
      finished_.clear();
      SLUICE_RETURN_IF_ERROR(reader_->Wait(&finished_));
      for (const FinishedRead& read : finished_) SLUICE_RETURN_IF_ERROR(read.status);
    }
    return Sample{static_cast<double>(NowNs() - start) * 1e-6, static_cast<double>(reads_.size()),
                  static_cast<double>((records.size() + gaps) * record_bytes)};
  }

 private:
  void Build(const Records& records, uint64_t base, bool adjacent) {
    const uint64_t record_bytes = costs_.record_bytes();
    const uint64_t num_slots = slots_.size() / record_bytes;
    segments_.clear();
    segments_.reserve(2 * records.size());
    reads_.clear();
    for (const Extent& extent : extents_) {
      const size_t first = segments_.size();
      for (uint32_t i = extent.first; i < extent.first + extent.count; ++i) {
        const uint32_t gap = i == extent.first ? 0 : records[i] - records[i - 1] - 1;
        if (gap > 0) segments_.push_back({sink_.data(), gap * record_bytes});
        const uint64_t slot = adjacent ? i : i * 7919 % num_slots;
        if (adjacent && i > extent.first) {
          segments_.back().bytes += record_bytes;
        } else {
          segments_.push_back({slots_.data() + slot * record_bytes, record_bytes});
        }
      }
      reads_.push_back({base + records[extent.first] * record_bytes,
                        absl::MakeConstSpan(segments_).subspan(first), reads_.size()});
    }
  }

  const ReadCosts costs_;
  AlignedBuffer slots_, sink_;
  std::vector<Extent> extents_;
  std::vector<IoSegment> segments_;
  std::vector<IoRead> reads_;
  std::vector<FinishedRead> finished_;
  std::unique_ptr<BatchReader> reader_;
};

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

absl::Status Compare(const std::string& path, uint64_t record_bytes, const DeviceCurve& curve,
                     int rounds) {
  SLUICE_ASSIGN_OR_RETURN(const auto bench, Bench::Create(path, record_bytes, curve));
  std::mt19937_64 random(1);
  const auto num_records = static_cast<uint32_t>(kLayerBytes / record_bytes);
  std::vector<double> ms[kNumWays], reads[kNumWays], bytes[kNumWays];
  for (int round = 0; round < rounds; ++round) {
    // Another set of records of another layer for each way, so that no read profits from one
    // before; ways in turn, there and back.
    for (int i = 0; i < kNumWays; ++i) {
      const Way way = static_cast<Way>(round % 2 == 0 ? i : kNumWays - 1 - i);
      const Records records = Scattered(num_records, &random);
      const uint64_t base = random() % (kFileBytes / kLayerBytes) * kLayerBytes;
      SLUICE_ASSIGN_OR_RETURN(const Sample sample, bench->Read(records, base, way));
      if (round < 4) continue;  // warm-up
      const auto needed = static_cast<double>(records.size() * record_bytes);
      ms[way].push_back(sample.ms / (needed / (1 << 20)));
      reads[way].push_back(sample.reads);
      bytes[way].push_back(sample.bytes / needed);
    }
  }
  std::printf("\nrecords of %llu KiB, %.2f %% of %u, %zu requests each way\n\n",
              static_cast<unsigned long long>(record_bytes >> 10), kActive * 100, num_records,
              ms[0].size());
  std::printf("| way | reads | read / needed | ms per needed MiB: median | p10 | p90 | over ideal "
              "|\n|---|---|---|---|---|---|---|\n");
  const double ideal = (1 << 20) / (curve.Best().gb_per_s * 1e6);
  for (int way = 0; way < kNumWays; ++way) {
    std::printf("| %s | %.0f | %.3f | %.3f | %.3f | %.3f | %.2f |\n", kNames[way],
                Quantile(reads[way], 0.5), Quantile(bytes[way], 0.5), Quantile(ms[way], 0.5),
                Quantile(ms[way], 0.1), Quantile(ms[way], 0.9), Quantile(ms[way], 0.5) / ideal);
  }
  std::printf("| ideal: best point of the curve | | 1 | %.3f | | | 1 |\n", ideal);
  return absl::OkStatus();
}

absl::Status Run(const std::string& folder, int rounds) {
  // Never committed, so removed when it goes.
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file,
                          AtomicFile::Create(folder + "/read-planner-bench"));
  SLUICE_RETURN_IF_ERROR(file->Reserve(kFileBytes));
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer chunk, AlignedBuffer::Allocate(1 << 20));
  std::mt19937_64 random(1);
  for (uint64_t at = 0; at < kFileBytes; at += chunk.size()) {
    for (size_t i = 0; i < chunk.size() / 8; ++i) chunk.as<uint64_t>()[i] = random();
    SLUICE_RETURN_IF_ERROR(file->WriteAt(at, chunk.span()));
  }
  SLUICE_RETURN_IF_ERROR(file->Sync());
  SLUICE_ASSIGN_OR_RETURN(const MeasuredDevice device,
                          MeasureDeviceCurve(file->temporary_path(), {}));
  std::printf("best point: %.2f GB/s; ", device.curve.Best().gb_per_s);
  for (uint64_t kib : {4, 8, 16, 32, 64, 128, 256}) {
    std::printf("%llu KiB %.1f us; ", static_cast<unsigned long long>(kib),
                device.curve.CostUs(kib << 10));
  }
  std::printf("%s\n", device.capabilities.engine.c_str());
  for (uint64_t record_bytes : {16 << 10, 4 << 10}) {
    SLUICE_RETURN_IF_ERROR(
        Compare(file->temporary_path(), record_bytes, device.curve, rounds));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: read_planner_bench FOLDER [ROUNDS]\n");
    return 2;
  }
  const int rounds = argc > 2 ? std::max(std::atoi(argv[2]), 5) : 204;
  const absl::Status status = sluice::Run(argv[1], rounds);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}
