#include "lib/model/session_impl.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/io/host.h"
#include "lib/model/flash_model_impl.h"
#include "lib/text/text_stream.h"

namespace sluice {

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

SessionImpl::SessionImpl(std::shared_ptr<FlashModelImpl> model, SessionContext* context)
    : model_(std::move(model)), context_(context) {
  context_->cancelled.store(false, std::memory_order_relaxed);
  ResetStats();
}

SessionImpl::~SessionImpl() {
  set_observer(nullptr);
  model_->TakeBack(context_);
}

absl::Status SessionImpl::CheckTokens(absl::Span<const int32_t> tokens,
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
  if (tokens.size() > context_tokens() - position_) {
    return absl::InvalidArgumentError(
        absl::StrCat(tokens.size(), " tokens at position ", position_,
                     " do not fit into the context of ", context_tokens(), " tokens"));
  }
  return absl::OkStatus();
}

absl::Status SessionImpl::Settle(absl::Status status) {
  if (absl::IsCancelled(status)) context_->cancelled.store(false, std::memory_order_relaxed);
  return status;
}

absl::Status SessionImpl::Prefill(absl::Span<const int32_t> tokens, absl::Span<float> last_logits,
                                  const PrefillOptions& options) {
  SLUICE_RETURN_IF_ERROR(CheckTokens(tokens, last_logits));
  const int64_t start = NowNs();
  const uint64_t bytes = context_->loader->stats().bytes;
  const absl::Status status = PrefillChunks(tokens, last_logits, options);
  if (!status.ok()) return Settle(status);
  pending_token_ = -1;
  position_ += static_cast<uint32_t>(tokens.size());
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
    const uint32_t at = position_ + static_cast<uint32_t>(first);
    const auto on_layer = [&](uint32_t layer) {
      if (context_->cancelled.load(std::memory_order_relaxed)) return false;
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
  SLUICE_RETURN_IF_ERROR(CheckTokens({&token, 1}, logits));
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
  const auto on_layer = [&](uint32_t) {
    return !context_->cancelled.load(std::memory_order_relaxed);
  };
  SLUICE_RETURN_IF_ERROR(context_->decoder->Forward({&token, 1}, position_, on_layer));
  SLUICE_RETURN_IF_ERROR(context_->decoder->Logits(0, context_->logits.data()));
  if (logits.data() != context_->logits.data()) {
    std::copy_n(context_->logits.begin(), logits.size(), logits.begin());
  }
  ++position_;

  Count(SampleSince(before, start, rereading_ns));
  return absl::OkStatus();
}

TokenSample SessionImpl::SampleSince(const LoaderStats& before, int64_t start_ns,
                                     int64_t rereading_ns) const {
  const LoaderStats& after = context_->loader->stats();
  const FfnMeter& meter = context_->ffn->meter();
  const LookaheadMeter& ahead = context_->ffn->lookahead().meter();
  TokenSample sample;
  sample.total_ns = NowNs() - start_ns;
  sample.io_ns = after.waiting_ns - before.waiting_ns + after.starting_ns - before.starting_ns;
  sample.memory_ns =
      meter.memory_ns + ahead.memory_ns + after.planning_ns - before.planning_ns;
  sample.io_busy_ns = after.busy_ns - before.busy_ns;
  sample.bytes = after.bytes - before.bytes;
  sample.gap_bytes = after.gap_bytes - before.gap_bytes;
  sample.reads = after.reads - before.reads;
  sample.records_needed = meter.records_needed;
  sample.records_missing = meter.records_missing;
  sample.records_ahead = ahead.records;
  sample.records_ahead_used = ahead.used;
  sample.needed_bytes = meter.records_missing * model_->plan().record_bytes;
  sample.neurons_predicted = meter.neurons_predicted;
  sample.neurons_active = meter.neurons_active;
  if (const ResidentReader* const resident = context_->resident.get()) {
    sample.io_ns += rereading_ns;
    sample.io_busy_ns += rereading_ns;
    sample.bytes += resident->bytes();
    sample.needed_bytes += resident->bytes();
    sample.reads += resident->reads();
  }
  return sample;
}

void SessionImpl::Count(const TokenSample& sample) {
  if (context_->samples.size() < context_->samples.capacity()) {
    context_->samples.push_back(sample);
  }
  ++decoded_;
  sum_.total_ns += sample.total_ns;
  sum_.io_ns += sample.io_ns;
  sum_.memory_ns += sample.memory_ns;
  sum_.io_busy_ns += sample.io_busy_ns;
  sum_.bytes += sample.bytes;
  sum_.gap_bytes += sample.gap_bytes;
  sum_.reads += sample.reads;
  sum_.records_needed += sample.records_needed;
  sum_.records_missing += sample.records_missing;
  sum_.records_ahead += sample.records_ahead;
  sum_.records_ahead_used += sample.records_ahead_used;
  sum_.needed_bytes += sample.needed_bytes;
  sum_.neurons_predicted += sample.neurons_predicted;
  sum_.neurons_active += sample.neurons_active;
}

// Text of the tokens as it becomes certain, to the result and to the host.
class SessionImpl::TextEmitter {
 public:
  TextEmitter(const Tokenizer* tokenizer, const GenerateOptions& options)
      : tokenizer_(tokenizer), options_(options), stream_(options.stop) {}

  // False: the host wants no more.
  bool Token(int32_t token, bool ends, GenerateResult* result) {
    std::string chunk;
    if (tokenizer_ != nullptr && !ends && !tokenizer_->IsSpecial(token)) {
      chunk = stream_.Push(tokenizer_->TokenBytes(token));
    }
    result->tokens.push_back(token);
    return Give(token, chunk, result);
  }
  bool stopped() const { return stream_.stopped(); }
  void Finish(GenerateResult* result) {
    const std::string rest = stream_.Finish();
    if (!rest.empty()) Give(-1, rest, result);
  }

 private:
  bool Give(int32_t token, const std::string& chunk, GenerateResult* result) {
    result->text += chunk;
    return !options_.on_token || options_.on_token(token, chunk);
  }

  const Tokenizer* const tokenizer_;
  const GenerateOptions& options_;
  TextStream stream_;
};

absl::Status SessionImpl::CheckGenerate(absl::Span<const int32_t> prompt,
                                        const GenerateOptions& options) const {
  SLUICE_RETURN_IF_ERROR(Sampler::Check(options.sampling));
  SLUICE_RETURN_IF_ERROR(CheckTokens(prompt, {}));
  if (options.max_tokens == 0) return absl::InvalidArgumentError("max_tokens is 0");
  if (model_->tokenizer() == nullptr && !options.stop.empty()) {
    return absl::FailedPreconditionError(
        "stop strings need a tokenizer, and this model's file has none");
  }
  // The last token is not fed back, so it needs no place.
  const uint64_t needed = uint64_t{position_} + prompt.size() + options.max_tokens - 1;
  if (needed > context_tokens()) {
    return absl::InvalidArgumentError(absl::StrCat(
        prompt.size(), " prompt tokens and up to ", options.max_tokens,
        " generated ones at position ", position_, " need a context of ", needed,
        " tokens, this one has ", context_tokens()));
  }
  return absl::OkStatus();
}

absl::StatusOr<GenerateResult> SessionImpl::Generate(const std::string& prompt,
                                                     const GenerateOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                          model_->Tokenize(prompt, options.add_special_tokens));
  return GenerateFromTokens(tokens, options);
}

absl::StatusOr<GenerateResult> SessionImpl::GenerateFromTokens(
    absl::Span<const int32_t> prompt, const GenerateOptions& options) {
  std::vector<int32_t> tokens;
  if (pending_token_ >= 0) tokens.push_back(pending_token_);
  tokens.insert(tokens.end(), prompt.begin(), prompt.end());
  SLUICE_RETURN_IF_ERROR(CheckGenerate(tokens, options));
  GenerateResult result;
  Sampler sampler(options.sampling, model_->config().vocab_size);
  sampler.Observe(tokens);
  TextEmitter text(model_->tokenizer(), options);
  PrefillOptions prefill;
  prefill.on_progress = options.on_prefill_progress;
  const uint32_t start = position_;
  const int32_t pending = pending_token_;
  absl::Status status = Prefill(tokens, absl::MakeSpan(context_->logits), prefill);
  if (status.ok()) status = Settle(DecodeLoop(options, &sampler, &text, &result));
  if (absl::IsCancelled(status)) {
    result.finish_reason = FinishReason::kCancelled;
  } else if (!status.ok()) {
    // As after a failed Prefill(): the call may be repeated.
    position_ = start;
    pending_token_ = pending;
    return status;
  }
  if (!result.tokens.empty()) pending_token_ = result.tokens.back();
  text.Finish(&result);
  // A completed stop string may have been waiting for a longer one that began earlier.
  if (text.stopped()) result.finish_reason = FinishReason::kStop;
  return result;
}

void SessionImpl::Reset() {
  position_ = 0;
  pending_token_ = -1;
}

absl::Status SessionImpl::DecodeLoop(const GenerateOptions& options, Sampler* sampler,
                                     TextEmitter* text, GenerateResult* result) {
  const std::vector<int32_t>& eos = model_->info().eos_ids;
  for (uint32_t i = 0;; ++i) {
    const int32_t token = sampler->Sample(absl::MakeSpan(context_->logits));
    const bool ends =
        !options.ignore_eos && std::find(eos.begin(), eos.end(), token) != eos.end();
    const bool go_on = text->Token(token, ends, result);
    if (ends || text->stopped()) {
      result->finish_reason = FinishReason::kStop;
      return absl::OkStatus();
    }
    if (!go_on || context_->cancelled.load(std::memory_order_relaxed)) {
      return absl::CancelledError("cancelled");
    }
    if (i + 1 >= options.max_tokens) {
      result->finish_reason = FinishReason::kLength;
      return absl::OkStatus();
    }
    SLUICE_RETURN_IF_ERROR(DecodeMeasured(token, absl::MakeSpan(context_->logits)));
  }
}

const char* SessionImpl::LookaheadState() const {
  const LookaheadGain& gain = context_->ffn->lookahead().gain();
  if (!gain.enabled()) return "none";
  return gain.pays() ? "on" : "off: it did not pay";
}

Stats SessionImpl::stats() const {
  Stats stats;
  stats.tokens = decoded_;
  const double n = static_cast<double>(std::max<uint64_t>(decoded_, 1));
  const auto ms = [&](int64_t ns) { return static_cast<double>(ns) / 1e6 / n; };
  stats.io_ms_per_token = ms(sum_.io_ns);
  stats.memory_ms_per_token = ms(sum_.memory_ns);
  stats.compute_ms_per_token = ms(sum_.compute_ns());
  stats.total_ms_per_token = ms(sum_.total_ns);
  stats.io_busy_ms_per_token = ms(sum_.io_busy_ns);
  stats.bytes_per_token = static_cast<double>(sum_.bytes) / n;
  stats.gap_bytes_per_token = static_cast<double>(sum_.gap_bytes) / n;
  stats.reads_per_token = static_cast<double>(sum_.reads) / n;
  if (sum_.reads > 0) {
    stats.mean_read_bytes = static_cast<double>(sum_.bytes) / static_cast<double>(sum_.reads);
  }
  if (sum_.io_busy_ns > 0) {
    stats.read_gb_per_s = static_cast<double>(sum_.bytes) / static_cast<double>(sum_.io_busy_ns);
  }
  if (sum_.records_needed > 0) {
    stats.hit_rate = 1 - static_cast<double>(sum_.records_missing) /
                             static_cast<double>(sum_.records_needed);
  }
  const double neurons =
      n * model_->config().num_layers * static_cast<double>(model_->config().d_ffn);
  stats.active_fraction = static_cast<double>(sum_.neurons_active) / neurons;
  stats.predicted_fraction = static_cast<double>(sum_.neurons_predicted) / neurons;
  stats.needed_bytes_per_token = static_cast<double>(sum_.needed_bytes) / n;
  if (sum_.records_missing > 0) {
    stats.lookahead_hit_rate = static_cast<double>(sum_.records_ahead_used) /
                               static_cast<double>(sum_.records_missing);
  }
  stats.lookahead_wasted_bytes_per_token =
      static_cast<double>((sum_.records_ahead - sum_.records_ahead_used) *
                          model_->plan().record_bytes) / n;
  stats.lookahead = LookaheadState();
  stats.window_tokens = model_->cache().MeanSpanTokens();
  stats.window_forced_evictions = model_->cache().ForcedEvictions();
  stats.prefill_tokens = prefill_tokens_;
  stats.prefill_ms = static_cast<double>(prefill_ns_) / 1e6;
  stats.prefill_bytes = prefill_bytes_;
  stats.peak_rss_bytes = PeakRssBytes();
  const IoCapabilities& io = context_->loader->capabilities();
  stats.engine = io.engine;
  stats.engine_reason = io.reason;
  stats.direct_io = io.direct_io;
  return stats;
}

void SessionImpl::ResetStats() {
  context_->samples.clear();
  decoded_ = 0;
  sum_ = TokenSample();
  prefill_tokens_ = prefill_bytes_ = 0;
  prefill_ns_ = 0;
}

}  // namespace sluice
