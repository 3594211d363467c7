// What placing neurons gains: the reads that a text makes with an unplaced and a placed file, with
// slots for 5, 25 and 50 % of the records, beside two other layouts. Simulated: sets as the
// predictors give them, the real window, the real read planner with the generic device curve.
//
//   placement_report PLACED UNPLACED CALIBRATION HELD_OUT [TOKENS]
//
// "closest friend" is the paper's baseline, friends learnt from CALIBRATION as the order of the
// placed file was. "own text" is placed by the measured text itself, neurons first and then the
// records by what is missing of them: what an order can be hoped to gain at most. "bound" is the
// run length that no order of the same records can exceed for the same missing sets. run and bound
// count records without gaps, rec/read with them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/placement/closest_friend.h"
#include "bench/placement/predicted_sets.h"
#include "bench/placement/read_simulation.h"
#include "lib/base/status_macros.h"
#include "lib/convert/placement.h"
#include "lib/model/memory_plan.h"

namespace sluice::bench {
namespace {

constexpr size_t kDefaultTokens = 8192;
constexpr size_t kCalibrationTokens = 16384;

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

std::vector<uint32_t> Slots(const ModelSets& model, double share) {
  uint64_t bytes = 0;
  std::vector<uint32_t> floor;
  for (const RecordLayout& l : model.layouts) {
    bytes += uint64_t{l.num_records} * l.record_bytes;
    floor.push_back(std::max(l.num_records / 32, 1u));
  }
  return ShareSlots(static_cast<uint64_t>(share * static_cast<double>(bytes)), model.layouts,
                    floor, model.need);
}

LayerReads Simulate(const Sets& sets, const RecordLayout& layout, uint32_t num_slots) {
  LayerReads layer(layout.num_records, layout.record_bytes, num_slots, DeviceCurve::Generic());
  for (const std::vector<uint32_t>& records : ToRecords(sets, layout.neurons_per_record)) {
    layer.Token(records);
  }
  return layer;
}

Reads SimulateModel(const ModelSets& model, const std::vector<uint32_t>& slots) {
  Reads sums;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    sums.Add(Simulate(model.layers[i], model.layouts[i], slots[i]).Finish());
  }
  return sums;
}

// Placed by the very sets that are measured.
Reads SimulateOwnText(const ModelSets& model, const std::vector<uint32_t>& slots,
                      ThreadPool* pool) {
  Reads sums;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const RecordLayout& layout = model.layouts[i];
    const Sets sets = Reordered(
        model.layers[i], PlaceByCoactivation(model.layers[i], layout.num_neurons, pool));
    const LayerReads first = Simulate(sets, layout, slots[i]);
    const std::vector<uint32_t> order =
        PlaceByCoactivation(first.missing(), layout.num_records, pool);
    LayerReads second(layout.num_records, layout.record_bytes, slots[i], DeviceCurve::Generic());
    for (const auto& records :
         Reordered(ToRecords(sets, layout.neurons_per_record), order)) {
      second.Token(records);
    }
    sums.Add(second.Finish());
  }
  return sums;
}

// The same sets and bytes of slots, had each neuron a record of its own without padding: run
// lengths as those who do not pack neurons report them.
ModelSets Unpacked(const ModelSets& model, std::vector<uint32_t>* slots) {
  ModelSets out = model;
  for (size_t i = 0; i < out.layouts.size(); ++i) {
    RecordLayout& layout = out.layouts[i];
    (*slots)[i] = static_cast<uint32_t>(std::min<uint64_t>(
        uint64_t{(*slots)[i]} * layout.record_bytes / layout.bundle_bytes(), layout.num_neurons));
    layout.neurons_per_record = 1;
    layout.record_bytes = layout.bundle_bytes();
    layout.num_records = layout.num_neurons;
  }
  return out;
}

Reads SimulateUnpacked(const ModelSets& model, std::vector<uint32_t> slots) {
  const ModelSets unpacked = Unpacked(model, &slots);
  return SimulateModel(unpacked, slots);
}

void PrintHead() {
  std::printf("%-16s %9s %9s %9s %8s %8s %9s %9s %8s\n", "layout", "missing", "runs", "reads",
              "run", "bound", "rec/read", "KiB/read", "read/need");
}

