// One conversation with a model: a position, its KV cache, and the generation loop.
#ifndef SLUICE_SESSION_H_
#define SLUICE_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "sluice/stats.h"

namespace sluice {

struct PrefillOptions {
  // Gets the logits of every prompt token, in order; shape [vocab_size], valid during the call.
  // Empty: logits are computed for the last token only.
  std::function<void(uint32_t position, absl::Span<const float> logits)> on_logits;
  // Called after each layer of each chunk with the share done so far; false cancels.
  std::function<bool(uint32_t tokens_done, uint32_t tokens_total)> on_progress;
};

enum class FinishReason { kStop = 0, kLength = 1, kCancelled = 2 };
// "stop", "length", "cancelled"
const char* FinishReasonName(FinishReason reason);

struct SamplingOptions {
  float temperature = 0;  // 0: greedy
  uint32_t top_k = 0;     // 0: all
  float top_p = 1;        // smallest set of the most likely tokens with at least this probability
  float min_p = 0;        // drops tokens below this share of the most likely one's probability
  float repetition_penalty = 1;  // > 1 makes tokens of this call's prompt and text less likely
  uint64_t seed = 0;      // the same seed, file and options give the same text
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;  // natural logarithm of its probability
};

// The most that GenerateOptions::top_logprobs may ask for.
inline constexpr uint32_t kMaxTopLogprobs = 256;

struct GenerateOptions {
  uint32_t max_tokens = 128;
  SamplingOptions sampling;
  std::vector<std::string> stop;  // text before the first of these is kept
  bool ignore_eos = false;
  bool add_special_tokens = true;  // to the prompt, as the tokenizer's template says
  // Called for each token, on the calling thread. `text` is always whole UTF-8 and often empty:
  // incomplete characters and a possible beginning of a stop string are held back. At the end one
  // more call with token -1 brings what was still held back, if anything. False cancels.
  std::function<bool(int32_t token, const std::string& text)> on_token;
  std::function<bool(uint32_t tokens_done, uint32_t tokens_total)> on_prefill_progress;
  // The prompt is all there is, from position 0: what it shares with tokens() stays in the KV cache
  // and is neither computed nor read again, the rest of the session is dropped. Results are those
  // of a fresh session. Of a prompt that is in the cache as a whole the last token is fed again,
  // for its logits.
  bool whole_prompt = false;
  // Called with the logits (shape [vocab_size]) of the token that is about to be chosen, before
  // penalty and temperature, and may change them: -infinity forbids a token. `position` is that
  // token's. False cancels, and no token is chosen. Leaving a NaN, +infinity or no finite number
  // is kInvalidArgument.
  std::function<bool(uint32_t position, absl::Span<float> logits)> on_logits;
  // Called with the chosen token, before on_token is, and the top_logprobs most likely ones, most
  // likely first and of equals the smaller id; forbidden tokens are left out. The softmax is that
  // of the logits as on_logits left them: before penalty, temperature, top-k, top-p and min-p.
  // False cancels, and the token is dropped.
  std::function<bool(const TokenLogprob& chosen, absl::Span<const TokenLogprob> top)> on_logprobs;
  uint32_t top_logprobs = 0;  // at most kMaxTopLogprobs
};

struct GenerateResult {
  std::string text;             // the chunks of on_token, joined
  std::vector<int32_t> tokens;  // generated, an end-of-sequence id included
  FinishReason finish_reason = FinishReason::kLength;
};

// Keeps its model alive. Threads: one at a time, any one; Cancel() from any thread at any time.
class Session {
 public:
  virtual ~Session() = default;

  // Tokens that the KV cache holds, and how many it can hold.
  virtual uint32_t position() const = 0;
  virtual uint32_t context_tokens() const = 0;
  // Those at positions [0, position()). Valid until the next call that changes the session.
  virtual absl::Span<const int32_t> tokens() const = 0;

