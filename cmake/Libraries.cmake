# The shipped libraries: sluice::sluice, the static C++ one. sluice::capi is added in capi/.
add_library(sluice STATIC)
add_library(sluice::sluice ALIAS sluice)
# Not libsluice.a: `-lsluice` means the C library, and must not come to this one under `-static`.
set_target_properties(sluice PROPERTIES OUTPUT_NAME sluice_cpp)
sluice_collect_objects(sluice)
target_compile_features(sluice PUBLIC cxx_std_20)
target_include_directories(sluice PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(sluice PUBLIC absl::status absl::statusor absl::span absl::strings
                      PRIVATE absl::str_format absl::function_ref absl::flat_hash_map
                              absl::flat_hash_set Threads::Threads)
