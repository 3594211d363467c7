# One ctest program. Labels: unit golden fault capi install fuzz examples swift python rust
# tidy slow.
#
#   sluice_test(io_engine_test LABELS unit SOURCES io_engine_test.cc DEPS io)
#
# DEPS are modules (sluice_<dep>) or whole libraries (sluice::sluice). Catch2's main comes along.
# A test that cannot run here exits 4 and is shown as skipped, never as passed.
function(sluice_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS;ARGS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set(libs)
  foreach(dep IN LISTS ARG_DEPS)
    if(TARGET sluice_${dep})
      list(APPEND libs sluice_${dep})
    else()
      list(APPEND libs ${dep})
    endif()
  endforeach()
  target_link_libraries(${name} PRIVATE sluice_test_support sluice_warnings ${libs})
  target_compile_definitions(${name} PRIVATE
    SLUICE_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
                       SKIP_RETURN_CODE 4)
endfunction()