  // Feeds prompt tokens.
  //   tokens       ids in [0, vocab_size), at least one
  //   last_logits  out, shape [vocab_size], for the last token; may be empty
  // kInvalidArgument: an id outside the vocabulary, or no room in the context (the message has
  // both numbers); kUnavailable, kDataLoss: storage; kCancelled. After an error the position is
  // unchanged and the call may be repeated. Blocks on storage.
  virtual absl::Status Prefill(absl::Span<const int32_t> tokens, absl::Span<float> last_logits,
                               const PrefillOptions& options) = 0;
  absl::Status Prefill(absl::Span<const int32_t> tokens, absl::Span<float> last_logits) {
    return Prefill(tokens, last_logits, PrefillOptions());
  }

  // Feeds one token; as Prefill() with one, but counted in the statistics as decoding.
  virtual absl::Status Decode(int32_t token, absl::Span<float> logits) = 0;

  // Prompt text in, text out. The session goes on from where it is: the last token of a generation
  // is not in the KV cache when it ends (position() does not count it), and the next Generate()
  // feeds it before its own prompt; Prefill(), Decode(), Reset() and Rewind() forget it.
  // kFailedPrecondition: the model has no tokenizer. A cancelled generation is no error:
  // finish_reason says so. After an error the session is as it was before the call; when computing
  // of a whole_prompt had begun, without what that does not share with it.
  virtual absl::StatusOr<GenerateResult> Generate(const std::string& prompt,
                                                  const GenerateOptions& options) = 0;
  // The same from token ids. Without a tokenizer `text` stays empty (and `stop` is refused).
  virtual absl::StatusOr<GenerateResult> GenerateFromTokens(absl::Span<const int32_t> prompt,
                                                            const GenerateOptions& options) = 0;

  // Makes the call that is running now, or the next one, return soon (within 100 ms on top of a
  // read that the device has started): kCancelled, or finish_reason kCancelled. Any thread. Who
  // cannot tell whether it came in time for the call that it was meant for calls Prefill() with no
  // tokens afterwards: kCancelled if it was still to come (it is used up then), else
  // kInvalidArgument.
  virtual void Cancel() = 0;

  // Back to position 0. The neuron window is the model's and stays warm.
  virtual void Reset() = 0;
  // Back to an earlier position; what came after it is forgotten. The session then has the bits of
  // one that was only ever fed the tokens before. kInvalidArgument: beyond position().
  virtual absl::Status Rewind(uint32_t position) = 0;

  // A second session of the model with the same tokens, KV cache and unfed last token; statistics
  // begin anew. kFailedPrecondition: all sessions are taken. kCancelled.
  virtual absl::StatusOr<std::unique_ptr<Session>> Clone() const = 0;

  // Writes tokens and KV cache to a file (docs/FORMAT.md), which appears complete or not at all.
  // kUnavailable, kPermissionDenied, kNotFound: storage, a full disk included; kInvalidArgument:
  // something at `path` is no regular file; kCancelled. Blocks on storage.
  virtual absl::Status Save(const std::string& path) const = 0;
  // Puts a saved session in place of this one's content. The file is read twice: once to verify
  // all of it, and only then into the KV cache. kInvalidArgument: no session file, of another
  // model or other options (kv_type, resident_type, mode), or longer than the context; the message
  // says which. kDataLoss: damaged or incomplete. kUnimplemented: of a newer form. kNotFound and
  // the like; kCancelled. After an error the session is as it was, but for one: storage that fails
  // in the second reading leaves it at position 0. Blocks on storage.
  virtual absl::Status Load(const std::string& path) = 0;

  virtual Stats stats() const = 0;
  // One for each decoded token since ResetStats(), at most context_tokens() of them.
  virtual const std::vector<TokenSample>& samples() const = 0;
  virtual void ResetStats() = 0;
};

}  // namespace sluice

#endif  // SLUICE_SESSION_H_
