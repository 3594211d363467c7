// The pickle reader on raw bytes, and the state_dict in what it accepts.
#include "lib/convert/pickle.h"

#include "lib/convert/torch_state.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto pickle = sluice::Pickle::Parse(bytes, 0, sluice::TorchGlobals());
  if (pickle.ok()) (void)sluice::ReadTorchState(*pickle).status();
  return 0;
}
