// The kernels that stream weights or keys and values, beside plainly reading memory: on one and
// on two threads, each pass of a kernel next to a pass of reading, since the bandwidth of a
// machine that others use too comes and goes. At the sizes of OPT-6.7B, from buffers that no
// cache holds. An argument picks kernels by a part of their name.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/support/memory_bandwidth.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/element_type.h"
#include "lib/kernels/kernels.h"

namespace sluice {
namespace {

constexpr size_t kWidth = 4096;
constexpr size_t kHeads = 32, kHeadDim = kWidth / kHeads;
constexpr size_t kContext = 2048;
constexpr size_t kBytes = size_t{256} << 20;  // that each kernel passes over
constexpr int kRounds = 21;

// Does its share, index of threads, of one pass over `bytes` of memory.
struct Kernel {
  std::string name;
  size_t bytes = 0;
  std::function<void(size_t index, size_t threads)> pass;
};

std::string only;  // run the kernels whose names contain this

// The part of [0, count) that one of several threads takes.
std::pair<size_t, size_t> Share(size_t count, size_t index, size_t threads) {
  return {count * index / threads, count * (index + 1) / threads};
}

// Weights within +-1; an empty buffer where memory is short.
AlignedBuffer RandomWeights(ElementType type, size_t count) {
  auto buffer = AlignedBuffer::Allocate(count * ElementBytes(type));
  if (!buffer.ok()) return {};
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> row(kWidth);
  for (float& v : row) v = uniform(random);
  for (size_t i = 0; i < count; i += kWidth) {
    const size_t num = std::min(kWidth, count - i);
    kernels::FromF32(type, row.data(), num, buffer->data() + i * ElementBytes(type));
  }
  return *std::move(buffer);
}

// The best of many rounds for both sides, which is what a loaded machine disturbs least, and the
// median of the rounds' ratios.
void PrintRatios(const bench::MemoryReader& reader, const Kernel& kernel) {
  if (kernel.name.find(only) == std::string::npos) return;
  for (int threads : {1, 2}) {
    std::vector<double> ratios;
    double best = 0, machine = 0;
    for (int round = 0; round < kRounds; ++round) {
      const double read = reader.ReadGbPerS(threads);
      const double ns = bench::RunTogether(threads, [&](size_t index) {
        kernel.pass(index, static_cast<size_t>(threads));
      });
      const double got = static_cast<double>(kernel.bytes) / ns;
      machine = std::max(machine, read);
      best = std::max(best, got);
      ratios.push_back(got / read);
    }
    std::nth_element(ratios.begin(), ratios.begin() + kRounds / 2, ratios.end());
    std::printf("%-20s %d thread%s %6.1f GB/s, machine %6.1f GB/s: %.2f (median of rounds %.2f)\n",
                kernel.name.c_str(), threads, threads == 1 ? " " : "s", best, machine,
                best / machine, ratios[kRounds / 2]);
    std::fflush(stdout);
  }
}

// A token through the square projections of as many layers as kBytes hold. `weights` are rows as
// in `shape`, whose data is not looked at.
void MatVec(const bench::MemoryReader& reader, const std::string& name,
            const kernels::Matrix& shape, const AlignedBuffer& weights) {
  if (weights.size() == 0) return;
  const size_t matrix_bytes = shape.rows * shape.row_stride_bytes;
  const size_t num_matrices = weights.size() / matrix_bytes;
  const std::vector<float> x(shape.cols, 0.5f);
  std::vector<float> out(shape.rows);
  const auto pass = [&](size_t index, size_t threads) {
    const auto [begin, end] = Share(shape.rows, index, threads);
    for (size_t i = 0; i < num_matrices; ++i) {
      kernels::Matrix w = shape;
      w.data = weights.data() + i * matrix_bytes;
      kernels::MatVec(w, nullptr, x.data(), 1, w.cols, out.data(), w.rows, begin, end);
    }
  };
  PrintRatios(reader, {absl::StrCat("MatVec ", name), num_matrices * matrix_bytes, pass});
}

AlignedBuffer RandomQ8(size_t num_rows) {
  const size_t row_bytes = kernels::Q8RowBytes(kWidth);
  const AlignedBuffer exact = RandomWeights(ElementType::kF32, kWidth);
  auto buffer = AlignedBuffer::Allocate(num_rows * row_bytes);
  if (!buffer.ok() || exact.size() == 0) return {};
  for (size_t r = 0; r < num_rows; ++r) {
    std::byte* row = buffer->data() + r * row_bytes;
    if (r == 0) {
      kernels::QuantizeRow(exact.as<float>(), kWidth, row);
    } else {
      std::copy_n(buffer->data(), row_bytes, row);
    }
  }
  return *std::move(buffer);
}

void ResidentWeights(const bench::MemoryReader& reader) {
  for (ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBF16}) {
    const size_t row_bytes = kWidth * ElementBytes(type);
    MatVec(reader, std::string(ElementTypeName(type)),
           {nullptr, type, kWidth, kWidth, row_bytes},
           RandomWeights(type, kBytes / row_bytes * kWidth));
  }
  const size_t row_bytes = kernels::Q8RowBytes(kWidth);
  MatVec(reader, "q8", {nullptr, ElementType::kF32, kWidth, kWidth, row_bytes, true},
         RandomQ8(kBytes / row_bytes));
}

// Bundles of 16 KiB (an f16 up row, then the down column), a random tenth of them at a time.
class Bundles {
 public:
  static constexpr size_t kRowBytes = kWidth * 2;
  using Tenth = std::vector<const void*>;  // the bundles' beginnings, ascending

