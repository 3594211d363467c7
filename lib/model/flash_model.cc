#include "sluice/flash_model.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/log.h"
#include "lib/base/status_macros.h"
#include "lib/io/host.h"
#include "lib/model/engine_choice.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/open_source.h"
#include "lib/model/weight_backend_impl.h"

namespace sluice {
namespace {

std::string Mebibytes(uint64_t bytes) {
  return absl::StrCat(bytes, " bytes (", bytes >> 20, " MiB)");
}

uint64_t PlannedBytes(const MemoryPlan& plan) {
  return plan.resident + plan.predictor + plan.kv + plan.slots + plan.scratch + plan.io;
}

}  // namespace

const char* Version() { return SLUICE_VERSION_STRING; }

void SetLogCallback(std::function<void(int level, const std::string& text)> sink) {
  if (!sink) {
    SetLogSink(nullptr);
    return;
  }
  SetLogSink([sink = std::move(sink)](LogLevel level, absl::string_view text) {
    sink(static_cast<int>(level), std::string(text));
  });
}

absl::StatusOr<std::shared_ptr<FlashModel>> FlashModel::Open(const std::string& path,
                                                             const ModelOptions& options) {
  return Open(ModelSource::Path(path), options);
}

absl::StatusOr<std::shared_ptr<FlashModel>> FlashModel::Open(const ModelSource& source,
                                                             const ModelOptions& options,
                                                             const OpenProgress& on_progress) {
  try {
    return FlashModelImpl::Open(source, options, nullptr, on_progress);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(NameOf(source), ": out of memory while opening"));
  }
}

absl::StatusOr<std::shared_ptr<FlashModelImpl>> FlashModelImpl::Open(
    const ModelSource& source, const ModelOptions& options, const EngineFactory& make_engine,
    const OpenProgress& on_progress) {
  // First of all, so that a reader is released whatever fails from here on.
  SLUICE_ASSIGN_OR_RETURN(std::shared_ptr<BundleFile> file, OpenSource(source, source.release));
  const std::string path = file->path();
  auto model = std::make_shared<FlashModelImpl>();
  model->file_ = std::move(file);
  SLUICE_ASSIGN_OR_RETURN(model->config_, ConfigOf(*model->file_));
  SLUICE_ASSIGN_OR_RETURN(model->resolved_,
                          ResolveOptions(*model->file_, model->config_, options));
  SLUICE_ASSIGN_OR_RETURN(model->plan_, MakePlan(*model->file_, model->config_, &model->resolved_));
  if (!model->plan_.fits) {
    return absl::ResourceExhaustedError(absl::StrCat(
        path, ": a budget of ", Mebibytes(model->plan_.budget_bytes),
        " is below the floor of this model and these options, ",
        Mebibytes(model->plan_.floor_bytes)));
  }
  // All of it is touched below, and who takes more than there is gets killed, not told.
  const uint64_t planned = PlannedBytes(model->plan_);
  if (const uint64_t available = AvailableMemoryBytes(); planned > available) {
    return absl::ResourceExhaustedError(absl::StrCat(
        path, ": these options take ", Mebibytes(planned), ", and this process may take ",
        Mebibytes(available), " more (free memory and the limits of its cgroups)"));
  }
  SLUICE_RETURN_IF_ERROR(model->LoadTokenizer());
  model->pool_ = std::make_unique<ThreadPool>(static_cast<int>(model->options().threads));
  SLUICE_RETURN_IF_ERROR(model->LoadWeights(on_progress));
  SLUICE_ASSIGN_OR_RETURN(
      model->cache_, NeuronCache::Create(model->file_->layers(), model->plan_.slots_per_layer,
                                         model->resolved_.options.window_tokens));
  SLUICE_RETURN_IF_ERROR(model->MakeContexts(make_engine));
  model->FillInfo();
  const IoCapabilities& io = model->contexts_.front()->loader->capabilities();
  const bool threads_for_uring = io.engine == "pread" && options.engine == Engine::kAuto;
  const bool fell_back = io.engine != "host" && (!io.direct_io || threads_for_uring);
  Log(fell_back ? LogLevel::kWarning : LogLevel::kInfo,
      absl::StrCat(path, ": reads through ", io.engine, ": ", io.reason));
  return model;
}

absl::Status FlashModelImpl::LoadTokenizer() {
  SLUICE_ASSIGN_OR_RETURN(tokenizer_, ReadTokenizerOf(*file_));
  return absl::OkStatus();
}

