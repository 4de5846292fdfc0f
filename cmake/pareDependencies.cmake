# The packages that pare's headers use. Read by pare's own build and, installed beside it, by pareConfig.cmake.
include(CMakeFindDependencyMacro)

# Minimum versions are compared here, because several of these packages refuse a newer major version when asked for an
# older one, and pare works with both.
find_dependency(Eigen3 CONFIG)
find_dependency(hwy CONFIG)
find_dependency(fmt CONFIG)
find_dependency(xsimd CONFIG)

set(pare_too_old "")
foreach(pare_bound IN ITEMS "Eigen3 3.4" "hwy 1.0.3" "fmt 9" "xsimd 8.1")
  string(REPLACE " " ";" pare_bound "${pare_bound}")
  list(GET pare_bound 0 pare_package)
  list(GET pare_bound 1 pare_minimum)
  if(DEFINED ${pare_package}_VERSION AND ${pare_package}_VERSION VERSION_LESS pare_minimum)
    string(APPEND pare_too_old " ${pare_package} ${pare_minimum} (found ${${pare_package}_VERSION})")
  endif()
endforeach()
if(pare_too_old)
  set(pare_FOUND FALSE)
  set(pare_NOT_FOUND_MESSAGE "pare needs at least:${pare_too_old}")
  if(pare_FIND_REQUIRED)
    message(FATAL_ERROR "${pare_NOT_FOUND_MESSAGE}")
  endif()
  return()
endif()

# xsimd's headers alone: the target of Debian 12 also links a library that its package does not bring.
if(NOT TARGET pare::xsimd)
  foreach(pare_xsimd IN ITEMS xsimd::xsimd xsimd)
    if(TARGET ${pare_xsimd})
      get_target_property(pare_xsimd_includes ${pare_xsimd} INTERFACE_INCLUDE_DIRECTORIES)
      break()
    endif()
  endforeach()
  add_library(pare::xsimd INTERFACE IMPORTED)
  target_include_directories(pare::xsimd INTERFACE ${pare_xsimd_includes})
endif()
