#include "lib/io/measure_device.h"

#include <sys/stat.h>
#ifdef __linux__
#include <linux/magic.h>
#include <sys/vfs.h>
#endif

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/io/batch_reader.h"
#include "lib/io/file.h"
#include "lib/io/storage_file.h"

namespace sluice {
namespace {

// Visits of each point; odd, for the median.
constexpr int kRounds = 3;
// A visit goes on until its queue has been filled so many times after the first filling...
constexpr uint64_t kMinFillings = 2;
// ...but not longer than this many of its shares of the time.
constexpr int64_t kMaxOvertime = 8;
// A read that has not come back by then never will.
constexpr std::chrono::milliseconds kReadTimeout{30000};
// st_blocks counts such units, whatever the file system's own are.
constexpr uint64_t kStatBlockBytes = 512;
constexpr size_t kChunkBytes = 1 << 20;
// A file may own a little less than its size: compressed metadata, a tail in the inode.
constexpr double kMinOwned = 0.9;

// Something that no storage can compress or fold, synced. Removed when it goes, and by the next
// run on the same folder where this process is killed.
absl::StatusOr<std::unique_ptr<AtomicFile>> MakeTemporaryFile(const std::string& folder,
                                                              uint64_t bytes) {
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<AtomicFile> file,
                          AtomicFile::Create(absl::StrCat(folder, "/sluice-device")));
  SLUICE_RETURN_IF_ERROR(file->Reserve(bytes));
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer chunk, AlignedBuffer::Allocate(kChunkBytes));
  std::mt19937_64 random(1);
  for (uint64_t at = 0; at < bytes; at += kChunkBytes) {
    for (size_t i = 0; i < kChunkBytes / sizeof(uint64_t); ++i) {
      chunk.as<uint64_t>()[i] = random();
    }
    SLUICE_RETURN_IF_ERROR(
        file->WriteAt(at, chunk.span().first(std::min<uint64_t>(kChunkBytes, bytes - at))));
  }
  SLUICE_RETURN_IF_ERROR(file->Sync());
  return file;
}

// A file system that is memory: recent kernels accept O_DIRECT there too.
bool IsInMemory(const std::string& path) {
#ifdef __linux__
  struct statfs info;
  if (statfs(path.c_str(), &info) != 0) return false;
  return info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC ||
         info.f_type == HUGETLBFS_MAGIC;
#else
  return false;
#endif
}

absl::Status CheckOnDevice(const std::string& path) {
  if (!IsInMemory(path)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      path, ": the device cannot be measured: this file system is in memory (tmpfs)"));
}

absl::Status CheckFile(const StorageFile& file) {
  SLUICE_RETURN_IF_ERROR(CheckOnDevice(file.path()));
  struct stat info;
  if (stat(file.path().c_str(), &info) != 0) {
    return ErrnoStatus(errno, absl::StrCat(file.path(), ": cannot stat"));
  }
  if (file.size() < MeasureDeviceSettings::kMinFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": ", file.size(), " bytes are too few to measure a device, ",
                     MeasureDeviceSettings::kMinFileBytes,
                     " are needed; give a larger file, or a folder to make one in"));
  }
  const uint64_t owned = static_cast<uint64_t>(info.st_blocks) * kStatBlockBytes;
  if (static_cast<double>(owned) < kMinOwned * static_cast<double>(file.size())) {
    return absl::InvalidArgumentError(absl::StrCat(
        file.path(), ": the file has holes (", owned, " bytes on the device of ", file.size(),
        "), which are not read from it; give another file, or a folder to make one in"));
  }
  if (!file.direct_io()) {
    return absl::FailedPreconditionError(
        absl::StrCat(file.path(), ": the device cannot be measured through the page cache, and "
                     "O_DIRECT does not work here: ", file.direct_reason()));
  }
  return absl::OkStatus();
}

