# cmake -DBUILD= -DPREFIX= -P install.cmake: installs into an empty prefix, so that nothing of an earlier run helps.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${PREFIX}")
execute_process(COMMAND ${CMAKE_COMMAND} --install "${BUILD}" --prefix "${PREFIX}" COMMAND_ERROR_IS_FATAL ANY)