absl::Status FlashModelImpl::LoadWeights(const OpenProgress& on_progress) {
  std::function<bool(double)> progress;
  if (on_progress) progress = [&](double done) { return on_progress("read", done); };
  SLUICE_ASSIGN_OR_RETURN(weights_, Weights::Load(*file_, config_, resolved_.sparse,
                                                  options().resident_type, options().ffn_only,
                                                  pool_.get(), progress));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> ReadTokenizerOf(const BundleFile& file) {
  SLUICE_ASSIGN_OR_RETURN(const std::string json, file.ReadTokenizer());
  if (json.empty()) return std::unique_ptr<Tokenizer>();
  return Tokenizer::FromJson(json, absl::StrCat(file.path(), ": tokenizer"));
}

absl::Status NoTokenizer(const BundleFile& file) {
  return absl::FailedPreconditionError(
      absl::StrCat(file.path(), " has no tokenizer: its checkpoint had none"));
}

absl::Status FlashModelImpl::MakeContexts(const EngineFactory& make_engine) {
  const ModelOptions& o = resolved_.options;
  for (uint32_t i = 0; i < o.max_sessions; ++i) {
    auto context = std::make_unique<SessionContext>();
    SLUICE_ASSIGN_OR_RETURN(
        std::unique_ptr<IoEngine> engine,
        make_engine ? make_engine(file_->storage(), cache_->buffers())
                    : MakeIoEngine(file_->storage(), ChoiceOf(o.engine), o.queue_depth,
                                   cache_->buffers()));
    BundleLoader::Options loader_options;
    loader_options.verify = o.verify_checksums;
    loader_options.join = o.techniques.join;
    loader_options.split_bundles = !o.techniques.bundles;
    if (o.techniques.join) loader_options.curve = resolved_.curve;
    loader_options.pool = pool_.get();
    context->loader = std::make_unique<BundleLoader>(file_, std::move(engine), loader_options);
    context->ffn = std::make_unique<FfnStep>(resolved_.ffn, cache_.get(), weights_.get(),
                                             context->loader.get(), pool_.get(),
                                             &context->cancelled);
    if (!o.ffn_only) SLUICE_RETURN_IF_ERROR(MakeAttention(context.get()));
    contexts_.push_back(std::move(context));
  }
  return absl::OkStatus();
}

// What a session needs beyond the FFN.
absl::Status FlashModelImpl::MakeAttention(SessionContext* context) {
  const ModelOptions& o = resolved_.options;
  SLUICE_ASSIGN_OR_RETURN(
      context->kv, KvCache::Create(config_.num_layers, o.context_tokens, config_.num_heads,
                                   config_.head_dim(), ElementTypeOf(o.kv_type)));
  context->decoder = std::make_unique<Decoder>(config_, weights_.get(), &context->kv,
                                               context->ffn.get(), pool_.get(),
                                               &context->cancelled, o.prefill_chunk_tokens);
  if (!o.techniques.keep_resident) {
    SLUICE_ASSIGN_OR_RETURN(
        std::unique_ptr<IoEngine> own,
        MakeIoEngine(file_->storage(), ChoiceOf(o.engine), o.queue_depth, {}));
    context->resident = std::make_unique<ResidentReader>(*file_, *weights_, std::move(own));
  }
  context->logits.resize(config_.vocab_size);
  context->samples.reserve(o.context_tokens);
  context->tokens.reserve(o.context_tokens);
  return absl::OkStatus();
}

void FlashModelImpl::FillInfo() {
  info_.family = config_.family;
  info_.num_layers = config_.num_layers;
  info_.d_model = config_.d_model;
  info_.d_ffn = config_.d_ffn;
  info_.num_heads = config_.num_heads;
  info_.vocab_size = config_.vocab_size;
  info_.max_positions = config_.max_positions;
  info_.has_tokenizer = tokenizer_ != nullptr;
  info_.has_predictors = Weights::PredictorBytes(*file_) > 0;
  info_.file_bytes = file_->file_bytes();
  info_.eos_ids = config_.eos_ids;
  if (tokenizer_ == nullptr) return;
  for (int32_t id : tokenizer_->eos_ids()) {
    if (std::find(info_.eos_ids.begin(), info_.eos_ids.end(), id) == info_.eos_ids.end()) {
      info_.eos_ids.push_back(id);
    }
  }
}

absl::StatusOr<std::unique_ptr<Session>> FlashModelImpl::CreateSession() {
  return CreateSessionImpl();
}

absl::StatusOr<std::unique_ptr<SessionImpl>> FlashModelImpl::CreateSessionImpl() {
  if (options().ffn_only) {
    return absl::FailedPreconditionError(
        absl::StrCat(file_->path(), " was opened with ffn_only: it has no attention weights in "
                                    "memory, and serves weight backends only"));
  }
  return Lend<SessionImpl>();
}

absl::StatusOr<std::unique_ptr<WeightBackend>> FlashModelImpl::CreateWeightBackend() {
  return Lend<WeightBackendImpl>();
}

template <typename Borrower>
absl::StatusOr<std::unique_ptr<Borrower>> FlashModelImpl::Lend() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& context : contexts_) {
    if (context->lent) continue;
    auto borrower = std::make_unique<Borrower>(shared_from_this(), context.get());
    context->lent = true;
    return borrower;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "all ", contexts_.size(), " sessions that the model was opened for are in use"));
}

void FlashModelImpl::TakeBack(SessionContext* context) {
  std::lock_guard<std::mutex> lock(mutex_);
  context->lent = false;
}

absl::StatusOr<std::vector<int32_t>> FlashModelImpl::Tokenize(const std::string& text,
                                                              bool add_special) const {
  if (tokenizer_ == nullptr) return NoTokenizer(*file_);
  return tokenizer_->Encode(text, add_special);
}

absl::StatusOr<std::string> FlashModelImpl::Detokenize(absl::Span<const int32_t> tokens) const {
  if (tokenizer_ == nullptr) return NoTokenizer(*file_);
  return tokenizer_->Decode(tokens);
}

}  // namespace sluice
