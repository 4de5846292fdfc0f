# cmake -DROOT=<include folder> -P layers.cmake: fails on every include that runs against docs/architecture.md.
cmake_minimum_required(VERSION 3.25)

# From the bottom up. The layers of one line are siblings, which do not know each other.
set(order
  "core"
  "formats"
  "schemes"
  "layouts"
  "kernels"
  "tensor"
  "metrics"
  "calibration"
  "quantize prune adapters train"
  "search")
set(packages "Eigen|hwy|xsimd|fmt")
# What the processor's instructions need, and Linux's system calls where they are asked for.
set(machine "[a-z0-9]+intrin\\.h|arm_[a-z]+\\.h|cpuid\\.h")
set(system_header "pare/kernels/highway/targets.hpp")
set(system "sys/syscall\\.h|unistd\\.h")

set(height 0)
foreach(line IN LISTS order)
  string(REPLACE " " ";" layers "${line}")
  foreach(layer IN LISTS layers)
    set(height_${layer} ${height})
  endforeach()
  math(EXPR height "${height} + 1")
endforeach()

set(faults "")
macro(fault text)
  string(APPEND faults "  ${header}: ${text}\n")
endmacro()

file(GLOB_RECURSE headers RELATIVE "${ROOT}" "${ROOT}/pare/*")
if(NOT headers)
  message(FATAL_ERROR "no headers under ${ROOT}/pare")
endif()

foreach(header IN LISTS headers)
  set(layer "")
  if(NOT header STREQUAL "pare/pare.hpp")
    string(REGEX REPLACE "^pare/([^/]+).*$" "\\1" layer "${header}")
    if(NOT DEFINED height_${layer})
      fault("is in no layer")
      continue()
    endif()
  endif()

  # A "[" or ";" elsewhere on the line would upset CMake's lists: only the directive is kept.
  file(READ "${ROOT}/${header}" text)
  string(REGEX MATCHALL "(^|\n)[ \t]*#[ \t]*include[ \t]*[<\"][^>\"\n;]+[>\"]" directives "${text}")
  foreach(directive IN LISTS directives)
    string(REGEX REPLACE ".*[<\"]([^>\"]+)[>\"]$" "\\1" included "${directive}")

    if(NOT included MATCHES "^pare/")
      if(included MATCHES "^(${packages})/")
        if(layer STREQUAL "core")
          fault("includes ${included}; core stands on the standard library alone")
        endif()
      elseif(header STREQUAL system_header AND included MATCHES "^(${system})$")
        continue()
      elseif(included MATCHES "[/]|\\.h(pp)?$" AND NOT included MATCHES "^(${machine})$")
        fault("includes ${included}; name pare's headers as \"pare/...\", and no package but ${packages}")
      endif()
      continue()
    endif()

    if(NOT EXISTS "${ROOT}/${included}")
      fault("includes ${included}, which does not exist")
      continue()
    endif()
    string(REGEX REPLACE "^pare/([^/]+).*$" "\\1" target "${included}")
    if(target STREQUAL "pare.hpp")
      fault("includes ${included}, which is for users alone")
    elseif(target STREQUAL layer OR NOT DEFINED height_${target})
      continue()  # its own folder; a header outside every layer is reported as itself
    elseif(NOT included STREQUAL "pare/${target}/${target}.hpp")
      fault("includes ${included}; from outside ${target}/ only pare/${target}/${target}.hpp")
    elseif(layer AND height_${target} EQUAL height_${layer})
      fault("includes ${included}, a sibling")
    elseif(layer AND height_${target} GREATER height_${layer})
      fault("includes ${included}, which stands above")
    endif()
  endforeach()
endforeach()

if(faults)
  message(FATAL_ERROR "includes against the layers of docs/architecture.md:\n${faults}")
endif()
list(LENGTH headers count)
message(STATUS "${count} headers keep the layers")
