// Keeps the account of reading ahead: how much of each layer's guess is worth reading, and whether
// it makes tokens faster at all.
#ifndef SLUICE_LIB_MODEL_LOOKAHEAD_GAIN_H_
#define SLUICE_LIB_MODEL_LOOKAHEAD_GAIN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice {

// Threads: one at a time. Depends on the clock only through the times that it is told.
class LookaheadGain {
 public:
  // Bytes read for nothing stay within this share of the bytes needed.
  static constexpr double kMostWaste = 0.06;

  LookaheadGain(bool enabled, uint32_t num_layers);

  // Whether this pass reads ahead.
  bool on() const { return enabled_ && (trial_ < kTrialPasses ? trial_ % 2 == 1 : pays_); }
  // Share of a layer's missing guesses, best first, that is worth reading.
  double share(uint32_t layer) const { return shares_[layer]; }
  // What became of a layer's guess: records read ahead, those of them that were needed, and
  // needed ones that had to be read on demand.
  void Learn(uint32_t layer, size_t read, size_t used, size_t on_demand);

  void BeginPass();
  void EndPass();
  // The two with times of the caller's choosing.
  void BeginPassAt(int64_t ns);
  void EndPassAt(int64_t ns);

  bool enabled() const { return enabled_; }
  // The outcome of the last trial; true before the first.
  bool pays() const { return pays_; }

 private:
  // A trial alternates passes without and with reading ahead and compares their medians.
  static constexpr uint32_t kTrialPasses = 12;
  // The first passes find most slots empty and say nothing.
  static constexpr uint32_t kWarmUpPasses = 8;
  // After a trial its outcome holds for so many passes.
  static constexpr uint32_t kPassesBetweenTrials = 500;
  // Reading ahead may take this many times as long as going without: less is noise.
  static constexpr double kMostLoss = 1.02;

  void Decide();

  bool enabled_;
  bool pays_ = true;
  uint32_t wait_ = kWarmUpPasses;  // passes until the next trial
  uint32_t trial_ = kTrialPasses;  // passes of the trial that are over
  int64_t began_ns_ = 0;
  std::array<int64_t, kTrialPasses> took_ns_{};
  std::vector<double> shares_;  // by layer
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_LOOKAHEAD_GAIN_H_
