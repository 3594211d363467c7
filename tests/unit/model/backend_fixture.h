// What the tests of the weight backend share: a model file, inputs, and what must come out.
#ifndef SLUICE_TESTS_UNIT_MODEL_BACKEND_FIXTURE_H_
#define SLUICE_TESTS_UNIT_MODEL_BACKEND_FIXTURE_H_

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "lib/kernels/kernels.h"
#include "lib/model/engine_choice.h"
#include "lib/model/flash_model_impl.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice::testing {

struct BackendFixture {
  TempDir dir;
  std::string path = dir.File("tiny.flash");
  TinyModelOptions tiny;

  explicit BackendFixture(TinyModelOptions options = {}) : tiny(std::move(options)) {
    WriteTinyModel(path, tiny);
  }

  std::shared_ptr<FlashModelImpl> Open(const ModelOptions& options,
                                       const EngineFactory& engine = nullptr) const {
    auto model = FlashModelImpl::Open(path, options, engine);
    REQUIRE_OK(model);
    return *model;
  }
  uint64_t Floor(const ModelOptions& options) const {
    auto plan = PlanMemory(path, options);
    REQUIRE_OK(plan);
    return plan->floor_bytes;
  }

  // Inputs as a norm makes them, the same for every layer; shape [count, d_model].
  std::vector<float> Inputs(size_t count, uint64_t seed = Seed()) const {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> x(count * tiny.d_model);
    for (float& v : x) v = normal(random);
    return x;
  }

  // What the layers make of `x`, by a step of its own with a slot for every record: [layer][...].
  std::vector<std::vector<float>> Expected(Mode mode, const std::vector<float>& x) const {
    ModelOptions options;
    options.mode = mode;
    options.threads = 1;
    const auto model = Open(options);
    const uint32_t records = model->file().layers()[0].num_records;
    auto cache = NeuronCache::Create(model->file().layers(),
                                     std::vector<uint32_t>(tiny.num_layers, records), 0);
    REQUIRE_OK(cache);
    auto file = BundleFile::Open(path);
    REQUIRE_OK(file);
    auto engine = MakeIoEngine((*file)->storage(), EngineChoice::kPread, 4, {});
    REQUIRE_OK(engine);
    BundleLoader loader(*file, *std::move(engine), {});
    const std::atomic<bool> cancelled{false};
    const size_t count = x.size() / tiny.d_model;
    const FfnStep::Shape shape{tiny.d_model, tiny.d_ffn, count, records,
                               mode == Mode::kSparse ? tiny.predictor_rank : 0};
    FfnStep step(shape, cache->get(), &model->weights(), &loader, &model->pool(), &cancelled);
    std::vector<std::vector<float>> all(tiny.num_layers, std::vector<float>(x.size()));
    for (uint32_t i = 0; i < tiny.num_layers; ++i) {
      REQUIRE_OK(step.Run(i, count, x.data(), all[i].data()));
    }
    return all;
  }
};

inline std::unique_ptr<WeightBackend> BackendOf(FlashModelImpl& model) {
  auto backend = model.CreateWeightBackend();
  REQUIRE_OK(backend);
  return *std::move(backend);
}

// A layer as a host computes it that has only the rows: in parts of as many records as there are
// slots, neurons in plain loops.
inline absl::Status ForwardByRows(WeightBackend& backend, uint32_t layer,
                                  absl::Span<const float> x, std::vector<float>* y) {
  const BackendLayer info = *backend.layer(layer);
  const auto active = backend.Predict(layer, x);
  if (!active.ok()) return active.status();
  const std::vector<uint32_t> neurons(active->begin(), active->end());
  y->assign(info.d_model, 0);
  std::vector<float> row(info.d_model);
  std::vector<const void*> up(neurons.size()), down(neurons.size());
  const auto type = static_cast<ElementType>(info.row_type);
  for (size_t first = 0; first < neurons.size();) {
    size_t count = 0;
    uint32_t records = 0, last = UINT32_MAX;
    for (; first + count < neurons.size(); ++count) {
      const uint32_t record = neurons[first + count] / info.neurons_per_record;
      if (record != last && ++records > info.num_slots) break;
      last = record;
    }
    const auto part = absl::MakeConstSpan(neurons).subspan(first, count);
    const absl::Status status =
        backend.Acquire(layer, part, first > 0, absl::MakeSpan(up).first(count),
                        absl::MakeSpan(down).first(count));
    if (!status.ok()) return status;
    for (size_t i = 0; i < count; ++i) {
      kernels::ToF32(type, up[i], info.d_model, row.data());
      float sum = info.up_bias.empty() ? 0.0f : info.up_bias[part[i]];
      for (size_t k = 0; k < row.size(); ++k) sum += row[k] * x[k];
      if (sum <= 0) continue;
      kernels::ToF32(type, down[i], info.d_model, row.data());
      for (size_t k = 0; k < row.size(); ++k) (*y)[k] += sum * row[k];
    }
    const absl::Status released = backend.Release(layer);
    if (!released.ok()) return released;
    first += count;
  }
  for (size_t k = 0; k < info.down_bias.size(); ++k) (*y)[k] += info.down_bias[k];
  return absl::OkStatus();
}

inline bool Near(absl::Span<const float> a, absl::Span<const float> b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(a[i] - b[i]) <= 1e-4f * (1 + std::fabs(b[i])))) return false;
  }
  return true;
}

// Token t of rows of d_model values.
template <typename Values>
auto Token(Values& values, size_t t, size_t d_model) {
  return absl::MakeSpan(values).subspan(t * d_model, d_model);
}

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_MODEL_BACKEND_FIXTURE_H_