  Bundles() : memory_(RandomWeights(ElementType::kF16, kBytes * 2 / sizeof(uint16_t))) {
    std::mt19937 random(11);
    for (size_t at = 0; at < memory_.size(); at += 2 * kRowBytes) {
      tenths_[random() % 10].push_back(memory_.data() + at);
    }
  }
  size_t half_bytes() const { return memory_.size() / 2; }  // all up rows, or all down columns
  // The rows at `offset` in the bundles that a thread takes, tenth by tenth.
  template <typename Body>
  void ForEachTenth(size_t offset, Body body) const {
    std::vector<const void*> rows;
    for (const Tenth& tenth : tenths_) {
      rows.clear();
      for (const void* bundle : tenth) rows.push_back(static_cast<const char*>(bundle) + offset);
      body(rows);
    }
  }

 private:
  AlignedBuffer memory_;
  Tenth tenths_[10];
};

void FeedForward(const bench::MemoryReader& reader) {
  const Bundles bundles;
  const std::vector<float> x(kWidth, 0.5f);
  const std::vector<float> values(bundles.half_bytes() / Bundles::kRowBytes, 1e-6f);
  std::vector<float> out(values.size()), y(kWidth);
  const auto up = [&](size_t index, size_t threads) {
    bundles.ForEachTenth(0, [&](const std::vector<const void*>& rows) {
      const auto [begin, end] = Share(rows.size(), index, threads);
      kernels::GatherDot(ElementType::kF16, &rows[begin], end - begin, kWidth, x.data(),
                         &out[begin]);
    });
  };
  PrintRatios(reader, {"GatherDot f16", bundles.half_bytes(), up});
  const auto down = [&](size_t index, size_t threads) {
    bundles.ForEachTenth(Bundles::kRowBytes, [&](const std::vector<const void*>& rows) {
      const auto [begin, end] = Share(kWidth, index, threads);
      kernels::AccumulateRows(ElementType::kF16, rows.data(), values.data(), rows.size(), y.data(),
                              begin, end);
    });
  };
  PrintRatios(reader, {"AccumulateRows f16", bundles.half_bytes(), down});
}

// One token attends to a full context, in as many layers as kBytes hold; a head's keys and values
// lie as in the KV cache.
void Attention(const bench::MemoryReader& reader, ElementType type) {
  const AlignedBuffer kv = RandomWeights(type, kBytes / ElementBytes(type));
  const size_t plane_bytes = kContext * kHeadDim * ElementBytes(type);
  const size_t layer_bytes = 2 * kHeads * plane_bytes;
  const std::vector<float> q(kWidth, 0.01f);
  std::vector<float> out(kWidth);
  const auto pass = [&](size_t index, size_t threads) {
    const auto [begin, end] = Share(kHeads, index, threads);
    std::vector<float> scores(kContext);
    for (size_t at = 0; at < kv.size(); at += layer_bytes) {
      for (size_t head = begin; head < end; ++head) {
        const std::byte* keys = kv.data() + at + head * plane_bytes;
        kernels::AttentionHead(type, &q[head * kHeadDim], keys, keys + kHeads * plane_bytes,
                               kHeadDim, kContext, kHeadDim, scores.data(), &out[head * kHeadDim]);
      }
    }
  };
  if (kv.size() == 0) return;
  PrintRatios(reader, {absl::StrCat("AttentionHead ", ElementTypeName(type)), kv.size(), pass});
}

int Run() {
  const bench::MemoryReader reader;
  if (!reader.ok()) {
    std::fprintf(stderr, "no memory\n");
    return 1;
  }
  std::printf("target %s; machine: %.1f GB/s on one thread, %.1f on two\n",
              kernels::TargetName().c_str(), bench::MeasureMemoryReadGbPerS(1),
              bench::MeasureMemoryReadGbPerS(2));
  ResidentWeights(reader);
  FeedForward(reader);
  Attention(reader, ElementType::kF32);
  Attention(reader, ElementType::kF16);
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  if (argc > 1) sluice::only = argv[1];
  return sluice::Run();
}
