#include "lib/model/weights.h"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "lib/kernels/kernels.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::TinyModelOptions;

std::shared_ptr<BundleFile> WriteAndOpen(const std::string& path, const TinyModelOptions& tiny) {
  testing::WriteTinyModel(path, tiny);
  auto file = BundleFile::Open(path);
  REQUIRE_OK(file);
  return *file;
}

std::unique_ptr<Weights> LoadAs(const BundleFile& file, const TinyModelOptions& tiny,
                                ResidentType type, int threads = 1) {
  ThreadPool pool(threads);
  auto weights = Weights::Load(file, testing::TinyConfig(tiny), true, type, false, &pool);
  REQUIRE_OK(weights);
  return *std::move(weights);
}

// `got` holds the rows of `file_matrix`, quantised.
void CheckQuantized(const kernels::Matrix& got, const kernels::Matrix& file_matrix) {
  REQUIRE(got.quantized);
  REQUIRE(got.rows == file_matrix.rows);
  REQUIRE(got.cols == file_matrix.cols);
  std::vector<float> wide(got.cols);
  std::vector<unsigned char> row(kernels::Q8RowBytes(got.cols));
  for (size_t r = 0; r < got.rows; ++r) {
    kernels::RowToF32(file_matrix, r, wide.data());
    kernels::QuantizeRow(wide.data(), got.cols, row.data());
    const auto* bytes = static_cast<const unsigned char*>(got.data) + r * got.row_stride_bytes;
    REQUIRE(std::memcmp(bytes, row.data(), row.size()) == 0);
  }
}

TEST_CASE("q8 weights are the file's, quantised row by row", "[model]") {
  const testing::TempDir dir;
  TinyModelOptions tiny;
  SECTION("more embeddings than are read at a time") { tiny.vocab_size = 40'000; }
  SECTION("columns that are no whole number of groups") { tiny.d_model = 44; }
  const auto file = WriteAndOpen(dir.File("tiny.flash"), tiny);
  const auto plain = LoadAs(*file, tiny, ResidentType::kAuto);
  for (int threads : {1, 2, 5}) {
    const auto q8 = LoadAs(*file, tiny, ResidentType::kQ8, threads);
    CheckQuantized(q8->embed_tokens(), plain->embed_tokens());
    CHECK(q8->lm_head().data == q8->embed_tokens().data);  // tied: one copy
    CHECK(!q8->embed_positions().quantized);
    for (uint32_t i = 0; i < tiny.num_layers; ++i) {
      CheckQuantized(q8->layer(i).q.matrix, plain->layer(i).q.matrix);
      CheckQuantized(q8->layer(i).k.matrix, plain->layer(i).k.matrix);
      CheckQuantized(q8->layer(i).v.matrix, plain->layer(i).v.matrix);
      CheckQuantized(q8->layer(i).out.matrix, plain->layer(i).out.matrix);
    }
  }
}

TEST_CASE("rows that padding would make larger stay as they are", "[model]") {
  const testing::TempDir dir;
  TinyModelOptions tiny;
  tiny.d_model = 16;
  const auto file = WriteAndOpen(dir.File("tiny.flash"), tiny);
  const auto q8 = LoadAs(*file, tiny, ResidentType::kQ8);
  CHECK(!q8->embed_tokens().quantized);
  CHECK(!q8->layer(0).q.matrix.quantized);
  CHECK(Weights::ResidentBytes(*file, ResidentType::kQ8) ==
        Weights::ResidentBytes(*file, ResidentType::kAuto));
}

TEST_CASE("resident bytes are those of the quantised matrices", "[model]") {
  const testing::TempDir dir;
  TinyModelOptions tiny;
  tiny.d_model = 256;
  const auto file = WriteAndOpen(dir.File("tiny.flash"), tiny);
  uint64_t saved = 0;  // sizes here are whole pages, but for the embeddings
  const auto page = [](uint64_t bytes) { return (bytes + 4095) / 4096 * 4096; };
  const size_t q8_row = kernels::Q8RowBytes(tiny.d_model);
  saved += tiny.num_layers * 4 * (page(256 * 512) - page(256 * q8_row));
  saved += page(uint64_t{tiny.vocab_size} * 512) - page(tiny.vocab_size * q8_row);
  CHECK(Weights::ResidentBytes(*file, ResidentType::kAuto) -
            Weights::ResidentBytes(*file, ResidentType::kQ8) ==
        saved);
}

TEST_CASE("damage in a matrix that is quantised is found", "[model]") {
  const testing::TempDir dir;
  const std::string path = dir.File("tiny.flash");
  const TinyModelOptions tiny;
  uint64_t offset = 0;
  {
    const auto file = WriteAndOpen(path, tiny);
    offset = file->FindTensor("layers.1.attn.k.weight")->offset;
  }
  std::string content = testing::ReadFileOrDie(path);
  content[offset + 77] = static_cast<char>(content[offset + 77] ^ 4);
  testing::WriteFileOrDie(path, content);
  auto file = BundleFile::Open(path);
  REQUIRE_OK(file);
  ThreadPool pool(2);
  const absl::Status status =
      Weights::Load(**file, testing::TinyConfig(tiny), false, ResidentType::kQ8, false, &pool)
          .status();
  CHECK(absl::IsDataLoss(status));
  CHECK(absl::StrContains(status.message(), "layers.1.attn.k.weight"));
}

}  // namespace
}  // namespace sluice
