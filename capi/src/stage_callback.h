// Progress callbacks, C's way.
#ifndef SLUICE_CAPI_STAGE_CALLBACK_H_
#define SLUICE_CAPI_STAGE_CALLBACK_H_

#include <cstdint>
#include <string>

#include "sluice.h"

namespace sluice::capi {

// Goes wherever C++ wants a function of stage and share; a null function never stops.
struct StageCallback {
  sluice_stage_fn function;
  void* user_data;

  bool operator()(const std::string& stage, double done) const {
    return function == nullptr || function(stage.c_str(), done, user_data) == 0;
  }
  bool operator()(const char* stage, uint64_t done, uint64_t total) const {
    const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
    return function == nullptr || function(stage, share, user_data) == 0;
  }
};

}  // namespace sluice::capi

#endif  // SLUICE_CAPI_STAGE_CALLBACK_H_
