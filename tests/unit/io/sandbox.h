// Children with fewer rights, and files and reads for the I/O tests.
#ifndef SLUICE_TESTS_UNIT_IO_SANDBOX_H_
#define SLUICE_TESTS_UNIT_IO_SANDBOX_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "lib/base/aligned_buffer.h"
#include "lib/io/io_engine.h"
#include "lib/io/storage_file.h"

namespace sluice::testing {

struct ChildResult {
  bool exited = false;  // by itself, with code 0
  int signal = 0;       // that killed it, or 0
  std::string output;   // what `body` returned
};

// Runs `body` in a forked child, which is killed after 30 seconds.
ChildResult RunInChild(const std::function<std::string()>& body);

// For children: these system calls fail with `error_number` from now on.
bool DenySyscalls(const std::vector<int>& numbers, int error_number);

// For children of root: a locked-memory limit, and no capability that would lift it.
bool DropToUserWithMemlock(uint64_t memlock_bytes);

std::string RandomBytes(size_t bytes, uint64_t seed);

// Reads of one file into memory of their own, with what they must give.
class ReadSet {
 public:
  // `memory` is where the segments come from, in order.
  ReadSet(const std::string& content, absl::Span<std::byte> memory)
      : content_(content), memory_(memory) {}

  // A read of `num_segments` times `segment_bytes` at `offset`, with a gap between segments.
  // False when memory is used up.
  bool Add(uint64_t offset, size_t num_segments, size_t segment_bytes);
  // Fills the memory with random reads, offsets and sizes multiples of `unit`.
  void AddRandom(std::mt19937_64* random, size_t count, size_t unit, size_t max_segments);

  // Tags are positions in this list.
  std::vector<IoRead> reads() const;
  // Bytes that the file has for read i.
  uint64_t Available(size_t i) const;
  // Whether the first `bytes` of read i are the file's.
  bool Matches(size_t i, uint64_t bytes) const;
  size_t size() const { return offsets_.size(); }

 private:
  const std::string& content_;
  const absl::Span<std::byte> memory_;
  size_t used_ = 0;
  std::vector<uint64_t> offsets_;
  std::vector<std::vector<IoSegment>> segments_;
};

// Runs all reads through an engine, as many at once as it takes; results by tag.
std::vector<int64_t> RunAll(IoEngine* engine, const std::vector<IoRead>& reads);

// Reads the first 8 KiB of a file that holds `content`: "ok" or what went wrong. For children,
// where Catch must not be used.
std::string ReadStart(IoEngine* engine, const std::string& content, AlignedBuffer* memory);

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_IO_SANDBOX_H_
