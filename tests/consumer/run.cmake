# cmake -DNAME= -DGENERATOR= -DOPTIONS= -P run.cmake: builds and runs a copy of the project NAME in a temporary folder.
cmake_minimum_required(VERSION 3.25)
set(temporary "/tmp")
if(DEFINED ENV{TMPDIR})
  set(temporary "$ENV{TMPDIR}")
endif()
string(RANDOM LENGTH 12 suffix)
set(work "${temporary}/pare-consumer-${suffix}")
file(COPY "${CMAKE_CURRENT_LIST_DIR}" DESTINATION "${work}")

execute_process(COMMAND ${CMAKE_CTEST_COMMAND} --build-and-test "${work}/consumer/${NAME}" "${work}/build"
    --build-generator ${GENERATOR} --build-options ${OPTIONS} --test-command consumer
  RESULT_VARIABLE result)
file(REMOVE_RECURSE "${work}")
if(NOT result EQUAL 0)
  message(FATAL_ERROR "the project ${NAME}, which uses pare, fails")
endif()
