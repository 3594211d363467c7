// An IoEngine that spoils what another one does: by a script, at random from a seed, or both.
#ifndef SLUICE_TESTS_SUPPORT_FAULT_ENGINE_H_
#define SLUICE_TESTS_SUPPORT_FAULT_ENGINE_H_

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "lib/io/io_engine.h"

namespace sluice::testing {

enum class FaultKind {
  kErrno,         // fails with `error_number` and leaves the memory alone
  kShortAligned,  // ends at about half, at a multiple of the alignment (512 where there is none)
  kShortOdd,      // ends at an odd number of bytes
  kZero,          // returns no bytes
  kFlippedByte,   // one byte is wrong
  kWrongOffset,   // right bytes, from one alignment (4096 where there is none) further on
  kLate,          // completes a few calls of Reap() later
};

struct Fault {
  FaultKind kind = FaultKind::kErrno;
  int error_number = EIO;
};

// Reads are numbered from 0 in the order in which they are submitted, retries included.
struct ScriptedFault {
  uint64_t read_index = 0;
  bool persistent = false;  // this read and all after it
  Fault fault;
};

struct FaultPlan {
  std::vector<ScriptedFault> script;  // the first that fits is taken

  // Each read suffers one of `random_faults` with odds of 1 in `random_one_in`; 0: never.
  uint64_t random_one_in = 0;
  std::vector<Fault> random_faults;
  uint64_t seed = 1;

  bool reorder = false;  // completions come in random order
  uint64_t file_bytes = std::numeric_limits<uint64_t>::max();  // the file is cut short here

  // This call of Submit() or Reap() fails as a whole (numbered from 0); with
  // `submit_stays_broken` all later calls of Submit() too. Reap() recovers: whoever drains must
  // be able to.
  uint64_t failing_submit = std::numeric_limits<uint64_t>::max();
  bool submit_stays_broken = false;
  uint64_t failing_reap = std::numeric_limits<uint64_t>::max();
};

// Outlives the engine, which usually belongs to a reader.
struct FaultCounts {
  std::atomic<uint64_t> reads_seen{0};
  std::atomic<uint64_t> faults{0};
  std::atomic<uint64_t> submits{0};
  std::atomic<uint64_t> reaps{0};
};

class FaultEngine : public IoEngine {
 public:
  FaultEngine(std::unique_ptr<IoEngine> inner, FaultPlan plan);
  ~FaultEngine() override;

  std::shared_ptr<const FaultCounts> counts() const { return counts_; }

  const IoCapabilities& capabilities() const override { return inner_->capabilities(); }
  size_t queue_depth() const override { return inner_->queue_depth(); }
  size_t in_flight() const override;
  absl::Status Submit(absl::Span<const IoRead> reads) override;
  absl::Status Reap(size_t min_complete, std::chrono::milliseconds timeout,
                    std::vector<IoCompletion>* out) override;

 private:
  struct Pending {
    IoRead read;
    bool faulty = false;
    Fault fault;
  };
  struct Held {
    IoCompletion completion;
    int reaps_left;
  };

  bool ChooseFault(uint64_t read_index, Fault* fault);
  void Spoil(const IoCompletion& raw);
  int64_t Shorten(const Pending& pending, int64_t result, uint64_t bytes);
  int64_t ShortLength(const Pending& pending, int64_t result) const;
  void FlipByte(const Pending& pending, int64_t result);

  const std::unique_ptr<IoEngine> inner_;
  const FaultPlan plan_;
  const std::shared_ptr<FaultCounts> counts_;
  std::mt19937_64 random_;
  std::vector<Pending> pending_;  // by slot, which is the inner engine's tag
  std::vector<size_t> free_slots_;
  std::vector<IoCompletion> ready_;
  std::vector<Held> held_;
};

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_SUPPORT_FAULT_ENGINE_H_
