// config.json, and the manifest's config.
#include <cstdint>

#include "absl/strings/string_view.h"
#include "lib/base/json_guard.h"
#include "lib/model/families/opt.h"
#include "lib/model/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = sluice::ParseJson(text, "config.json");
  if (!json.ok()) return 0;
  const auto config = sluice::OptConfigFromHuggingFace(*json, *json, "config.json");
  if (config.ok()) {
    // What has been accepted can be stored and read back.
    const auto again = sluice::ModelConfig::FromJson(config->ToJson(), "manifest");
    if (!again.ok() || again->ToJson() != config->ToJson()) __builtin_trap();
  }
  (void)sluice::ModelConfig::FromJson(*json, "manifest");
  return 0;
}
