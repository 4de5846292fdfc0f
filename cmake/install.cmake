include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/pare")

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/pare" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS pare EXPORT pareTargets)
install(EXPORT pareTargets NAMESPACE pare:: DESTINATION "${package_dir}")

if(TARGET pare_kernels)
  install(TARGETS pare_kernels EXPORT pareKernelsTargets)
  install(EXPORT pareKernelsTargets NAMESPACE pare:: DESTINATION "${package_dir}")
endif()

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/pareConfig.cmake.in" pareConfig.cmake
  INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file(pareConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(
  FILES "${PROJECT_BINARY_DIR}/pareConfig.cmake" "${PROJECT_BINARY_DIR}/pareConfigVersion.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/pareDependencies.cmake"
  DESTINATION "${package_dir}")
