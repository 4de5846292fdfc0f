# cmake -DCOMPILER_A= -DFLAGS_A= -DCOMPILER_B= -DFLAGS_B= -DCOMPILE_FLAGS= -DLINK_FLAGS= -DOUTPUT= -P run.cmake
cmake_minimum_required(VERSION 3.25)
set(warnings -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror)
file(MAKE_DIRECTORY "${OUTPUT}")
foreach(unit IN ITEMS A B)
  string(TOLOWER ${unit} file)
  execute_process(COMMAND ${COMPILER_${unit}} @${COMPILE_FLAGS} ${warnings} ${FLAGS_${unit}}
      -c "${CMAKE_CURRENT_LIST_DIR}/${file}.cpp" -o "${OUTPUT}/${file}.o"
    COMMAND_ERROR_IS_FATAL ANY)
endforeach()
execute_process(COMMAND ${COMPILER_A} "${OUTPUT}/a.o" "${OUTPUT}/b.o" @${LINK_FLAGS} -o "${OUTPUT}/ab"
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${OUTPUT}/ab" COMMAND_ERROR_IS_FATAL ANY)
