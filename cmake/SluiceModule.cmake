# One library module: compiled once as objects, offered to the unit tests as a static library of
# its own, and collected into the two shipped libraries by sluice_collect_objects().
#
#   sluice_module(io SOURCES a.cc b.cc DEPS base LINK PkgConfig::URING)
#
# DEPS are the modules that this one may include (ARCHITECTURE.md has the arrows); LINK are
# libraries from outside.
function(sluice_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LINK" ${ARGN})
  set(objects sluice_${name}_objects)
  add_library(${objects} OBJECT ${ARG_SOURCES})
  target_compile_features(${objects} PUBLIC cxx_std_20)
  target_include_directories(${objects} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
                             ${PROJECT_BINARY_DIR}/include)
  target_link_libraries(${objects} PRIVATE sluice_warnings PUBLIC sluice_abseil ${ARG_LINK})
  set_target_properties(${objects} PROPERTIES POSITION_INDEPENDENT_CODE ON
                        CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

  add_library(sluice_${name} STATIC $<TARGET_OBJECTS:${objects}>)
  target_include_directories(sluice_${name} PUBLIC ${PROJECT_SOURCE_DIR}
                             ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/include)
  target_compile_features(sluice_${name} PUBLIC cxx_std_20)
  set(module_deps ${ARG_DEPS})
  list(TRANSFORM module_deps PREPEND sluice_)
  target_link_libraries(sluice_${name} PUBLIC ${module_deps} sluice_abseil ${ARG_LINK})
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(${objects} PUBLIC
                          $<TARGET_PROPERTY:sluice_${dep}_objects,INTERFACE_LINK_LIBRARIES>)
  endforeach()
  set_property(GLOBAL APPEND PROPERTY SLUICE_MODULES ${name})
  set_property(GLOBAL APPEND PROPERTY SLUICE_PRIVATE_LINKS ${ARG_LINK})
endfunction()

# Puts every module's objects into `target`, with the outside libraries they need. Those are this
# build's alone: Install.cmake says what an installed copy needs.
function(sluice_collect_objects target)
  get_property(modules GLOBAL PROPERTY SLUICE_MODULES)
  get_property(links GLOBAL PROPERTY SLUICE_PRIVATE_LINKS)
  list(REMOVE_DUPLICATES links)
  foreach(module IN LISTS modules)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:sluice_${module}_objects>)
  endforeach()
  foreach(link IN LISTS links)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:${link}>)
  endforeach()
endfunction()
