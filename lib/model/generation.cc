// The generation loop: what of a prompt is fed, and tokens until something ends it.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/logprobs.h"
#include "lib/model/sampler.h"
#include "lib/model/session_impl.h"
#include "lib/text/text_stream.h"

namespace sluice {
namespace {

// Whatever a host made of them: a distribution must be left.
absl::Status CheckLogits(absl::Span<const float> logits, uint32_t position) {
  bool any = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || (std::isinf(logits[i]) && logits[i] > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("on_logits left ", logits[i], " for token ", i, " at position ", position));
    }
    any = any || std::isfinite(logits[i]);
  }
  if (any) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("on_logits forbade every token at position ", position));
}

}  // namespace

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

// The next token from logits, with the host looking on.
class SessionImpl::TokenChooser {
 public:
  TokenChooser(const GenerateOptions& options, uint32_t vocab_size)
      : options_(options), sampler_(options.sampling, vocab_size) {}

  void Observe(absl::Span<const int32_t> tokens) { sampler_.Observe(tokens); }

  // Changes `logits`. kCancelled: the host wants no more.
  absl::StatusOr<int32_t> Choose(uint32_t position, absl::Span<float> logits) {
    if (options_.on_logits) {
      if (!options_.on_logits(position, logits)) return absl::CancelledError("by on_logits");
      SLUICE_RETURN_IF_ERROR(CheckLogits(logits, position));
    }
    if (!options_.on_logprobs) return sampler_.Sample(logits);
    logprobs_.Take(logits);
    const int32_t token = sampler_.Sample(logits);
    const auto top = logprobs_.Top(options_.top_logprobs);
    if (options_.on_logprobs(logprobs_.Of(token), top)) return token;
    return absl::CancelledError("by on_logprobs");
  }

 private:
  const GenerateOptions& options_;
  Sampler sampler_;
  Logprobs logprobs_;
};

SessionImpl::Feed SessionImpl::FeedOf(absl::Span<const int32_t> prompt,
                                      const GenerateOptions& options) const {
  Feed feed;
  feed.start = position();
  if (!options.whole_prompt) {
    if (pending_token_ >= 0) feed.tokens.push_back(pending_token_);
  } else {
    // The last token is fed in any case, for its logits. The pending one is in no cache: where the
    // prompt has it, it is fed as part of that.
    const auto most = prompt.subspan(0, std::max<size_t>(prompt.size(), 1) - 1);
    const absl::Span<const int32_t> held = tokens();
    const auto parted = std::mismatch(most.begin(), most.end(), held.begin(), held.end());
    feed.start = static_cast<uint32_t>(parted.first - most.begin());
    prompt.remove_prefix(feed.start);
  }
  feed.tokens.insert(feed.tokens.end(), prompt.begin(), prompt.end());
  return feed;
}

absl::Status SessionImpl::CheckGenerate(const Feed& feed, const GenerateOptions& options) const {
  SLUICE_RETURN_IF_ERROR(Sampler::Check(options.sampling));
  SLUICE_RETURN_IF_ERROR(CheckTokens(feed.tokens, feed.start, {}));
  if (options.max_tokens == 0) return absl::InvalidArgumentError("max_tokens is 0");
  if (options.top_logprobs > kMaxTopLogprobs) {
    return absl::InvalidArgumentError(absl::StrCat("top_logprobs is ", options.top_logprobs,
                                                   ", expected at most ", kMaxTopLogprobs));
  }
  if (model_->tokenizer() == nullptr && !options.stop.empty()) {
    return absl::FailedPreconditionError(
        "stop strings need a tokenizer, and this model's file has none");
  }
  // The last token is not fed back, so it needs no place.
  const uint64_t needed = uint64_t{feed.start} + feed.tokens.size() + options.max_tokens - 1;
  if (needed > context_tokens()) {
    return absl::InvalidArgumentError(absl::StrCat(
        feed.tokens.size(), " prompt tokens and up to ", options.max_tokens,
        " generated ones at position ", feed.start, " need a context of ", needed,
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
  const Feed feed = FeedOf(prompt, options);
  SLUICE_RETURN_IF_ERROR(CheckGenerate(feed, options));
  GenerateResult result;
  TokenChooser chooser(options, model_->config().vocab_size);
  chooser.Observe(options.whole_prompt ? prompt : absl::MakeConstSpan(feed.tokens));
  TextEmitter text(model_->tokenizer(), options);
  PrefillOptions prefill;
  prefill.on_progress = options.on_prefill_progress;
  // Feeding writes over the rows of what is dropped.
  if (feed.start < position()) SLUICE_RETURN_IF_ERROR(Rewind(feed.start));
  const int32_t pending = pending_token_;
  absl::Status status = Prefill(feed.tokens, absl::MakeSpan(context_->logits), prefill);
  if (status.ok()) {
    if (options.whole_prompt) reused_tokens_ += feed.start;
    status = Settle(DecodeLoop(options, &chooser, &text, &result));
  }
  if (absl::IsCancelled(status)) {
    result.finish_reason = FinishReason::kCancelled;
  } else if (!status.ok()) {
    // As after a failed Prefill(): the call may be repeated.
    context_->tokens.resize(feed.start);
    pending_token_ = pending;
    return status;
  }
  // The last token, unless the host stopped when the next one was to be chosen: then it was fed.
  if (feed.start + feed.tokens.size() + result.tokens.size() > position() &&
      !result.tokens.empty()) {
    pending_token_ = result.tokens.back();
  }
  text.Finish(&result);
  // A completed stop string may have been waiting for a longer one that began earlier.
  if (text.stopped()) result.finish_reason = FinishReason::kStop;
  return result;
}

absl::Status SessionImpl::DecodeLoop(const GenerateOptions& options, TokenChooser* chooser,
                                     TextEmitter* text, GenerateResult* result) {
  const std::vector<int32_t>& eos = model_->info().eos_ids;
  for (uint32_t i = 0;; ++i) {
    SLUICE_ASSIGN_OR_RETURN(const int32_t token,
                            chooser->Choose(position(), absl::MakeSpan(context_->logits)));
    const bool ends =
        !options.ignore_eos && std::find(eos.begin(), eos.end(), token) != eos.end();
    const bool go_on = text->Token(token, ends, result);
    if (ends || text->stopped()) {
      result->finish_reason = FinishReason::kStop;
      return absl::OkStatus();
    }
    if (!go_on || cancelled()) return absl::CancelledError("cancelled");
    if (i + 1 >= options.max_tokens) {
      result->finish_reason = FinishReason::kLength;
      return absl::OkStatus();
    }
    SLUICE_RETURN_IF_ERROR(DecodeMeasured(token, absl::MakeSpan(context_->logits)));
  }
}

}  // namespace sluice
