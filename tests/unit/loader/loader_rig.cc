#include "tests/unit/loader/loader_rig.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

#include "lib/format/bundle_writer.h"

namespace sluice::testing {
namespace {

std::vector<std::byte> RandomLayer(const RecordLayout& layout, std::mt19937_64& rng) {
  const uint32_t num_records =
      (layout.num_neurons + layout.neurons_per_record - 1) / layout.neurons_per_record;
  std::vector<std::byte> out(size_t{num_records} * layout.record_bytes);
  for (uint32_t record = 0; record < num_records; ++record) {
    std::byte* bytes = out.data() + size_t{record} * layout.record_bytes;
    for (uint32_t i = 0; i < layout.used_bytes(record); ++i) bytes[i] = std::byte(rng() & 0xff);
  }
  return out;
}

RecordLayout LayoutOf(uint32_t num_neurons, uint32_t row_elements, uint32_t rows_per_neuron,
                      ElementType type) {
  auto layout = MakeRecordLayout(num_neurons, row_elements, rows_per_neuron, type);
  REQUIRE_OK(layout);
  return *layout;
}

}  // namespace

TestBundle::TestBundle(const std::vector<RecordLayout>& layouts, uint64_t seed) {
  std::mt19937_64 rng(seed);
  const std::string path = dir_.File("model.flash");
  auto writer = BundleWriter::Create(path, 0, std::to_string(seed));
  REQUIRE_OK(writer);
  for (const RecordLayout& layout : layouts) {
    REQUIRE_OK((*writer)->BeginLayer(layout));
    REQUIRE_OK((*writer)->AppendRecords(RandomLayer(layout, rng)));
    REQUIRE_OK((*writer)->EndLayer());
  }
  REQUIRE_OK((*writer)->Finish(nlohmann::json::object()));
  REQUIRE_OK((*writer)->Commit());
  auto file = BundleFile::Open(path);
  REQUIRE_OK(file);
  file_ = *file;
  content_ = std::make_shared<const std::string>(ReadFileOrDie(path));
}

std::unique_ptr<MemoryEngine> TestBundle::Engine(size_t queue_depth, size_t alignment) const {
  return std::make_unique<MemoryEngine>(content_, MemoryEngineOptions{queue_depth, alignment});
}

std::unique_ptr<FaultEngine> TestBundle::FaultyEngine(FaultPlan plan, size_t queue_depth) const {
  return std::make_unique<FaultEngine>(Engine(queue_depth), std::move(plan));
}

std::vector<RecordLayout> SmallLayouts() {
  return {LayoutOf(78, 256, 2, ElementType::kF16), LayoutOf(61, 256, 2, ElementType::kBF16),
          LayoutOf(9, 1024, 2, ElementType::kF32)};
}

Destination::Destination(const TestBundle& bundle, uint32_t layer, std::vector<uint32_t> records,
                         std::vector<uint32_t> slots)
    : bundle_(bundle), layer_(layer), arrived_(records.size()) {
  const size_t record_bytes = bundle.layout(layer).record_bytes;
  auto memory = AlignedBuffer::Allocate(std::max<size_t>(records.size(), 1) * record_bytes);
  REQUIRE_OK(memory);
  memory_ = *std::move(memory);
  for (size_t i = 0; i < records.size(); ++i) {
    reads_.push_back({records[i], memory_.data() + slots[i] * record_bytes});
  }
}

Destination::Destination(const TestBundle& bundle, uint32_t layer, std::vector<uint32_t> records)
    : Destination(bundle, layer, records, FirstRecords(static_cast<uint32_t>(records.size()))) {}

absl::Status Destination::LoadAll(BundleLoader& loader) {
  arrived_.assign(reads_.size(), false);
  num_arrived_ = 0;
  std::memset(memory_.data(), 0xee, memory_.size());
  if (absl::Status status = loader.Submit(layer_, reads_); !status.ok()) return status;
  REQUIRE(loader.pending() == reads_.size());
  while (loader.pending() > 0) {
    if (absl::Status status = LoadNext(loader); !status.ok()) return status;
    REQUIRE(loader.pending() == reads_.size() - num_arrived_);
  }
  REQUIRE(num_arrived_ == reads_.size());
  return absl::OkStatus();
}

absl::Status Destination::LoadNext(BundleLoader& loader) {
  std::vector<uint32_t> arrived = {UINT32_MAX};  // Next() appends
  std::vector<RecordFailure> failed;
  const absl::Status status = loader.Next(layer_, 1, &arrived, &failed);
  REQUIRE(arrived[0] == UINT32_MAX);
  if (!status.ok()) {
    REQUIRE(arrived.size() == 1);
    REQUIRE(failed.empty());
    return status;
  }
  REQUIRE(arrived.size() + failed.size() > 1);
  const RecordLayout& layout = bundle_.layout(layer_);
  for (size_t i = 1; i < arrived.size(); ++i) {
    const uint32_t position = PositionOf(arrived[i]);
    REQUIRE(!arrived_[position]);
    arrived_[position] = true;
    ++num_arrived_;
    const RecordRead& read = reads_[position];
    const char* expected = bundle_.content()->data() + layout.record_offset(read.record);
    REQUIRE(std::memcmp(read.destination, expected, layout.record_bytes) == 0);
  }
  if (failed.empty()) return status;
  for (const RecordFailure& each : failed) {
    REQUIRE(!arrived_[PositionOf(each.record)]);
    REQUIRE(!each.status.ok());
  }
  loader.Cancel();
  return failed.front().status;
}

uint32_t Destination::PositionOf(uint32_t record) const {
  const auto is_it = [&](const RecordRead& read) { return read.record == record; };
  const auto found = std::find_if(reads_.begin(), reads_.end(), is_it);
  REQUIRE(found != reads_.end());
  return static_cast<uint32_t>(found - reads_.begin());
}

std::shared_ptr<const DeviceCurve> SlowRequests() {
  std::vector<CurvePoint> points;
  for (uint64_t bytes = 4 << 10; bytes <= 1 << 20; bytes *= 2) {
    const double us = 1000 + static_cast<double>(bytes) / 4096;
    points.push_back({bytes, 1, static_cast<double>(bytes) / (us * 1e3), us});
  }
  const auto curve = DeviceCurve::FromPoints(points, "slow requests");
  REQUIRE_OK(curve);
  return std::make_shared<const DeviceCurve>(*curve);
}

std::vector<uint32_t> FirstRecords(uint32_t count) {
  std::vector<uint32_t> out(count);
  std::iota(out.begin(), out.end(), 0u);
  return out;
}

}  // namespace sluice::testing
