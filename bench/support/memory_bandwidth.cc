#include "bench/support/memory_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/support/memory_bandwidth.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace sluice::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Sum of the 32-bit words: eight accumulators, so that no addition waits for another.
uint32_t SumWords(const uint32_t* words, size_t count) {
  const hn::ScalableTag<uint32_t> d;
  const size_t lanes = hn::Lanes(d);
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (size_t i = 0; i + 8 * lanes <= count; i += 8 * lanes) {
    s0 = hn::Add(s0, hn::LoadU(d, words + i));
    s1 = hn::Add(s1, hn::LoadU(d, words + i + lanes));
    s2 = hn::Add(s2, hn::LoadU(d, words + i + 2 * lanes));
    s3 = hn::Add(s3, hn::LoadU(d, words + i + 3 * lanes));
    s4 = hn::Add(s4, hn::LoadU(d, words + i + 4 * lanes));
    s5 = hn::Add(s5, hn::LoadU(d, words + i + 5 * lanes));
    s6 = hn::Add(s6, hn::LoadU(d, words + i + 6 * lanes));
    s7 = hn::Add(s7, hn::LoadU(d, words + i + 7 * lanes));
  }
  const auto low = hn::Add(hn::Add(s0, s1), hn::Add(s2, s3));
  const auto high = hn::Add(hn::Add(s4, s5), hn::Add(s6, s7));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
}

}  // namespace sluice::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::bench {

HWY_EXPORT(SumWords);

namespace {

// Many times the last-level cache of any machine that this is run on.
constexpr size_t kBufferBytes = size_t{512} << 20;
constexpr size_t kStepBytes = 4096;  // a whole number of steps of the loop above
constexpr int kPasses = 7;

}  // namespace

double RunTogether(int threads, const std::function<void(size_t index)>& body) {
  int64_t start_ns = 0, end_ns = 0;
  // Taken while everybody waits: no thread is ahead of the clock.
  std::barrier start(threads, [&]() noexcept { start_ns = NowNs(); });
  std::barrier end(threads, [&]() noexcept { end_ns = NowNs(); });
  const auto run = [&](size_t index) {
    start.arrive_and_wait();
    body(index);
    end.arrive_and_wait();
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(run, static_cast<size_t>(i));
  run(0);
  for (std::thread& thread : others) thread.join();
  return static_cast<double>(std::max<int64_t>(end_ns - start_ns, 1));
}

MemoryReader::MemoryReader() {
  auto buffer = AlignedBuffer::Allocate(kBufferBytes);
  if (!buffer.ok()) return;
  buffer_ = *std::move(buffer);
  // Not zeros: a host may keep pages of zeros in a cheaper way than weights.
  uint64_t random = 1;
  auto* words = buffer_.as<uint64_t>();
  for (size_t i = 0; i < buffer_.size() / sizeof(*words); ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    words[i] = random;
  }
}

double MemoryReader::ReadGbPerS(int threads) const {
  const auto num_threads = static_cast<size_t>(threads);
  const size_t part = buffer_.size() / num_threads / kStepBytes * kStepBytes;
  std::atomic<uint32_t> total{0};  // so that the compiler leaves no reading out
  const double ns = RunTogether(threads, [&](size_t index) {
    const auto* words = reinterpret_cast<const uint32_t*>(buffer_.data() + index * part);
    total += HWY_DYNAMIC_DISPATCH(SumWords)(words, part / sizeof(uint32_t));
  });
  return static_cast<double>(part * num_threads) / ns;
}

double MeasureMemoryReadGbPerS(int threads) {
  const MemoryReader reader;
  if (!reader.ok() || threads < 1) return 0;
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) best = std::max(best, reader.ReadGbPerS(threads));
  return best;
}

}  // namespace sluice::bench
#endif  // HWY_ONCE
