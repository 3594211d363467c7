#include "lib/model/memory_plan.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/io/host.h"
#include "lib/io/storage_file.h"
#include "lib/model/decoder.h"
#include "lib/model/engine_choice.h"
#include "lib/model/kv_cache.h"
#include "lib/model/open_source.h"
#include "lib/model/weights.h"
#include "lib/text/tokenizer.h"
#include "sluice/stats.h"

namespace sluice {
namespace {

constexpr uint32_t kDefaultContext = 2048;
constexpr uint32_t kDefaultQueueDepth = 128;
constexpr uint32_t kMaxChunk = 512;
constexpr uint32_t kMaxSessions = 256;
constexpr uint32_t kMaxThreads = 256;
constexpr uint32_t kMaxQueueDepth = 4096;
// The floor keeps this share of a layer's records in slots (and at least so many): batches are
// then still long enough to keep a disk busy.
constexpr uint32_t kFloorShare = 32;
constexpr uint32_t kFloorSlots = 16;
// Left to the rest of the process when no budget is given.
constexpr uint64_t kMarginBytes = 64 << 20;
// The recommended budget holds what a window of 5 tokens uses, as in the paper (k = 4 past ones and
// the current), and this much more; half of the records where the file does not say what it uses.
constexpr double kUnionSlack = 1.1;
constexpr double kUnknownUnion = 0.5;

absl::Status CheckAtMost(const char* name, uint64_t value, uint64_t limit) {
  if (value <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", at most ", limit));
}

uint32_t MaxRank(const BundleFile& file, const ModelConfig& config) {
  uint64_t rank = 0;
  for (uint32_t i = 0; i < config.num_layers; ++i) {
    const TensorEntry* in = file.FindTensor(absl::StrCat("layers.", i, ".predictor.in"));
    if (in != nullptr && !in->shape.empty()) rank = std::max(rank, in->shape[0]);
  }
  return static_cast<uint32_t>(std::min<uint64_t>(rank, 2u << 20));
}

// What a layer needs, as a share of its records: from the predictors' report where there is one.
double NeedOf(const BundleFile& file, uint32_t layer, bool sparse) {
  if (!sparse) return 1;
  const auto predictors = file.manifest().find("predictors");
  if (predictors == file.manifest().end() || !predictors->is_object()) return kUnknownUnion;
  const auto layers = predictors->find("layers");
  if (layers == predictors->end() || !layers->is_array() || layer >= layers->size()) {
    return kUnknownUnion;
  }
  const auto& entry = (*layers)[layer];
  if (!entry.is_object()) return kUnknownUnion;
  const auto value = entry.find("record_union_5");
  if (value == entry.end() || !value->is_number()) return kUnknownUnion;
  const double need = value->get<double>();
  return need > 0 && need <= 1 ? need : kUnknownUnion;
}

struct Shares {
  std::vector<uint32_t> floor, recommended, all;
  std::vector<double> need;
};

Shares SlotShares(const BundleFile& file, bool sparse) {
  Shares shares;
  const auto& layers = file.layers();
  for (uint32_t i = 0; i < layers.size(); ++i) {
    const uint32_t records = layers[i].num_records;
    const double need = NeedOf(file, i, sparse);
    const auto share = static_cast<uint32_t>(DivideRoundUp(records, kFloorShare));
    const uint32_t floor = std::min(records, std::max(kFloorSlots, share));
    const double wanted = std::ceil(need * kUnionSlack * records);
    shares.floor.push_back(floor);
    shares.recommended.push_back(
        std::clamp(static_cast<uint32_t>(std::min<double>(wanted, records)), floor, records));
    shares.all.push_back(records);
    shares.need.push_back(need * records);
  }
  return shares;
}

uint64_t SlotBytes(const BundleFile& file, const std::vector<uint32_t>& slots) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    bytes += uint64_t{slots[i]} * file.layers()[i].record_bytes;
  }
  return bytes;
}

