# Settings of pare's own build; a project that uses pare never reads them.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")

# gcc spends a seventh of its time on freeing memory that machines have.
set(PARE_GCC_OPTIONS --param=ggc-min-heapsize=1048576)
add_compile_options("$<$<CXX_COMPILER_ID:GNU>:${PARE_GCC_OPTIONS}>")

find_program(CCACHE ccache)
if(CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE}")
endif()

# The warnings of our own code. They are errors for whoever builds the tests, so that a newer compiler's new warning
# does not stop somebody who only wants to run an example.
add_library(pare_warnings INTERFACE)
target_compile_options(pare_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow)
# gcc 12 sees an overlap in the library's own string concatenation (GCC bug 105651).
target_compile_options(pare_warnings INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-error=restrict>)
if(PARE_BUILD_TESTS AND NOT DEFINED CMAKE_COMPILE_WARNING_AS_ERROR)
  set(CMAKE_COMPILE_WARNING_AS_ERROR ON)
endif()
