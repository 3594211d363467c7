# Finds what the distribution ships; nothing is downloaded. Each message names the Debian package.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

macro(sluice_need package debian)
  find_package(${package} QUIET ${ARGN})
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "Sluice needs ${package}: on Debian, apt-get install ${debian}")
  endif()
endmacro()
macro(sluice_need_pkg prefix module debian)
  pkg_check_modules(${prefix} QUIET IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${prefix}_FOUND)
    message(FATAL_ERROR "Sluice needs ${module}: on Debian, apt-get install ${debian}")
  endif()
endmacro()

sluice_need(absl libabsl-dev)
sluice_need(Eigen3 libeigen3-dev NO_MODULE)
sluice_need(nlohmann_json nlohmann-json3-dev)
sluice_need_pkg(HWY libhwy libhwy-dev)
sluice_need_pkg(XXHASH libxxhash libxxhash-dev)
sluice_need_pkg(ZIP libzip libzip-dev)
if(SLUICE_WITH_URING)
  sluice_need_pkg(URING "liburing>=2.2" liburing-dev)
endif()

# abseil in the public headers: Status and Span only.
add_library(sluice_abseil INTERFACE)
target_link_libraries(sluice_abseil INTERFACE absl::status absl::statusor absl::span absl::strings
                      absl::str_format absl::function_ref absl::cleanup absl::flat_hash_map absl::flat_hash_set Threads::Threads)