// Everything but the slots.
void FillFixedParts(const BundleFile& file, const ModelConfig& config,
                    const ResolvedOptions& resolved, MemoryPlan* plan) {
  const ModelOptions& o = resolved.options;
  uint64_t tokenizer = 0;
  for (const Section& section : file.sections()) {
    if (section.kind == SectionKind::kTokenizer) tokenizer = EstimateTokenizerBytes(section.bytes);
  }
  plan->resident = Weights::ResidentBytes(file, o.resident_type, o.ffn_only) +
                   file.resident_bytes() + tokenizer;
  plan->predictor = resolved.sparse ? Weights::PredictorBytes(file) : 0;
  uint64_t session = FfnStep::BytesFor(resolved.ffn);
  plan->kv = 0;
  if (!o.ffn_only) {
    plan->kv = o.max_sessions * KvCache::BytesFor(config.num_layers, o.context_tokens,
                                                  config.d_model, ElementTypeOf(o.kv_type));
    session += Decoder::BytesFor(config, o.prefill_chunk_tokens, o.context_tokens,
                                 static_cast<int>(o.threads));
    // Logits and their copy for log probabilities, the sampler's candidates, their weights and its
    // marks for seen tokens; a sample and a token id for each position.
    session += uint64_t{config.vocab_size} * (4 + 4 + 8 + 8 + 1);
    session += uint64_t{o.context_tokens} * (sizeof(TokenSample) + sizeof(int32_t));
  }
  plan->scratch = o.max_sessions * session;
  for (const RecordLayout& layout : file.layers()) {
    plan->scratch += NeuronWindow::BytesFor(layout.num_records, layout.num_records);
  }
  plan->io = o.max_sessions * (IoEngineBytes(o.queue_depth) +
                               BundleLoader::BytesFor(resolved.ffn.max_records)) +
             file.storage()->shared_bytes();
}

uint64_t FixedBytes(const MemoryPlan& plan) {
  return plan.resident + plan.predictor + plan.kv + plan.scratch + plan.io;
}

absl::StatusOr<std::shared_ptr<const DeviceCurve>> CurveOf(const std::string& path) {
  if (path.empty()) return std::make_shared<const DeviceCurve>(DeviceCurve::Generic());
  SLUICE_ASSIGN_OR_RETURN(DeviceCurve curve, DeviceCurve::Load(path));
  return std::make_shared<const DeviceCurve>(std::move(curve));
}

// What is free, less a margin, and no more than there is use for.
uint64_t DefaultBudget(uint64_t everything) {
  const uint64_t available = AvailableMemoryBytes();
  const uint64_t margin = std::max(kMarginBytes, available / 16);
  return std::min(everything, available - std::min(available, margin));
}

}  // namespace

ElementType ElementTypeOf(KvType type) {
  return type == KvType::kF16 ? ElementType::kF16 : ElementType::kF32;
}

absl::StatusOr<ModelConfig> ConfigOf(const BundleFile& file) {
  const std::string what = absl::StrCat(file.path(), ": manifest config");
  const auto it = file.manifest().find("config");
  if (it == file.manifest().end()) {
    return absl::DataLossError(absl::StrCat(what, " is missing"));
  }
  SLUICE_ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::FromJson(*it, what));
  if (file.layers().size() != config.num_layers) {
    return absl::DataLossError(absl::StrCat(what, " says ", config.num_layers,
                                            " layers, the file has ", file.layers().size()));
  }
  for (uint32_t i = 0; i < config.num_layers; ++i) {
    const RecordLayout& layout = file.layers()[i];
    if (layout.num_neurons != config.d_ffn || layout.row_elements != config.d_model ||
        layout.rows_per_neuron != 2) {
      return absl::DataLossError(absl::StrCat(
          what, ": layer ", i, " holds ", layout.num_neurons, " neurons of ",
          layout.rows_per_neuron, " rows of ", layout.row_elements, ", expected ", config.d_ffn,
          " of 2 rows of ", config.d_model));
    }
  }
  return config;
}

