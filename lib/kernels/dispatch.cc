#include <cstdint>

#include "lib/kernels/kernels.h"
#include "lib/kernels/targets.h"

#include <hwy/highway.h>

namespace sluice::kernels {
namespace {

int64_t LowestBit(int64_t targets) { return targets & -targets; }  // the best is the lowest

// What this machine can run of what was compiled, found before any restriction.
int64_t MachineTargets() {
  static const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

}  // namespace

std::string TargetName() {
  const int64_t all = MachineTargets();
  const int64_t current = hwy::SupportedTargets() & all;
  return hwy::TargetName(LowestBit(current != 0 ? current : HWY_STATIC_TARGET));
}

std::vector<std::string> AvailableTargets() {
  std::vector<std::string> names;
  for (int64_t left = MachineTargets(); left != 0; left &= left - 1) {
    names.push_back(hwy::TargetName(LowestBit(left)));
  }
  return names;
}

bool ForceTarget(const std::string& name) {
  if (name.empty()) {
    MachineTargets();
    hwy::SetSupportedTargetsForTest(0);
    return true;
  }
  for (int64_t left = MachineTargets(); left != 0; left &= left - 1) {
    if (name != hwy::TargetName(LowestBit(left))) continue;
    hwy::SetSupportedTargetsForTest(LowestBit(left));
    return true;
  }
  return false;
}

}  // namespace sluice::kernels
