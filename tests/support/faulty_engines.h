// Models whose reads fail as planned.
#ifndef SLUICE_TESTS_SUPPORT_FAULTY_ENGINES_H_
#define SLUICE_TESTS_SUPPORT_FAULTY_ENGINES_H_

#include <memory>
#include <string>
#include <utility>

#include "lib/model/flash_model_impl.h"
#include "tests/support/fault_engine.h"
#include "tests/support/memory_engine.h"

namespace sluice::testing {

// For FlashModelImpl::Open(): engines on `content`, the bundle file's bytes, that suffer `plan`.
// `counts` gets those of the engine made last.
inline EngineFactory FaultyEngines(std::shared_ptr<const std::string> content, FaultPlan plan,
                                   std::shared_ptr<const FaultCounts>* counts) {
  return [content = std::move(content), plan = std::move(plan), counts](
             std::shared_ptr<StorageFile>, absl::Span<const IoSegment>) {
    auto engine = std::make_unique<FaultEngine>(std::make_unique<MemoryEngine>(content), plan);
    *counts = engine->counts();
    return engine;
  };
}

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_SUPPORT_FAULTY_ENGINES_H_
