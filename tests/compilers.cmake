# What a test needs that calls a compiler itself: the flags that the target `pare` stands for, as response files that
# gcc and clang both read, and the list of installed compilers.
set(include_list "$<TARGET_PROPERTY:pare_headers,INCLUDE_DIRECTORIES>")
# A compiler knows /usr/include; naming it again breaks #include_next. pare's own headers are not system headers.
set(system_list "$<FILTER:$<FILTER:${include_list},EXCLUDE,^${PROJECT_SOURCE_DIR}/include$>,EXCLUDE,^/usr/include$>")
set(definition_list "$<TARGET_PROPERTY:pare_headers,COMPILE_DEFINITIONS>")
set(PARE_COMPILE_FLAGS "${CMAKE_CURRENT_BINARY_DIR}/compile.rsp")
file(GENERATE OUTPUT "${PARE_COMPILE_FLAGS}" CONTENT
"-std=c++20
-I${PROJECT_SOURCE_DIR}/include
$<$<BOOL:${system_list}>:-isystem$<JOIN:${system_list},
-isystem>
>$<$<BOOL:${definition_list}>:-D$<JOIN:${definition_list},
-D>
>")
set(PARE_LINK_FLAGS "${CMAKE_CURRENT_BINARY_DIR}/link.rsp")
file(GENERATE OUTPUT "${PARE_LINK_FLAGS}" CONTENT
"$<TARGET_FILE:fmt::fmt>
$<TARGET_FILE:hwy::hwy>
-Wl,-rpath,$<TARGET_FILE_DIR:fmt::fmt>
-Wl,-rpath,$<TARGET_FILE_DIR:hwy::hwy>
")

# The compilers' paths, the configured one first; the name of each is ${name_of_<path>}, its own options are in
# ${options_of_<path>}.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(name g++)
else()
  string(REGEX REPLACE "\\..*" "" name "clang++-${CMAKE_CXX_COMPILER_VERSION}")
endif()
set(PARE_COMPILERS "${CMAKE_CXX_COMPILER}")
set("name_of_${CMAKE_CXX_COMPILER}" "${name}")
foreach(other IN ITEMS g++ clang++-14 clang++-19)
  string(MAKE_C_IDENTIFIER "PARE_COMPILER_${other}" variable)
  find_program(${variable} ${other})
  mark_as_advanced(${variable})
  if(${variable} AND NOT other STREQUAL name)
    list(APPEND PARE_COMPILERS "${${variable}}")
    set("name_of_${${variable}}" "${other}")
  endif()
endforeach()
foreach(compiler IN LISTS PARE_COMPILERS)
  if("${name_of_${compiler}}" STREQUAL "g++")
    set("options_of_${compiler}" "${PARE_GCC_OPTIONS}")
  elseif("${name_of_${compiler}}" STREQUAL "clang++-19")
    # What clang 19 itself finds with -march=native on processors with AVX10.
    set("options_of_${compiler}" -Wno-invalid-feature-combination)
  endif()
endforeach()
