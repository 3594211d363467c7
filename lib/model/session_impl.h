// The session behind include/sluice/session.h.
#ifndef SLUICE_LIB_MODEL_SESSION_IMPL_H_
#define SLUICE_LIB_MODEL_SESSION_IMPL_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/loader/bundle_loader.h"
#include "lib/model/decoder.h"
#include "lib/model/ffn_step.h"
#include "lib/model/kv_cache.h"
#include "lib/model/resident_reader.h"
#include "sluice/session.h"

namespace sluice {

class FlashModelImpl;
struct SessionIdentity;

// Everything that a session or weight backend owns, made when the model opens and lent to one of
// them at a time. Members point at one another: made in place, never moved.
struct SessionContext {
  std::atomic<bool> cancelled{false};
  std::unique_ptr<BundleLoader> loader;
  std::unique_ptr<FfnStep> ffn;
  // Empty with ffn_only, and so is what follows but for `lent`.
  KvCache kv;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<ResidentReader> resident;  // only for the baseline that keeps nothing
  std::vector<float> logits;          // [vocab_size]
  std::vector<TokenSample> samples;   // reserved: context_tokens
  std::vector<int32_t> tokens;        // whose keys and values kv holds; reserved: context_tokens
  bool lent = false;                  // guarded by the model's mutex
};

class SessionImpl : public Session {
 public:
  SessionImpl(std::shared_ptr<FlashModelImpl> model, SessionContext* context);
  ~SessionImpl() override;

  uint32_t position() const override { return static_cast<uint32_t>(context_->tokens.size()); }
  absl::Span<const int32_t> tokens() const override { return context_->tokens; }
  uint32_t context_tokens() const override { return context_->kv.context_tokens(); }
  absl::Status Prefill(absl::Span<const int32_t> tokens, absl::Span<float> last_logits,
                       const PrefillOptions& options) override;
  absl::Status Decode(int32_t token, absl::Span<float> logits) override;
  absl::StatusOr<GenerateResult> Generate(const std::string& prompt,
                                          const GenerateOptions& options) override;
  absl::StatusOr<GenerateResult> GenerateFromTokens(absl::Span<const int32_t> prompt,
                                                    const GenerateOptions& options) override;
  void Cancel() override { context_->cancelled.store(true, std::memory_order_relaxed); }
  void Reset() override;
  absl::Status Rewind(uint32_t position) override;
  absl::StatusOr<std::unique_ptr<Session>> Clone() const override;
  absl::Status Save(const std::string& path) const override;
  absl::Status Load(const std::string& path) override;
  Stats stats() const override;
  const std::vector<TokenSample>& samples() const override { return context_->samples; }
  void ResetStats() override;

  // For calibration and evaluation; nullptr: none.
  void set_observer(FfnObserver* observer) { context_->ffn->set_observer(observer); }

 private:
  class TextEmitter;
  class TokenChooser;
  // What a generation feeds before it chooses its first token, and from which position on.
  struct Feed {
    uint32_t start = 0;
    std::vector<int32_t> tokens;
  };
  absl::Status CheckTokens(absl::Span<const int32_t> tokens, uint32_t position,
                           absl::Span<const float> logits) const;
  absl::Status PrefillChunks(absl::Span<const int32_t> tokens, absl::Span<float> last_logits,
                             const PrefillOptions& options);
  absl::Status DecodeMeasured(int32_t token, absl::Span<float> logits);
  // What a token took whose decoding began with these; `rereading_ns` of it for resident weights.
  TokenSample SampleSince(const LoaderStats& before, int64_t start_ns, int64_t rereading_ns) const;
  void Count(const TokenSample& sample);
  Feed FeedOf(absl::Span<const int32_t> prompt, const GenerateOptions& options) const;
  absl::Status CheckGenerate(const Feed& feed, const GenerateOptions& options) const;
  absl::Status DecodeLoop(const GenerateOptions& options, TokenChooser* chooser,
                          TextEmitter* text, GenerateResult* result);
  const char* LookaheadState() const;
  SessionIdentity Identity() const;
  bool cancelled() const { return context_->cancelled.load(std::memory_order_relaxed); }
  // The status of a call that is over; a cancellation has then been used up.
  absl::Status Settle(absl::Status status) const;

  const std::shared_ptr<FlashModelImpl> model_;
  SessionContext* const context_;
  // The last token that Generate() chose: not in the KV cache yet, fed first when Generate() goes
  // on. -1: none.
  int32_t pending_token_ = -1;
  uint64_t prefill_tokens_ = 0, prefill_bytes_ = 0, reused_tokens_ = 0;
  int64_t prefill_ns_ = 0;
  uint64_t decoded_ = 0;  // may pass samples().size()
  TokenSample sum_;       // over all decoded tokens
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_SESSION_IMPL_H_
