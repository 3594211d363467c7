add_library(sluice_warnings INTERFACE)
# -ffp-contract=off: which multiply-adds are fused is decided in lib/kernels alone, so that a
# token's bits do not depend on the compiler's mood (ARCHITECTURE.md, "the same bits").
target_compile_options(sluice_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow
                       -Wno-unused-parameter -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlaps and overflows in its own std::string at -O3 (GCC bug 105651).
  target_compile_options(sluice_warnings INTERFACE -Wno-restrict -Wno-stringop-overflow)
endif()
if(SLUICE_WERROR)
  target_compile_options(sluice_warnings INTERFACE -Werror)
endif()
if(SLUICE_FUZZ_ENGINE)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(SLUICE_SANITIZE)
  string(REPLACE "," ";" kinds "${SLUICE_SANITIZE}")
  foreach(kind IN LISTS kinds)
    add_compile_options(-fsanitize=${kind})
    add_link_options(-fsanitize=${kind})
  endforeach()
  # A finding ends the program: UBSan alone would print a line and go on to exit with 0.
  add_compile_options(-fno-omit-frame-pointer -g -fno-sanitize-recover=all)
  add_link_options(-fno-sanitize-recover=all)
endif()