absl::StatusOr<ResolvedOptions> ResolveOptions(const BundleFile& file, const ModelConfig& config,
                                               const ModelOptions& options) {
  ResolvedOptions resolved;
  ModelOptions& o = resolved.options;
  o = options;
  if (o.ffn_only) {
    o.context_tokens = 0;  // the host's matter
  } else if (o.context_tokens == 0) {
    o.context_tokens = std::min(config.max_positions, kDefaultContext);
  }
  if (o.context_tokens > config.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat("a context of ", o.context_tokens, " tokens is more than the ",
                     config.max_positions, " positions of this model"));
  }
  if (o.max_sessions == 0) o.max_sessions = 1;
  if (o.queue_depth == 0) o.queue_depth = kDefaultQueueDepth;
  if (o.threads == 0) o.threads = static_cast<uint32_t>(DefaultThreadCount());
  o.threads = std::min(o.threads, kMaxThreads);
  if (o.prefill_chunk_tokens == 0) o.prefill_chunk_tokens = kDefaultPrefillChunk;
  SLUICE_RETURN_IF_ERROR(CheckAtMost("the number of sessions", o.max_sessions, kMaxSessions));
  SLUICE_RETURN_IF_ERROR(CheckAtMost("the queue depth", o.queue_depth, kMaxQueueDepth));
  o.prefill_chunk_tokens = std::min(o.prefill_chunk_tokens, kMaxChunk);
  if (!o.ffn_only) o.prefill_chunk_tokens = std::min(o.prefill_chunk_tokens, o.context_tokens);

  SLUICE_RETURN_IF_ERROR(CheckEngineChoice(*file.storage(), ChoiceOf(o.engine)));
  SLUICE_ASSIGN_OR_RETURN(resolved.curve, CurveOf(o.device_curve_path));

  const uint32_t rank = MaxRank(file, config);
  if (o.mode == Mode::kSparse && rank == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        file.path(), " has no predictors, which sparse mode needs; train them, or use dense mode"));
  }
  // The product of the largest sizes that a manifest may name is more than 64 bits hold.
  const Checked kv = Checked(o.max_sessions) * config.num_layers * 2 * o.context_tokens *
                     config.d_model * ElementBytes(ElementTypeOf(o.kv_type));
  if (!kv.valid_and_at_most(uint64_t{1} << 62)) {
    return absl::InvalidArgumentError(absl::StrCat(
        file.path(), ": the KV caches of ", o.max_sessions, " sessions of ", o.context_tokens,
        " tokens have no size"));
  }
  resolved.sparse = o.mode != Mode::kDense && rank != 0;
  o.mode = resolved.sparse ? Mode::kSparse : Mode::kDense;
  resolved.ffn.d_model = config.d_model;
  resolved.ffn.d_ffn = config.d_ffn;
  resolved.ffn.max_tokens = o.prefill_chunk_tokens;
  resolved.ffn.max_rank = resolved.sparse ? rank : 0;
  resolved.ffn.window = o.techniques.window;
  resolved.ffn.overlap = o.techniques.overlap;
  resolved.ffn.lookahead = o.techniques.lookahead;
  if (!o.techniques.keep_resident && o.resident_type == ResidentType::kQ8) {
    return absl::InvalidArgumentError("q8 weights are made at open and cannot be read again");
  }
  if (!o.techniques.keep_resident && o.max_sessions > 1) {
    return absl::InvalidArgumentError("weights that are read again serve one session only");
  }
  if (!o.techniques.keep_resident && o.ffn_only) {
    return absl::InvalidArgumentError("only a session's weights can be read again for each token");
  }
  if (!o.techniques.bundles) {
    for (const RecordLayout& layout : file.layers()) {
      if (BundleLoader::CanSplitBundles(layout)) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          file.path(), ": rows cannot be read apart, with ", layout.neurons_per_record,
          " neurons to a record and rows of ", layout.row_bytes(), " bytes"));
    }
  }
  for (const RecordLayout& layout : file.layers()) {
    resolved.ffn.max_records = std::max(resolved.ffn.max_records, layout.num_records);
  }
  return resolved;
}