void PrintRow(const char* name, const Reads& r, size_t tokens) {
  const double n = static_cast<double>(tokens), missing = static_cast<double>(r.missing);
  const double reads = static_cast<double>(r.reads);
  std::printf("%-16s %9.2f %9.2f %9.2f %8.2f %8.2f %9.2f %9.2f %8.3f\n", name, missing / n,
              static_cast<double>(r.runs) / n, reads / n,
              Ratio(missing, static_cast<double>(r.runs)), Ratio(missing, r.least_runs),
              Ratio(static_cast<double>(r.records_read), reads),
              Ratio(static_cast<double>(r.read_bytes), reads) / 1024,
              Ratio(static_cast<double>(r.read_bytes), static_cast<double>(r.needed_bytes)));
}

void ReportFriends(const ModelSets& model, const ModelSets& calibration, const Reads& plain,
                   const std::vector<uint32_t>& slots, size_t tokens) {
  Reads sums;
  uint64_t most_copies = 0;
  double duplicates = 0;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const FriendReads layer = SimulateFriends(
        model.layers[i], model.layouts[i],
        ClosestFriends(calibration.layers[i], model.layouts[i].num_neurons), slots[i],
        DeviceCurve::Generic());
    sums.Add(layer.reads);
    most_copies = std::max(most_copies, layer.most_copies);
    duplicates += layer.resident_duplicates / static_cast<double>(model.layers.size());
  }
  PrintRow("closest friend", sums, tokens);
  const double bytes = Ratio(static_cast<double>(sums.read_bytes),
                             static_cast<double>(plain.read_bytes));
  std::printf("  closest friend: %.2f times the bytes of the unplaced file are read, the file is "
              "2 times as large,\n  %.0f %% of the bundles in slots are there already, one neuron "
              "has up to %llu copies: %s\n",
              bytes, 100 * duplicates, static_cast<unsigned long long>(most_copies),
              bytes < 1 ? "it reads less" : "it fails");
}

absl::Status Report(char** argv, size_t max_tokens) {
  SLUICE_ASSIGN_OR_RETURN(const ModelSets placed, PredictSets(argv[1], argv[4], max_tokens));
  SLUICE_ASSIGN_OR_RETURN(const ModelSets unplaced, PredictSets(argv[2], argv[4], max_tokens));
  SLUICE_ASSIGN_OR_RETURN(const ModelSets calibration,
                          PredictSets(argv[2], argv[3], kCalibrationTokens));
  const size_t tokens = placed.layers.empty() ? 0 : placed.layers[0].size();
  if (tokens == 0) return absl::InvalidArgumentError("no tokens");
  ThreadPool pool(2);
  std::printf("%zu tokens of %s; all layers together, per token; records of %u bytes with %u "
              "neurons\n",
              tokens, argv[4], placed.layouts[0].record_bytes,
              placed.layouts[0].neurons_per_record);
  for (const double share : {0.05, 0.25, 0.5}) {
    std::printf("\nslots for %.0f %% of the records\n", 100 * share);
    PrintHead();
    const std::vector<uint32_t> slots = Slots(unplaced, share);
    const Reads plain = SimulateModel(unplaced, slots);
    PrintRow("unplaced", plain, tokens);
    PrintRow("placed", SimulateModel(placed, Slots(placed, share)), tokens);
    PrintRow("own text", SimulateOwnText(placed, Slots(placed, share), &pool), tokens);
    ReportFriends(unplaced, calibration, plain, slots, tokens);
    std::printf("one neuron to a record, unpadded:\n");
    PrintRow("unplaced", SimulateUnpacked(unplaced, slots), tokens);
    PrintRow("placed", SimulateUnpacked(placed, Slots(placed, share)), tokens);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::fprintf(stderr, "placement_report PLACED UNPLACED CALIBRATION HELD_OUT [TOKENS]\n");
    return 2;
  }
  const size_t tokens =
      argc == 6 ? std::strtoull(argv[5], nullptr, 10) : sluice::bench::kDefaultTokens;
  const absl::Status status = sluice::bench::Report(argv, tokens);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
