// Reads the weights that stay in DRAM once more, for the baseline that keeps nothing ("naive" in
// "LLM in a flash", table 2).
#ifndef SLUICE_LIB_MODEL_RESIDENT_READER_H_
#define SLUICE_LIB_MODEL_RESIDENT_READER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "lib/format/bundle_file.h"
#include "lib/io/batch_reader.h"
#include "lib/model/weights.h"

namespace sluice {

// Threads: one at a time, and nobody may use the weights meanwhile.
class ResidentReader {
 public:
  // `engine` reads `file`, whose tensors `weights` holds as they lie there. Borrowed weights.
  ResidentReader(const BundleFile& file, const Weights& weights,
                 std::unique_ptr<IoEngine> engine);

  // All of them, in large reads one after the other.
  absl::Status ReadAll();

  uint64_t bytes() const { return bytes_; }       // of one ReadAll()
  uint64_t reads() const { return reads_.size(); }

 private:
  BatchReader reader_;
  std::vector<IoSegment> segments_;
  std::vector<IoRead> reads_;
  std::vector<FinishedRead> finished_;
  uint64_t bytes_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_RESIDENT_READER_H_
