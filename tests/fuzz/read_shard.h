// Reads what a fuzzed weight file offers: a size that was believed too early shows only then.
#ifndef SLUICE_TESTS_FUZZ_READ_SHARD_H_
#define SLUICE_TESTS_FUZZ_READ_SHARD_H_

#include <algorithm>
#include <vector>

#include "lib/convert/checkpoint_shard.h"

namespace sluice::fuzz {

// The first, middle and last few elements of every tensor.
inline void ReadShard(CheckpointShard* shard) {
  constexpr uint64_t kMost = 1000;
  std::vector<std::byte> out;
  for (size_t i = 0; i < std::min<size_t>(shard->tensors().size(), 64); ++i) {
    const CheckpointTensor& tensor = shard->tensors()[i];
    const uint64_t count = std::min(tensor.elements, kMost);
    if (count == 0) continue;
    out.resize(count * ElementBytes(tensor.type));
    const uint64_t last = tensor.elements - count;
    for (const uint64_t first : {uint64_t{0}, last / 2, last}) {
      (void)shard->Read(i, first, count, absl::MakeSpan(out));
    }
  }
}

}  // namespace sluice::fuzz

#endif  // SLUICE_TESTS_FUZZ_READ_SHARD_H_
