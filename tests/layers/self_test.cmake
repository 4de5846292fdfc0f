# cmake -DSCRIPT=layers.cmake -P self_test.cmake: layers.cmake passes the fixture `good` and names each fault of `bad`.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND ${CMAKE_COMMAND} -DROOT=${CMAKE_CURRENT_LIST_DIR}/good -P ${SCRIPT}
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "the good fixture is refused:\n${output}")
endif()

execute_process(COMMAND ${CMAKE_COMMAND} -DROOT=${CMAKE_CURRENT_LIST_DIR}/bad -P ${SCRIPT}
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "the bad fixture passes")
endif()
string(REGEX REPLACE "[ \n]+" " " output "${output}")
foreach(fault IN ITEMS
    "pare/core/core.hpp: includes pare/formats/formats.hpp, which stands above"
    "pare/core/eigen.hpp: includes Eigen/Core; core stands on the standard library alone"
    "pare/formats/formats.hpp: includes ../core/core.hpp; name"
    "pare/formats/json.hpp: includes nlohmann/json.hpp; name"
    "pare/formats/missing.hpp: includes pare/core/nowhere.hpp, which does not exist"
    "pare/formats/detail.hpp: includes pare/core/eigen.hpp; from outside core/ only pare/core/core.hpp"
    "pare/formats/all.hpp: includes pare/pare.hpp, which is for users alone"
    "pare/prune/prune.hpp: includes pare/quantize/quantize.hpp, a sibling"
    "pare/attic/attic.hpp: is in no layer")
  string(FIND "${output}" "${fault}" place)
  if(place EQUAL -1)
    message(FATAL_ERROR "not reported: ${fault}\n${output}")
  endif()
endforeach()