// Keeps one queue full of random reads.
class Visitor {
 public:
  static absl::StatusOr<Visitor> Create(std::shared_ptr<StorageFile> file, EngineChoice choice,
                                        uint32_t deepest, uint64_t largest_read) {
    Visitor visitor;
    visitor.file_ = std::move(file);
    SLUICE_ASSIGN_OR_RETURN(visitor.memory_, AlignedBuffer::Allocate(deepest * largest_read));
    visitor.segments_.resize(deepest);
    const IoSegment all{visitor.memory_.data(), visitor.memory_.size()};
    SLUICE_ASSIGN_OR_RETURN(visitor.engine_,
                            MakeIoEngine(visitor.file_, choice, deepest, {&all, 1}));
    return visitor;
  }

  const IoCapabilities& capabilities() const { return engine_->capabilities(); }

  // GB/s of reads of one size at one depth, measured for about `slice_ns` once the queue has been
  // turned over.
  absl::StatusOr<double> Measure(uint64_t read_bytes, uint32_t depth, int64_t slice_ns) {
    const int64_t start = NowNs();
    int64_t now = start;
    int64_t measured_from = 0;
    uint64_t num_measured = 0, num_done = 0;
    std::vector<uint64_t> idle(depth);
    for (uint32_t i = 0; i < depth; ++i) idle[i] = i;
    while (true) {
      SLUICE_RETURN_IF_ERROR(Refill(read_bytes, idle));
      SLUICE_RETURN_IF_ERROR(Reap(read_bytes, 1, &idle));
      now = NowNs();
      num_done += idle.size();
      const bool overtime = now - start > kMaxOvertime * slice_ns;
      if (measured_from != 0) {
        num_measured += idle.size();
        const bool enough = now - measured_from >= slice_ns && num_measured >= kMinFillings * depth;
        if (enough || overtime) break;
      } else if (num_done >= depth || overtime) {
        measured_from = now;
      }
    }
    while (engine_->in_flight() > 0) {
      SLUICE_RETURN_IF_ERROR(Reap(read_bytes, engine_->in_flight(), &idle));
    }
    // Bytes per nanosecond.
    return static_cast<double>(num_measured * read_bytes) /
           static_cast<double>(std::max<int64_t>(now - measured_from, 1));
  }

 private:
  absl::Status Refill(uint64_t read_bytes, absl::Span<const uint64_t> idle) {
    const uint64_t num_places = (file_->size() - read_bytes) / file_->alignment() + 1;
    reads_.clear();
    for (uint64_t slot : idle) {
      segments_[slot] = {memory_.data() + slot * read_bytes, read_bytes};
      reads_.push_back({random_() % num_places * file_->alignment(), {&segments_[slot], 1}, slot});
    }
    return engine_->Submit(reads_);
  }

  // The slots of what came back.
  absl::Status Reap(uint64_t read_bytes, size_t min_complete, std::vector<uint64_t>* slots) {
    completions_.clear();
    slots->clear();
    SLUICE_RETURN_IF_ERROR(engine_->Reap(min_complete, kReadTimeout, &completions_));
    if (completions_.empty()) {
      return absl::UnavailableError(absl::StrCat(file_->path(), ": no read came back in ",
                                                 kReadTimeout.count(), " ms"));
    }
    for (const IoCompletion& completion : completions_) {
      if (completion.result < 0) {
        return ErrnoStatus(static_cast<int>(-completion.result),
                           absl::StrCat(file_->path(), ": read of ", read_bytes, " bytes"));
      }
      if (static_cast<uint64_t>(completion.result) != read_bytes) {
        return absl::DataLossError(absl::StrCat(file_->path(), ": a read of ", read_bytes,
                                                " bytes gave ", completion.result));
      }
      slots->push_back(completion.tag);
    }
    return absl::OkStatus();
  }

  std::shared_ptr<StorageFile> file_;
  AlignedBuffer memory_;  // outlives the engine, whose reads land in it
  std::vector<IoSegment> segments_;
  std::vector<IoRead> reads_;
  std::vector<IoCompletion> completions_;
  std::mt19937_64 random_{2};
  std::unique_ptr<IoEngine> engine_;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + kRounds / 2, values.end());
  return values[kRounds / 2];
}

