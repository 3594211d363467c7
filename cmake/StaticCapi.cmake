# sluice::capi_static, libsluice.a: the C library for hosts that link it into themselves. All objects
# of Sluice's and of the static libraries that it needs are linked into one, in which every symbol
# but sluice_* is local: a host that has an abseil of its own, or anything else by the same names,
# never meets ours. What is only there as a shared library stays for the host to link
# (Libs.private in sluice.pc). Sets SLUICE_STATIC_LIBS to that.
set(SLUICE_STATIC_LIBS "")

# Why no such archive can be made here; empty when it can.
function(sluice_static_obstacle out)
  set(${out} "" PARENT_SCOPE)
  if(SLUICE_SANITIZE OR SLUICE_FUZZ_ENGINE)
    set(${out} "sanitizers need global symbols of their own" PARENT_SCOPE)
    return()
  endif()
  if(APPLE OR WIN32 OR NOT CMAKE_OBJCOPY)
    set(${out} "it takes GNU ld and objcopy" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${CMAKE_LINKER} --help OUTPUT_VARIABLE help ERROR_QUIET)
  if(NOT help MATCHES "--force-group-allocation")
    set(${out} "${CMAKE_LINKER} has no --force-group-allocation" PARENT_SCOPE)
  endif()
endfunction()

# Every abseil archive that Sluice can reach, in `out`; `missing` names one that is not there.
function(sluice_static_abseil out missing)
  pkg_check_modules(ABSL_ALL QUIET absl_status absl_statusor absl_span absl_strings absl_str_format
                    absl_function_ref absl_cleanup absl_flat_hash_map absl_flat_hash_set)
  set(archives)
  set(${missing} "" PARENT_SCOPE)
  if(NOT ABSL_ALL_FOUND)
    set(${missing} "abseil's pkg-config files" PARENT_SCOPE)
  endif()
  foreach(name IN LISTS ABSL_ALL_STATIC_LIBRARIES)
    if(name MATCHES "^absl_")
      find_library(archive_${name} NAMES lib${name}.a HINTS ${ABSL_ALL_STATIC_LIBRARY_DIRS})
      mark_as_advanced(archive_${name})
      if(archive_${name})
        list(APPEND archives ${archive_${name}})
      else()
        set(${missing} lib${name}.a PARENT_SCOPE)
      endif()
    endif()
  endforeach()
  set(${out} ${archives} PARENT_SCOPE)
endfunction()

# Appends lib<name>.a of a pkg-config module to `archives`, or its flags to `flags` where there is
# none.
macro(sluice_static_library prefix name)
  find_library(archive_${name} NAMES lib${name}.a HINTS ${${prefix}_STATIC_LIBRARY_DIRS})
  mark_as_advanced(archive_${name})
  if(archive_${name})
    list(APPEND archives ${archive_${name}})
  else()
    list(APPEND flags ${${prefix}_LDFLAGS})
  endif()
endmacro()

# What a C host does not link by itself: the C++ runtime, by the names that this compiler uses.
function(sluice_cxx_runtime out)
  set(libraries ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
  list(REMOVE_ITEM libraries ${CMAKE_C_IMPLICIT_LINK_LIBRARIES})
  list(REMOVE_DUPLICATES libraries)
  list(TRANSFORM libraries PREPEND -l)
  set(${out} ${libraries} -pthread PARENT_SCOPE)
endfunction()

function(sluice_add_static_capi objects)
  sluice_static_obstacle(obstacle)
  if(NOT obstacle)
    sluice_static_abseil(archives missing)
    if(missing)
      set(obstacle "${missing} is not there")
    endif()
  endif()
  if(obstacle)
    message(STATUS "No static C library: ${obstacle}")
    return()
  endif()
  set(flags)
  sluice_static_library(HWY hwy)
  sluice_static_library(XXHASH xxhash)
  if(SLUICE_WITH_URING)
    sluice_static_library(URING uring)
  endif()
  # Always shared: a static libzip brings compression and cryptography libraries along.
  list(APPEND flags ${ZIP_LDFLAGS})
  sluice_cxx_runtime(runtime)
  list(APPEND flags ${runtime})
  # Folders that every linker looks into anyway.
  foreach(folder IN LISTS CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
    list(REMOVE_ITEM flags -L${folder})
  endforeach()

  get_property(modules GLOBAL PROPERTY SLUICE_MODULES)
  set(targets ${objects})
  foreach(module IN LISTS modules)
    if(module)
      list(APPEND targets sluice_${module}_objects)
    endif()
  endforeach()
  list(TRANSFORM targets REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>" OUTPUT_VARIABLE own)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/sluice.o)
  set(debug $<IF:$<CONFIG:Release,MinSizeRel>,strip,keep>)
  set(merge ${PROJECT_SOURCE_DIR}/cmake/merge_objects.sh)
  add_custom_command(OUTPUT ${object}
    COMMAND sh ${merge} ${CMAKE_LINKER} ${CMAKE_NM} ${CMAKE_OBJCOPY} ${debug} ${object} ${own}
            ${archives}
    DEPENDS ${own} ${merge}
    COMMENT "Linking the C library into one object" COMMAND_EXPAND_LISTS VERBATIM)
  add_library(sluice_capi_static STATIC ${object})
  add_library(sluice::capi_static ALIAS sluice_capi_static)
  # Makefiles know the files of other targets by name only, not how to make them.
  add_dependencies(sluice_capi_static ${targets})
  set_target_properties(sluice_capi_static PROPERTIES
    OUTPUT_NAME sluice EXPORT_NAME capi_static LINKER_LANGUAGE C)
  target_include_directories(sluice_capi_static INTERFACE
    $<BUILD_INTERFACE:${CMAKE_CURRENT_BINARY_DIR}/include>
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(sluice_capi_static INTERFACE ${flags})
  set(SLUICE_STATIC_LIBS ${flags} PARENT_SCOPE)
endfunction()
