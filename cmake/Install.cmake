# What `cmake --install` puts where. The sluice program's rule is beside its target.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/sluice)

# pkg-config names of what the static library needs beyond abseil and threads. Eigen and
# nlohmann_json are header-only and used in .cc files alone.
set(SLUICE_PKG_MODULES libhwy libxxhash libzip)
if(SLUICE_WITH_URING)
  list(APPEND SLUICE_PKG_MODULES liburing)
endif()
list(JOIN SLUICE_PKG_MODULES " " SLUICE_PKG_REQUIRES)
# sluiceConfig.cmake makes this target in the project that uses the installed copy.
target_link_libraries(sluice
  INTERFACE $<INSTALL_INTERFACE:$<LINK_ONLY:PkgConfig::sluice_private>>)

# Export sets of their own: a C host needs neither abseil nor its headers.
install(TARGETS sluice EXPORT sluiceTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS sluice_capi EXPORT sluiceCapiTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT sluiceTargets NAMESPACE sluice:: DESTINATION ${package_dir})
install(EXPORT sluiceCapiTargets NAMESPACE sluice:: DESTINATION ${package_dir})
if(TARGET sluice_capi_static)
  install(TARGETS sluice_capi_static EXPORT sluiceCapiStaticTargets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT sluiceCapiStaticTargets NAMESPACE sluice:: DESTINATION ${package_dir})
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/sluiceConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/cmake/sluiceConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/sluiceConfigVersion.cmake
                                 COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cmake/sluiceConfig.cmake
              ${PROJECT_BINARY_DIR}/cmake/sluiceConfigVersion.cmake
        DESTINATION ${package_dir})

list(JOIN SLUICE_STATIC_LIBS " " SLUICE_PC_STATIC_LIBS)
# The way from the .pc files up to the prefix, so that an installed tree may be moved.
file(RELATIVE_PATH SLUICE_PC_PREFIX
     ${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
foreach(name IN ITEMS sluice sluice-cpp)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in
                 ${PROJECT_BINARY_DIR}/cmake/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/cmake/${name}.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/sluice
                  ${PROJECT_BINARY_DIR}/include/sluice
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(DIRECTORY ${PROJECT_BINARY_DIR}/capi/include/ ${PROJECT_SOURCE_DIR}/capi/include/
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}
        FILES_MATCHING PATTERN "*.md")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
