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
  // feeds it before its own prompt; Prefill(), Decode() and Reset() forget it. kFailedPrecondition:
  // the model has no tokenizer. A cancelled generation is no error: finish_reason says so. After
  // an error the session is as it was before the call.
  virtual absl::StatusOr<GenerateResult> Generate(const std::string& prompt,
                                                  const GenerateOptions& options) = 0;
  // The same from token ids. Without a tokenizer `text` stays empty (and `stop` is refused).
  virtual absl::StatusOr<GenerateResult> GenerateFromTokens(absl::Span<const int32_t> prompt,
                                                            const GenerateOptions& options) = 0;

  // Makes the call that is running now, or the next one, return soon (within 100 ms on top of a
  // read that the device has started): kCancelled, or finish_reason kCancelled. Any thread.
  virtual void Cancel() = 0;

  // Back to position 0. The neuron window is the model's and stays warm.
  virtual void Reset() = 0;

  virtual Stats stats() const = 0;
  // One for each decoded token since ResetStats(), at most context_tokens() of them.
  virtual const std::vector<TokenSample>& samples() const = 0;
  virtual void ResetStats() = 0;
};

}  // namespace sluice

#endif  // SLUICE_SESSION_H_
