// What concerns the whole library: version and log.
#include <string>

#include "capi/src/status.h"
#include "sluice/flash_model.h"

const char* sluice_version(void) { return sluice::Version(); }

uint32_t sluice_abi(void) { return SLUICE_ABI; }

void sluice_log_set(sluice_log_fn log, void* user_data) {
  sluice::capi::EnterQuietly([&] {
    if (log == nullptr) {
      sluice::SetLogCallback(nullptr);
      return;
    }
    sluice::SetLogCallback([log, user_data](int level, const std::string& text) {
      log(level, text.c_str(), user_data);
    });
  });
}
