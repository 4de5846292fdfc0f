# cmake -DCLANG_FORMAT= -DARGUMENTS= -DROOT= -P format.cmake: runs clang-format over every source file of the project.
cmake_minimum_required(VERSION 3.25)
set(files)
foreach(folder IN ITEMS include examples tests benchmarks cmake)
  file(GLOB_RECURSE found "${ROOT}/${folder}/*.hpp" "${ROOT}/${folder}/*.cpp")
  list(APPEND files ${found})
endforeach()
execute_process(COMMAND ${CLANG_FORMAT} ${ARGUMENTS} ${files} COMMAND_ERROR_IS_FATAL ANY)
