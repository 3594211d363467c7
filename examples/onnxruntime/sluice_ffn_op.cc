// A custom operator for ONNX Runtime: one feed-forward layer, its weights streamed by Sluice.
//
//   SluiceFfn (domain "sluice"), x -> y, both float, [..., d_model]
//   attributes: model (path of the bundle file), layer; optional: dram_budget (bytes, 0: what is
//   free), dense (1: every neuron)
//
// In a graph it takes the place of a layer's two matrix products and what is between them. All
// nodes of a process that name the same file and options share one model and its memory budget.
#include <onnxruntime_c_api.h>
#include <sluice.h>
#include <sluice_backend.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

namespace {

// The operator's structs are those of ONNX Runtime 1.16; later ones run it too.
constexpr uint32_t kOrtVersion = 16;

const OrtApi* ort = nullptr;

OrtStatus* Fail(OrtErrorCode code, const std::string& message) {
  return ort->CreateStatus(code, ("SluiceFfn: " + message).c_str());
}

// A model and the backend that all nodes of it take turns with.
struct Ffn {
  Ffn() = default;
  Ffn(const Ffn&) = delete;
  Ffn& operator=(const Ffn&) = delete;
  ~Ffn() {
    sluice_backend_close(backend);
    sluice_model_close(model);
  }
  sluice_model* model = nullptr;
  sluice_backend* backend = nullptr;
  std::mutex mutex;
};

using FfnKey = std::tuple<std::string, int64_t, int64_t>;  // model, dram_budget, dense

sluice_status Open(const FfnKey& key, Ffn* ffn) {
  sluice_model_options options;
  sluice_model_options_init(&options, sizeof options);
  options.ffn_only = 1;
  options.dram_budget_bytes = static_cast<uint64_t>(std::get<1>(key));
  if (std::get<2>(key) != 0) options.mode = SLUICE_MODE_DENSE;
  const sluice_status status = sluice_model_open(std::get<0>(key).c_str(), &options, &ffn->model);
  return status == SLUICE_OK ? sluice_backend_create(ffn->model, &ffn->backend) : status;
}

// The one that is open for `key`, or a new one.
OrtStatus* FindOrOpen(const FfnKey& key, std::shared_ptr<Ffn>* found) {
  static std::mutex mutex;
  static std::map<FfnKey, std::weak_ptr<Ffn>>* const open =
      new std::map<FfnKey, std::weak_ptr<Ffn>>;
  std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<Ffn>& place = (*open)[key];
  *found = place.lock();
  if (*found != nullptr) return nullptr;
  auto ffn = std::make_shared<Ffn>();
  if (Open(key, ffn.get()) != SLUICE_OK) return Fail(ORT_FAIL, sluice_last_error_message());
  *found = ffn;
  place = std::move(ffn);
  return nullptr;
}

// One node of a graph.
struct Kernel {
  std::shared_ptr<Ffn> ffn;
  uint32_t layer = 0;
  size_t d_model = 0;
};

int64_t IntOr(const OrtKernelInfo* info, const char* name, int64_t otherwise) {
  int64_t value = 0;
  OrtStatus* status = ort->KernelInfoGetAttribute_int64(info, name, &value);
  if (status == nullptr) return value;
  ort->ReleaseStatus(status);  // it has no such attribute
  return otherwise;
}

OrtStatus* Text(const OrtKernelInfo* info, const char* name, std::string* text) {
  size_t size = 0;
  if (OrtStatus* status = ort->KernelInfoGetAttribute_string(info, name, nullptr, &size)) {
    return status;
  }
  text->resize(size);
  if (OrtStatus* status = ort->KernelInfoGetAttribute_string(info, name, text->data(), &size)) {
    return status;
  }
  while (!text->empty() && text->back() == '\0') text->pop_back();
  return nullptr;
}

OrtStatus* Create(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo* info,
                  void** out) noexcept {
  try {
    FfnKey key;
    if (OrtStatus* status = Text(info, "model", &std::get<0>(key))) return status;
    std::get<1>(key) = IntOr(info, "dram_budget", 0);
    std::get<2>(key) = IntOr(info, "dense", 0);
    if (std::get<1>(key) < 0) {
      return Fail(ORT_INVALID_ARGUMENT,
                  "dram_budget is " + std::to_string(std::get<1>(key)) + ", less than nothing");
    }
    auto kernel = std::make_unique<Kernel>();
    if (OrtStatus* status = FindOrOpen(key, &kernel->ffn)) return status;
    const int64_t layer = IntOr(info, "layer", -1);
    sluice_layer_info found{};
    found.struct_size = sizeof found;
    if (layer < 0 || layer > UINT32_MAX ||
        sluice_backend_layer_copy(kernel->ffn->backend, static_cast<uint32_t>(layer), &found) !=
            SLUICE_OK) {
      return Fail(ORT_INVALID_ARGUMENT, "there is no layer " + std::to_string(layer));
    }
    kernel->layer = static_cast<uint32_t>(layer);
    kernel->d_model = found.d_model;
    *out = kernel.release();
    return nullptr;
  } catch (...) {
    return Fail(ORT_FAIL, "no memory");
  }
}

// The tokens in a tensor of `kernel`'s width.
OrtStatus* CountTokens(const Kernel& kernel, const OrtTensorTypeAndShapeInfo* shape,
                       size_t* tokens, int64_t* dimensions, size_t capacity, size_t* rank) {
  if (OrtStatus* status = ort->GetDimensionsCount(shape, rank)) return status;
  if (*rank == 0 || *rank > capacity) return Fail(ORT_INVALID_ARGUMENT, "x has an odd shape");
  if (OrtStatus* status = ort->GetDimensions(shape, dimensions, *rank)) return status;
  size_t elements = 0;
  if (OrtStatus* status = ort->GetTensorShapeElementCount(shape, &elements)) return status;
  if (dimensions[*rank - 1] != static_cast<int64_t>(kernel.d_model)) {
    return Fail(ORT_INVALID_ARGUMENT,
                "the last dimension of x is " + std::to_string(dimensions[*rank - 1]) + ", not " +
                    std::to_string(kernel.d_model));
  }
  *tokens = elements / kernel.d_model;
  return nullptr;
}

OrtStatus* Run(const Kernel& kernel, OrtKernelContext* context) {
  const OrtValue* x = nullptr;
  if (OrtStatus* status = ort->KernelContext_GetInput(context, 0, &x)) return status;
  OrtTensorTypeAndShapeInfo* shape = nullptr;
  if (OrtStatus* status = ort->GetTensorTypeAndShape(x, &shape)) return status;
  constexpr size_t kMostDimensions = 8;
  int64_t dimensions[kMostDimensions];
  size_t tokens = 0, rank = 0;
  OrtStatus* counted = CountTokens(kernel, shape, &tokens, dimensions, kMostDimensions, &rank);
  ort->ReleaseTensorTypeAndShapeInfo(shape);
  if (counted != nullptr) return counted;
  OrtValue* y = nullptr;
  if (OrtStatus* status = ort->KernelContext_GetOutput(context, 0, dimensions, rank, &y)) {
    return status;
  }
  void* input = nullptr;
  void* output = nullptr;
  if (OrtStatus* status = ort->GetTensorMutableData(const_cast<OrtValue*>(x), &input)) {
    return status;
  }
  if (OrtStatus* status = ort->GetTensorMutableData(y, &output)) return status;
  if (tokens == 0) return nullptr;
  std::lock_guard<std::mutex> lock(kernel.ffn->mutex);
  if (sluice_backend_forward(kernel.ffn->backend, kernel.layer, tokens,
                             static_cast<const float*>(input),
                             static_cast<float*>(output)) != SLUICE_OK) {
    return Fail(ORT_FAIL, sluice_last_error_message());
  }
  return nullptr;
}

OrtStatus* Compute(void* kernel, OrtKernelContext* context) noexcept {
  try {
    return Run(*static_cast<const Kernel*>(kernel), context);
  } catch (...) {
    return Fail(ORT_FAIL, "no memory");
  }
}

ONNXTensorElementDataType FloatType(const OrtCustomOp*, size_t) {
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}
size_t One(const OrtCustomOp*) { return 1; }
OrtCustomOpInputOutputCharacteristic Required(const OrtCustomOp*, size_t) {
  return INPUT_OUTPUT_REQUIRED;
}

const OrtCustomOp* Operator() {
  static const OrtCustomOp op = [] {
    OrtCustomOp o{};
    o.version = kOrtVersion;
    o.GetName = [](const OrtCustomOp*) { return "SluiceFfn"; };
    o.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    o.GetInputType = FloatType;
    o.GetInputTypeCount = One;
    o.GetOutputType = FloatType;
    o.GetOutputTypeCount = One;
    o.GetInputCharacteristic = Required;
    o.GetOutputCharacteristic = Required;
    o.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    o.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
    o.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
    o.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
    o.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
    o.CreateKernelV2 = Create;
    o.KernelComputeV2 = Compute;
    o.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    return o;
  }();
  return &op;
}

// The domain, made at the first call. It stays: sessions refer to it, and nothing says when the
// last one is gone.
OrtStatus* Domain(OrtCustomOpDomain** found) {
  static std::mutex mutex;
  static OrtCustomOpDomain* domain = nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  if (domain == nullptr) {
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatus* status = ort->CreateCustomOpDomain("sluice", &made)) return status;
    if (OrtStatus* status = ort->CustomOpDomain_Add(made, Operator())) {
      ort->ReleaseCustomOpDomain(made);
      return status;
    }
    domain = made;
  }
  *found = domain;
  return nullptr;
}

}  // namespace

// What ONNX Runtime calls when a host registers this library.
extern "C" __attribute__((visibility("default"))) OrtStatus* ORT_API_CALL
RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  ort = base->GetApi(kOrtVersion);
  if (ort == nullptr) {
    return base->GetApi(1)->CreateStatus(ORT_FAIL, "SluiceFfn needs ONNX Runtime 1.16 or later");
  }
  OrtCustomOpDomain* domain = nullptr;
  if (OrtStatus* status = Domain(&domain)) return status;
  return ort->AddCustomOpDomain(options, domain);
}
