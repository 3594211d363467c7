// Chooses the next token from logits.
#ifndef SLUICE_LIB_MODEL_SAMPLER_H_
#define SLUICE_LIB_MODEL_SAMPLER_H_

#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sluice/session.h"

namespace sluice {

// In the order of Hugging Face's generate(): repetition penalty, temperature, top-k, top-p,
// min-p. Deterministic for a seed. Threads: one at a time.
class Sampler {
 public:
  // kInvalidArgument names the option, its value and its range.
  static absl::Status Check(const SamplingOptions& options);

  Sampler(const SamplingOptions& options, uint32_t vocab_size);

  // Makes `tokens` count as already seen, for the repetition penalty.
  void Observe(absl::Span<const int32_t> tokens);

  // Changes `logits` (shape [vocab_size]) in place.
  int32_t Sample(absl::Span<float> logits);

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };
  void Penalise(absl::Span<float> logits) const;
  void KeepTopK(absl::Span<const float> logits);
  void KeepTopPAndMinP();

  const SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<bool> seen_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_SAMPLER_H_
