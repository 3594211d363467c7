add_library(sluice_warnings INTERFACE)
# -ffp-contract=off: which multiply-adds are fused is decided in lib/kernels alone, so that a
# token's bits do not depend on the compiler's mood (ARCHITECTURE.md, "the same bits").
target_compile_options(sluice_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow
                       -Wno-unused-parameter -ffp-contract=off)
if(SLUICE_WERROR)
  target_compile_options(sluice_warnings INTERFACE -Werror)
endif()
if(SLUICE_SANITIZE)
  string(REPLACE "," ";" kinds "${SLUICE_SANITIZE}")
  foreach(kind IN LISTS kinds)
    add_compile_options(-fsanitize=${kind})
    add_link_options(-fsanitize=${kind})
  endforeach()
  add_compile_options(-fno-omit-frame-pointer -g)
endif()
