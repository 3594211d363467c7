// The model behind include/sluice/flash_model.h.
#ifndef SLUICE_LIB_MODEL_FLASH_MODEL_IMPL_H_
#define SLUICE_LIB_MODEL_FLASH_MODEL_IMPL_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/thread_pool.h"
#include "lib/format/bundle_file.h"
#include "lib/io/io_engine.h"
#include "lib/io/storage_file.h"
#include "lib/model/memory_plan.h"
#include "lib/model/model_config.h"
#include "lib/model/neuron_cache.h"
#include "lib/model/session_impl.h"
#include "lib/model/weights.h"
#include "lib/text/tokenizer.h"
#include "sluice/flash_model.h"

namespace sluice {

// The tokenizer in a bundle file; nullptr when it has none.
absl::StatusOr<std::unique_ptr<Tokenizer>> ReadTokenizerOf(const BundleFile& file);
// The error of whoever needs one then.
absl::Status NoTokenizer(const BundleFile& file);

// Makes a session's engine on the model's file; tests put in engines that fail.
using EngineFactory = std::function<absl::StatusOr<std::unique_ptr<IoEngine>>(
    std::shared_ptr<StorageFile> file, absl::Span<const IoSegment> buffers)>;

class FlashModelImpl : public FlashModel, public std::enable_shared_from_this<FlashModelImpl> {
 public:
  // An empty `make_engine` chooses as `options` say.
  static absl::StatusOr<std::shared_ptr<FlashModelImpl>> Open(
      const ModelSource& source, const ModelOptions& options, const EngineFactory& make_engine,
      const OpenProgress& on_progress = nullptr);
  static absl::StatusOr<std::shared_ptr<FlashModelImpl>> Open(const std::string& path,
                                                              const ModelOptions& options,
                                                              const EngineFactory& make_engine) {
    return Open(ModelSource::Path(path), options, make_engine);
  }

  const ModelInfo& info() const override { return info_; }
  const MemoryPlan& plan() const override { return plan_; }
  absl::StatusOr<std::unique_ptr<Session>> CreateSession() override;
  absl::StatusOr<std::unique_ptr<WeightBackend>> CreateWeightBackend() override;
  absl::StatusOr<std::vector<int32_t>> Tokenize(const std::string& text,
                                                bool add_special) const override;
  absl::StatusOr<std::string> Detokenize(absl::Span<const int32_t> tokens) const override;

  absl::StatusOr<std::unique_ptr<SessionImpl>> CreateSessionImpl();
  void TakeBack(SessionContext* context);

  const ModelConfig& config() const { return config_; }
  const ModelOptions& options() const { return resolved_.options; }
  const BundleFile& file() const { return *file_; }
  const Weights& weights() const { return *weights_; }
  NeuronCache& cache() const { return *cache_; }
  ThreadPool& pool() const { return *pool_; }
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }  // nullptr: none

 private:
  // A free context, in the hands of a new Borrower: its destructor calls TakeBack().
  template <typename Borrower>
  absl::StatusOr<std::unique_ptr<Borrower>> Lend();
  absl::Status LoadTokenizer();
  absl::Status LoadWeights(const OpenProgress& on_progress);
  absl::Status MakeContexts(const EngineFactory& make_engine);
  absl::Status MakeAttention(SessionContext* context);
  void FillInfo();

  std::shared_ptr<BundleFile> file_;
  ModelConfig config_;
  ResolvedOptions resolved_;
  MemoryPlan plan_;
  ModelInfo info_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<NeuronCache> cache_;
  std::unique_ptr<ThreadPool> pool_;
  std::mutex mutex_;  // guards SessionContext::lent
  std::vector<std::unique_ptr<SessionContext>> contexts_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_FLASH_MODEL_IMPL_H_