absl::StatusOr<std::vector<CurvePoint>> VisitAll(const MeasureDeviceSettings& settings,
                                                 Visitor* visitor) {
  std::vector<CurvePoint> points;
  for (uint32_t depth : settings.queue_depths) {
    for (uint64_t bytes : settings.read_bytes) points.push_back({bytes, depth, 0, 0});
  }
  std::vector<std::vector<double>> rates(points.size());
  const auto num_visits = static_cast<double>(points.size() * kRounds);
  const auto slice_ns = static_cast<int64_t>(settings.seconds * 1e9 / num_visits);
  double num_done = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < points.size(); ++i) {
      SLUICE_ASSIGN_OR_RETURN(const double rate, visitor->Measure(points[i].read_bytes,
                                                                  points[i].queue_depth, slice_ns));
      rates[i].push_back(rate);
      if (settings.on_progress && !settings.on_progress(++num_done / num_visits)) {
        return absl::CancelledError("the measurement of the device was stopped");
      }
    }
  }
  for (size_t i = 0; i < points.size(); ++i) {
    points[i].gb_per_s = Median(rates[i]);
    points[i].us_per_read =
        static_cast<double>(points[i].read_bytes) / (points[i].gb_per_s * 1e3);
  }
  return points;
}

absl::Status CheckSettings(const MeasureDeviceSettings& settings) {
  constexpr uint64_t kLargestRead = 16 << 20;
  constexpr uint32_t kDeepestQueue = 1024;
  const bool sizes_good =
      !settings.read_bytes.empty() &&
      std::all_of(settings.read_bytes.begin(), settings.read_bytes.end(), [&](uint64_t bytes) {
        return bytes > 0 && bytes % kIoAlignment == 0 && bytes <= kLargestRead;
      });
  const bool depths_good =
      !settings.queue_depths.empty() &&
      std::all_of(settings.queue_depths.begin(), settings.queue_depths.end(),
                  [&](uint32_t depth) { return depth > 0 && depth <= kDeepestQueue; });
  if (sizes_good && depths_good && settings.seconds > 0 && settings.seconds <= 3600) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "a device is measured with reads of multiples of ", kIoAlignment, " bytes up to ",
      kLargestRead, ", queue depths of 1 to ", kDeepestQueue, ", for more than 0 seconds and at "
      "most an hour"));
}

}  // namespace

absl::StatusOr<MeasuredDevice> MeasureDeviceCurve(const std::string& path,
                                                  const MeasureDeviceSettings& settings) {
  SLUICE_RETURN_IF_ERROR(CheckSettings(settings));
  std::unique_ptr<AtomicFile> temporary;
  std::string file_path = path;
  if (IsDirectory(path)) {
    SLUICE_RETURN_IF_ERROR(CheckOnDevice(path));
    SLUICE_ASSIGN_OR_RETURN(temporary, MakeTemporaryFile(path, settings.temporary_bytes));
    file_path = temporary->temporary_path();
  }
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<StorageFile> file, StorageFile::Open(file_path));
  SLUICE_RETURN_IF_ERROR(CheckFile(*file));
  // O_DIRECT does not look into the page cache, but some file systems serve what is there.
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<InputFile> input, InputFile::Open(file_path));
  input->DropCache(0, file->size());
  SLUICE_ASSIGN_OR_RETURN(
      Visitor visitor,
      Visitor::Create(
          file, settings.engine,
          *std::max_element(settings.queue_depths.begin(), settings.queue_depths.end()),
          *std::max_element(settings.read_bytes.begin(), settings.read_bytes.end())));
  SLUICE_ASSIGN_OR_RETURN(std::vector<CurvePoint> points, VisitAll(settings, &visitor));
  SLUICE_ASSIGN_OR_RETURN(DeviceCurve curve, DeviceCurve::FromPoints(std::move(points), path));
  return MeasuredDevice{std::move(curve), visitor.capabilities(), file->size()};
}

}  // namespace sluice
