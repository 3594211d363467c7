// What ffn_only saves, seen from outside: the memory of processes that open a model with it and
// without.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/io/host.h"
#include "sluice/flash_model.h"
#include "sluice/plan.h"
#include "sluice/session.h"
#include "sluice/weight_backend.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/io/sandbox.h"

namespace sluice {
namespace {

// The library's code, and what the allocator keeps to itself; plans do not count those.
constexpr uint64_t kSlackBytes = uint64_t{8} << 20;

// Attention, embeddings and KV cache are some ten times the slack, the FFN a part of it.
testing::TinyModelOptions MostlyAttention() {
  testing::TinyModelOptions tiny;
  tiny.num_layers = 4;
  tiny.d_model = 512;
  tiny.d_ffn = 512;
  tiny.vocab_size = 60000;
  tiny.max_positions = 1024;
  return tiny;
}

ModelOptions OptionsFor(bool ffn_only) {
  ModelOptions options;
  options.ffn_only = ffn_only;
  options.threads = 1;
  options.context_tokens = 1024;
  return options;
}

// In a child, where Catch must not be used: all of what the options allocate is in use.
absl::Status OpenAndRun(const std::string& path, const ModelOptions& options,
                        const testing::TinyModelOptions& tiny) {
  SLUICE_ASSIGN_OR_RETURN(const auto model, FlashModel::Open(path, options));
  if (!options.ffn_only) {
    SLUICE_ASSIGN_OR_RETURN(const auto session, model->CreateSession());
    return session->Prefill({3, 5, 8}, {});
  }
  SLUICE_ASSIGN_OR_RETURN(const auto backend, model->CreateWeightBackend());
  const std::vector<float> x(tiny.d_model, 0.5f);
  std::vector<float> y(tiny.d_model);
  for (uint32_t layer = 0; layer < tiny.num_layers; ++layer) {
    SLUICE_RETURN_IF_ERROR(backend->Forward(layer, x, absl::MakeSpan(y)));
  }
  return absl::OkStatus();
}

// The growth of a process that does this with the least budget there is.
uint64_t GrowthBytes(const std::string& path, ModelOptions options, uint64_t floor_bytes,
                     const testing::TinyModelOptions& tiny) {
  options.dram_budget_bytes = floor_bytes;
  const auto child = testing::RunInChild([&]() -> std::string {
    const uint64_t before = PeakRssBytes();
    const absl::Status status = OpenAndRun(path, options, tiny);
    return status.ok() ? absl::StrCat(PeakRssBytes() - before) : status.ToString();
  });
  INFO(child.output);
  REQUIRE(child.exited);
  char* end = nullptr;
  const uint64_t bytes = std::strtoull(child.output.c_str(), &end, 10);
  REQUIRE(end != child.output.c_str());
  REQUIRE(*end == '\0');
  return bytes;
}

TEST_CASE("ffn_only saves the memory that its plan says", "[model]") {
  const testing::TempDir dir;
  const std::string path = dir.File("model.flash");
  const testing::TinyModelOptions tiny = MostlyAttention();
  // In a child, too: what writing leaves behind in the heap would be there to be used again.
  REQUIRE(testing::RunInChild([&]() -> std::string {
            testing::WriteTinyModel(path, tiny);
            return "";
          }).exited);
  const auto whole = PlanMemory(path, OptionsFor(false));
  const auto ffn = PlanMemory(path, OptionsFor(true));
  REQUIRE_OK(whole);
  REQUIRE_OK(ffn);
  const uint64_t saved = whole->floor_bytes - ffn->floor_bytes;
  REQUIRE(whole->floor_bytes > ffn->floor_bytes);
  REQUIRE(saved > 10 * kSlackBytes);

  const uint64_t whole_grew = GrowthBytes(path, OptionsFor(false), whole->floor_bytes, tiny);
  const uint64_t ffn_grew = GrowthBytes(path, OptionsFor(true), ffn->floor_bytes, tiny);
  INFO("planned " << whole->floor_bytes << " and " << ffn->floor_bytes << " bytes, taken "
                  << whole_grew << " and " << ffn_grew);
  CHECK(ffn_grew <= ffn->floor_bytes + kSlackBytes);
  CHECK(whole_grew >= ffn_grew + saved - kSlackBytes);
}

}  // namespace
}  // namespace sluice
