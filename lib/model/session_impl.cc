#include "lib/model/session_impl.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/status_macros.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/kernels/kernels.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/session_file.h"

namespace sluice {
namespace {

// Of the predictors that choose which neurons are computed: training again replaces them and
// keeps the file's uuid.
uint64_t PredictorHash(const BundleFile& file) {
  std::string all;
  for (const TensorEntry& tensor : file.tensors()) {
    if (tensor.section != SectionKind::kPredictors) continue;
    if (!absl::StrContains(tensor.name, ".predictor.")) continue;
    absl::StrAppend(&all, tensor.name, " ", HashToHex(tensor.xxh3), "\n");
  }
  return Xxh3(AsBytes(all));
}

}  // namespace

SessionImpl::SessionImpl(std::shared_ptr<FlashModelImpl> model, SessionContext* context)
    : model_(std::move(model)), context_(context) {
  context_->tokens.clear();
  context_->cancelled.store(false, std::memory_order_relaxed);
  ResetStats();
}

SessionImpl::~SessionImpl() {
  set_observer(nullptr);
  model_->TakeBack(context_);
}

absl::Status SessionImpl::CheckTokens(absl::Span<const int32_t> tokens, uint32_t position,
                                      absl::Span<const float> logits) const {
  if (tokens.empty()) return absl::InvalidArgumentError("no tokens were given");
  const uint32_t vocab = model_->config().vocab_size;
  for (int32_t token : tokens) {
    if (token < 0 || token >= static_cast<int64_t>(vocab)) {
      return absl::InvalidArgumentError(
          absl::StrCat("token id ", token, " is not in the vocabulary of ", vocab));
    }
  }
  if (!logits.empty() && logits.size() != vocab) {
    return absl::InvalidArgumentError(absl::StrCat("room for ", logits.size(),
                                                   " logits was given, the vocabulary has ",
                                                   vocab));
  }
  if (tokens.size() > context_tokens() - position) {
    return absl::InvalidArgumentError(
        absl::StrCat(tokens.size(), " tokens at position ", position,
                     " do not fit into the context of ", context_tokens(), " tokens"));
  }
  return absl::OkStatus();
}

absl::Status SessionImpl::Settle(absl::Status status) const {
  if (absl::IsCancelled(status)) context_->cancelled.store(false, std::memory_order_relaxed);
  return status;
}

absl::Status SessionImpl::Prefill(absl::Span<const int32_t> tokens, absl::Span<float> last_logits,
                                  const PrefillOptions& options) {
  // Before anything else: so that a call with no tokens takes back a cancellation.
  if (cancelled()) return Settle(absl::CancelledError("cancelled"));
  SLUICE_RETURN_IF_ERROR(CheckTokens(tokens, position(), last_logits));
  const int64_t start = NowNs();
  const uint64_t bytes = context_->loader->stats().bytes;
  const absl::Status status = PrefillChunks(tokens, last_logits, options);
  if (!status.ok()) return Settle(status);
  pending_token_ = -1;
  context_->tokens.insert(context_->tokens.end(), tokens.begin(), tokens.end());
  prefill_tokens_ += tokens.size();
  prefill_ns_ += NowNs() - start;
  prefill_bytes_ += context_->loader->stats().bytes - bytes;
  return absl::OkStatus();
}

absl::Status SessionImpl::PrefillChunks(absl::Span<const int32_t> tokens,
                                        absl::Span<float> last_logits,
                                        const PrefillOptions& options) {
  const size_t chunk = model_->options().prefill_chunk_tokens;
  const uint32_t layers = model_->config().num_layers;
  const uint32_t total = static_cast<uint32_t>(tokens.size());
  for (size_t first = 0; first < tokens.size(); first += chunk) {
    const auto part = tokens.subspan(first, chunk);
    const uint32_t at = position() + static_cast<uint32_t>(first);
    const auto on_layer = [&](uint32_t layer) {
      if (cancelled()) return false;
      if (!options.on_progress) return true;
      const size_t done = first + part.size() * (layer + 1) / layers;
      return options.on_progress(static_cast<uint32_t>(done), total);
    };
    SLUICE_RETURN_IF_ERROR(context_->decoder->Forward(part, at, on_layer));
    const bool last = first + part.size() == tokens.size();
    for (size_t t = 0; t < part.size(); ++t) {
      const bool want = last && t + 1 == part.size() && !last_logits.empty();
      if (!options.on_logits && !want) continue;
      SLUICE_RETURN_IF_ERROR(context_->decoder->Logits(t, context_->logits.data()));
      if (options.on_logits) {
        options.on_logits(at + static_cast<uint32_t>(t), context_->logits);
      }
    }
  }
  std::copy_n(context_->logits.begin(), last_logits.size(), last_logits.begin());
  return absl::OkStatus();
}

absl::Status SessionImpl::Decode(int32_t token, absl::Span<float> logits) {
  SLUICE_RETURN_IF_ERROR(CheckTokens({&token, 1}, position(), logits));
  SLUICE_RETURN_IF_ERROR(Settle(DecodeMeasured(token, logits)));
  pending_token_ = -1;
  return absl::OkStatus();
}

absl::Status SessionImpl::DecodeMeasured(int32_t token, absl::Span<float> logits) {
  const LoaderStats before = context_->loader->stats();
  context_->ffn->meter() = FfnMeter();
  context_->ffn->lookahead().meter() = LookaheadMeter();
  const int64_t start = NowNs();
  int64_t rereading_ns = 0;
  if (context_->resident != nullptr) {
    SLUICE_RETURN_IF_ERROR(context_->resident->ReadAll());
    rereading_ns = NowNs() - start;
  }
  const auto on_layer = [&](uint32_t) { return !cancelled(); };
  SLUICE_RETURN_IF_ERROR(context_->decoder->Forward({&token, 1}, position(), on_layer));
  SLUICE_RETURN_IF_ERROR(context_->decoder->Logits(0, context_->logits.data()));
  if (logits.data() != context_->logits.data()) {
    std::copy_n(context_->logits.begin(), logits.size(), logits.begin());
  }
  context_->tokens.push_back(token);
  Count(SampleSince(before, start, rereading_ns));
  return absl::OkStatus();
}

void SessionImpl::Reset() {
  context_->tokens.clear();
  pending_token_ = -1;
}

absl::Status SessionImpl::Rewind(uint32_t position) {
  if (position > this->position()) {
    return absl::InvalidArgumentError(absl::StrCat("position ", position, " is beyond the ",
                                                   this->position(),
                                                   " tokens that the session holds"));
  }
  context_->tokens.resize(position);
  pending_token_ = -1;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Session>> SessionImpl::Clone() const {
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<SessionImpl> clone, model_->CreateSessionImpl());
  const KvCache& from = context_->kv;
  KvCache& to = clone->context_->kv;
  for (size_t i = 0; i < from.num_runs(); ++i) {
    if (cancelled()) return Settle(absl::CancelledError("cancelled"));
    const auto run = from.run(i, position());
    std::copy(run.begin(), run.end(), to.run(i, position()).begin());
  }
  clone->context_->tokens = context_->tokens;
  clone->pending_token_ = pending_token_;
  return clone;
}

SessionIdentity SessionImpl::Identity() const {
  const ModelConfig& config = model_->config();
  const KvCache& kv = context_->kv;
  SessionIdentity identity;
  identity.model_uuid = model_->file().uuid();
  if (model_->plan().mode == Mode::kSparse) identity.predictors = PredictorHash(model_->file());
  identity.num_layers = kv.num_layers();
  identity.num_heads = kv.num_heads();
  identity.head_dim = kv.head_dim();
  identity.vocab_size = config.vocab_size;
  identity.kv_type = static_cast<uint32_t>(kv.type());
  identity.resident_type = static_cast<uint32_t>(model_->options().resident_type);
  identity.mode = static_cast<uint32_t>(model_->plan().mode);
  return identity;
}

absl::Status SessionImpl::Save(const std::string& path) const {
  SessionContent content;
  content.tokens = context_->tokens;
  content.pending_token = pending_token_;
  content.target = kernels::TargetName();
  return Settle(
      WriteSessionFile(path, Identity(), content, context_->kv, context_->cancelled));
}

absl::Status SessionImpl::Load(const std::string& path) {
  auto file = SessionFile::Open(path, Identity(), context_tokens(), context_->cancelled);
  if (!file.ok()) return Settle(file.status());
  const SessionContent& content = (*file)->content();
  Reset();  // the rows are about to change
  SLUICE_RETURN_IF_ERROR((*file)->ReadRows(&context_->kv));
  context_->tokens.assign(content.tokens.begin(), content.tokens.end());
  pending_token_ = content.pending_token;
  if (content.target != kernels::TargetName()) {
    Log(LogLevel::kWarning,
        absl::StrCat(path, ": computed by ", content.target, " kernels, goes on with ",
                     kernels::TargetName(), ": the last bits may differ from either's"));
  }
  return absl::OkStatus();
}

}  // namespace sluice
