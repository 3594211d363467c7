#include "lib/train/capture.h"

#include <numeric>

#include "tests/support/catch.h"

namespace sluice::train {
namespace {

ModelConfig SmallConfig(uint32_t positions) {
  ModelConfig config;
  config.num_layers = 2;
  config.d_model = 32;
  config.d_ffn = 96;
  config.max_positions = positions;
  return config;
}

std::vector<int32_t> Counting(size_t count) {
  std::vector<int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST_CASE("The last tenth of the windows is held out", "[train]") {
  const auto windows = CutWindows(Counting(25 * 256 + 100), {2}, SmallConfig(512), UINT64_MAX);
  REQUIRE_OK(windows);
  CHECK(windows->window_tokens == 256);
  CHECK(windows->context_tokens == 256);  // the special token, and all but the last of a window
  CHECK(windows->training.size() == 23 * 256);
  CHECK(windows->training.back() == 23 * 256 - 1);
  CHECK(windows->held_out.size() == 2 * 256);
  CHECK(windows->held_out.front() == 23 * 256);
}

TEST_CASE("Windows fit into a short context", "[train]") {
  const auto windows = CutWindows(Counting(1000), {2, 3}, SmallConfig(32), UINT64_MAX);
  REQUIRE_OK(windows);
  CHECK(windows->window_tokens == 31);
  CHECK(windows->context_tokens == 32);
}

TEST_CASE("A large model takes fewer windows, from all over the text", "[train]") {
  ModelConfig config = SmallConfig(2048);
  config.num_layers = 32;
  config.d_model = 4096;
  const size_t count = 1000 * 256;
  const auto windows = CutWindows(Counting(count), {2}, config, UINT64_MAX);
  REQUIRE_OK(windows);
  const uint64_t bytes = (windows->training.size() + windows->held_out.size()) * 32 * 4096 * 2;
  CHECK(bytes <= uint64_t{4} << 30);
  CHECK(bytes > uint64_t{3} << 30);
  CHECK(windows->training.front() == 0);
  CHECK(windows->training.back() > static_cast<int32_t>(count * 8 / 10));
  CHECK(windows->held_out.front() == static_cast<int32_t>(count * 9 / 10));
}

TEST_CASE("What is kept stays within the memory that there is", "[train]") {
  const ModelConfig config = SmallConfig(512);
  const uint64_t per_window = uint64_t{256} * config.num_layers * config.d_model * 2;
  const auto all = CutWindows(Counting(1000 * 256), {2}, config, UINT64_MAX);
  REQUIRE_OK(all);
  CHECK(CaptureBytes(*all, config) == 1000 * per_window);
  const auto some = CutWindows(Counting(1000 * 256), {2}, config, 100 * per_window);
  REQUIRE_OK(some);
  CHECK(CaptureBytes(*some, config) <= 100 * per_window);
  CHECK(CaptureBytes(*some, config) > 90 * per_window);
  CHECK(CutWindows(Counting(1000 * 256), {2}, config, 5 * per_window).status().code() ==
        absl::StatusCode::kResourceExhausted);
}

TEST_CASE("Too little text is refused with the numbers", "[train]") {
  const auto windows = CutWindows(Counting(2559), {2}, SmallConfig(512), UINT64_MAX);
  CHECK(windows.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(windows.status().message()).find("2559") != std::string::npos);
  CHECK(std::string(windows.status().message()).find("2560") != std::string::npos);
  CHECK(CutWindows({}, {2}, SmallConfig(512), UINT64_MAX).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace sluice::train