std::vector<uint32_t> ShareSlots(uint64_t bytes, absl::Span<const RecordLayout> layouts,
                                 absl::Span<const uint32_t> floor,
                                 absl::Span<const double> need) {
  std::vector<uint32_t> slots(floor.begin(), floor.end());
  for (size_t i = 0; i < layouts.size(); ++i) {
    bytes -= std::min(bytes, uint64_t{slots[i]} * layouts[i].record_bytes);
  }
  // Layers that become full leave their share to the others, so a few rounds are needed; each
  // round fills a layer or spends what there is.
  for (bool more = true; more;) {
    more = false;
    double open_need = 0;
    for (size_t i = 0; i < layouts.size(); ++i) {
      if (slots[i] < layouts[i].num_records) open_need += need[i] * layouts[i].record_bytes;
    }
    const double per_need = open_need > 0 ? static_cast<double>(bytes) / open_need : 0;
    for (size_t i = 0; i < layouts.size(); ++i) {
      const uint32_t room = layouts[i].num_records - slots[i];
      const uint64_t affordable = bytes / layouts[i].record_bytes;
      const double share = std::floor(need[i] * per_need);
      const uint64_t take = std::min<uint64_t>(
          {room, affordable, static_cast<uint64_t>(std::min(share, 4e9))});
      slots[i] += static_cast<uint32_t>(take);
      bytes -= take * layouts[i].record_bytes;
      if (take > 0) more = true;
    }
  }
  // What is left is less than one slot for each open layer: the first ones take it.
  for (size_t i = 0; i < layouts.size(); ++i) {
    if (slots[i] < layouts[i].num_records && bytes >= layouts[i].record_bytes) {
      ++slots[i];
      bytes -= layouts[i].record_bytes;
    }
  }
  return slots;
}

absl::StatusOr<MemoryPlan> MakePlan(const BundleFile& file, const ModelConfig& config,
                                    ResolvedOptions* resolved) {
  MemoryPlan plan;
  const Shares shares = SlotShares(file, resolved->sparse);
  const uint64_t floor_slots = SlotBytes(file, shares.floor);
  const uint32_t wished = resolved->options.prefill_chunk_tokens;
  const auto with_chunk = [&](uint32_t tokens) {
    resolved->options.prefill_chunk_tokens = tokens;
    resolved->ffn.max_tokens = tokens;
    FillFixedParts(file, config, *resolved, &plan);
  };
  with_chunk(std::min(wished, kDefaultPrefillChunk));
  plan.floor_bytes = FixedBytes(plan) + floor_slots;
  with_chunk(wished);
  plan.budget_bytes = resolved->options.dram_budget_bytes;
  if (plan.budget_bytes == 0) {
    plan.budget_bytes = DefaultBudget(FixedBytes(plan) + SlotBytes(file, shares.all));
  }
  if (FixedBytes(plan) + floor_slots > plan.budget_bytes) {
    with_chunk(std::min(wished, kDefaultPrefillChunk));
  }
  const uint64_t fixed = FixedBytes(plan);
  plan.recommended_bytes = fixed + SlotBytes(file, shares.recommended);
  plan.fits = plan.budget_bytes >= plan.floor_bytes;
  const uint64_t for_slots = (plan.fits ? plan.budget_bytes : plan.floor_bytes) - fixed;
  plan.slots_per_layer = ShareSlots(for_slots, file.layers(), shares.floor, shares.need);
  plan.slots = SlotBytes(file, plan.slots_per_layer);
  plan.records_per_layer = shares.all;
  plan.record_bytes = file.layers().empty() ? 0 : file.layers()[0].record_bytes;
  plan.context_tokens = resolved->options.context_tokens;
  plan.max_sessions = resolved->options.max_sessions;
  plan.kv_element_type =
      std::string(ElementTypeName(ElementTypeOf(resolved->options.kv_type)));
  plan.mode = resolved->options.mode;
  return plan;
}

absl::StatusOr<MemoryPlan> PlanMemory(const std::string& path, const ModelOptions& options) {
  return PlanMemory(ModelSource::Path(path), options);
}

absl::StatusOr<MemoryPlan> PlanMemory(const ModelSource& source, const ModelOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> file, OpenSource(source, nullptr));
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, ConfigOf(*file));
  SLUICE_ASSIGN_OR_RETURN(ResolvedOptions resolved, ResolveOptions(*file, config, options));
  return MakePlan(*file, config, &resolved);
}

}  // namespace sluice
