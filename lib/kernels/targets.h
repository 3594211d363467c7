// Which SIMD targets the kernels are compiled for. Include before anything of Highway.
#ifndef SLUICE_LIB_KERNELS_TARGETS_H_
#define SLUICE_LIB_KERNELS_TARGETS_H_

// Left out: SSSE3, whose owners are few and get an older target's code; targets whose vectors have
// no size at compile time, because register blocks are arrays of vectors.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#endif  // SLUICE_LIB_KERNELS_TARGETS_H_
