// sluice_source_...
#include <memory>
#include <string>
#include <utility>

#include "capi/src/handles.h"
#include "capi/src/options.h"
#include "capi/src/stage_callback.h"
#include "capi/src/status.h"
#include "capi/src/structs.h"
#include "lib/base/status_macros.h"

namespace sluice::capi {
namespace {

constexpr char kName[] = "sluice_source";

// Calls the release of a reader that nothing has taken over.
class ReleaseGuard {
 public:
  // Kept by reference: the struct is read later, and stays without a release when it cannot be.
  explicit ReleaseGuard(const sluice_source& source) : source_(source) {}
  ~ReleaseGuard() {
    const bool has = source_.kind == SLUICE_SOURCE_READER && source_.release != nullptr;
    if (has && !taken_) source_.release(source_.user_data);
  }
  void Taken() { taken_ = true; }

 private:
  const sluice_source& source_;
  bool taken_ = false;
};

absl::StatusOr<ModelSource> FromC(const sluice_source& c) {
  switch (c.kind) {
    case SLUICE_SOURCE_PATH:
      SLUICE_RETURN_IF_ERROR(CheckNotNull(c.path, "path"));
      return ModelSource::Path(c.path);
    case SLUICE_SOURCE_FD: {
      ModelSource source = ModelSource::Descriptor(c.fd, c.offset, c.bytes);
      if (c.path != nullptr) source.path = c.path;
      return source;
    }
    case SLUICE_SOURCE_READER: {
      if (c.read == nullptr) return absl::InvalidArgumentError("read is NULL");
      const auto read = [call = c.read, data = c.user_data](uint64_t offset, void* buffer,
                                                            size_t bytes) {
        return call(offset, buffer, bytes, data);
      };
      ModelSource source = ModelSource::Reader(read, c.bytes);
      if (c.path != nullptr) source.path = c.path;
      source.read_threads = c.read_threads;
      if (c.release != nullptr) {
        source.release = [call = c.release, data = c.user_data] { call(data); };
      }
      return source;
    }
    default:
      return OutOfRange("kind", c.kind, "SLUICE_SOURCE_PATH, _FD or _READER");
  }
}

// `c` is filled as far as the struct could be read, also where this fails.
absl::StatusOr<ModelSource> ReadSource(const sluice_source* theirs, sluice_source* c) {
  SLUICE_RETURN_IF_ERROR(CheckNotNull(theirs, "source"));
  SLUICE_RETURN_IF_ERROR(ReadStruct(theirs, kName, c));
  return FromC(*c);
}

absl::Status Plan(const sluice_source* theirs, const sluice_model_options* options,
                  sluice_memory_plan* plan) {
  sluice_source c = {};
  SLUICE_ASSIGN_OR_RETURN(const ModelSource source, ReadSource(theirs, &c));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(plan, "plan"));
  SLUICE_ASSIGN_OR_RETURN(const ModelOptions model_options, ReadModelOptions(options));
  SLUICE_ASSIGN_OR_RETURN(const MemoryPlan made, PlanMemory(source, model_options));
  return WritePlan(made, plan);
}

absl::Status Open(const sluice_source* theirs, const sluice_model_options* options,
                  sluice_model** out, StageCallback progress) {
  sluice_source c = {};
  ReleaseGuard release(c);
  if (out != nullptr) *out = nullptr;
  SLUICE_ASSIGN_OR_RETURN(const ModelSource source, ReadSource(theirs, &c));
  SLUICE_RETURN_IF_ERROR(CheckNotNull(out, "model"));
  SLUICE_ASSIGN_OR_RETURN(const ModelOptions model_options, ReadModelOptions(options));
  release.Taken();
  SLUICE_ASSIGN_OR_RETURN(std::shared_ptr<FlashModel> model,
                          FlashModel::Open(source, model_options, progress));
  *out = Models().Add(std::move(model));
  return absl::OkStatus();
}

}  // namespace
}  // namespace sluice::capi

sluice_status sluice_source_init(sluice_source* source, size_t struct_size) {
  return sluice::capi::Enter(
      [&] { return sluice::capi::InitStruct(source, struct_size, sluice::capi::kName); });
}

sluice_status sluice_source_plan(const sluice_source* source, const sluice_model_options* options,
                                 sluice_memory_plan* plan) {
  return sluice::capi::Enter([&] { return sluice::capi::Plan(source, options, plan); });
}

sluice_status sluice_source_open(const sluice_source* source, const sluice_model_options* options,
                                 sluice_model** model, sluice_stage_fn progress,
                                 void* user_data) {
  return sluice::capi::Enter(
      [&] { return sluice::capi::Open(source, options, model, {progress, user_data}); });
}
