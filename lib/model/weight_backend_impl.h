// The weight backend behind include/sluice/weight_backend.h.
#ifndef SLUICE_LIB_MODEL_WEIGHT_BACKEND_IMPL_H_
#define SLUICE_LIB_MODEL_WEIGHT_BACKEND_IMPL_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/loader/bundle_loader.h"
#include "lib/model/neuron_cache.h"
#include "lib/model/session_impl.h"
#include "sluice/weight_backend.h"

namespace sluice {

class WeightBackendImpl : public WeightBackend {
 public:
  WeightBackendImpl(std::shared_ptr<FlashModelImpl> model, SessionContext* context);
  ~WeightBackendImpl() override;

  uint32_t num_layers() const override { return static_cast<uint32_t>(acquired_.size()); }
  absl::StatusOr<BackendLayer> layer(uint32_t layer) const override;
  absl::Status Forward(uint32_t layer, absl::Span<const float> x, absl::Span<float> y) override;
  absl::StatusOr<absl::Span<const uint32_t>> Predict(uint32_t layer,
                                                     absl::Span<const float> x) override;
  absl::Status Acquire(uint32_t layer, absl::Span<const uint32_t> neurons, bool more,
                       absl::Span<const void*> up_rows,
                       absl::Span<const void*> down_rows) override;
  absl::Status Release(uint32_t layer) override;
  absl::Status Hint(uint32_t layer, absl::Span<const float> x) override;
  void Cancel() override { context_->cancelled.store(true, std::memory_order_relaxed); }
  BackendStats stats() const override;

 private:
  // What others see of this backend while it is not in a call.
  class Idle : public IdleHolder {
   public:
    explicit Idle(FfnStep* ffn) : ffn_(ffn) {}
    void GiveUp() override;
    void End();  // the backend goes
    std::mutex& mutex() { return mutex_; }

   private:
    std::mutex mutex_;  // held by the call that runs, or by who makes it give up
    FfnStep* ffn_;      // nullptr once the backend has gone
  };
  class Call;

  absl::Status CheckLayer(uint32_t layer) const;
  absl::Status CheckInput(absl::Span<const float> x) const;
  absl::Status CheckNotAcquired(uint32_t layer) const;
  absl::Status CheckNeurons(uint32_t layer, absl::Span<const uint32_t> neurons) const;
  absl::Status RunChunks(uint32_t layer, absl::Span<const float> x, absl::Span<float> y);
  absl::Status Settle(absl::Status status);

  const std::shared_ptr<FlashModelImpl> model_;
  SessionContext* const context_;
  const std::shared_ptr<Idle> idle_;
  const LoaderStats at_start_;  // of the context's loader, which others had before
  std::vector<LayerSlots::Lease> acquired_;  // by layer
  uint32_t next_layer_ = 0;  // would be the one in turn for Forward(); 0: none
  bool in_pass_ = false;     // the last Forward() was in turn
  uint64_t tokens_ = 0;
  int64_t total_ns_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_WEIGHT_BACKEND_IMPL_H_
