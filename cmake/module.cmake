# add_module(NAME [DEPS module...] [LIBS library...]): the static library frugal_NAME made of src/NAME/**/*.cpp.
# DEPS are Frugal's modules, passed on to whoever links this one; LIBS are outside libraries, kept private.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)

add_library(frugal_options INTERFACE)
target_include_directories(frugal_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(frugal_options INTERFACE -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor
                       -ffp-contract=off -fno-math-errno)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  target_compile_options(frugal_options INTERFACE -Wno-missing-field-initializers -Wno-stringop-overflow
                         -Wno-array-bounds -Wno-restrict -Wno-dangling-pointer)  # GCC 12 false positives in std
else()  # the sorts of GCC 12's standard library call what it deprecates
  target_compile_options(frugal_options INTERFACE -Wno-missing-field-initializers -Wno-deprecated-declarations)
endif()
target_link_libraries(frugal_options INTERFACE Threads::Threads fmt::fmt)
if(FRUGAL_SANITIZE)
  target_compile_options(frugal_options INTERFACE -fsanitize=${FRUGAL_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all)
  target_link_options(frugal_options INTERFACE -fsanitize=${FRUGAL_SANITIZE})
endif()

function(add_module name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  add_library(frugal_${name} STATIC ${sources})
  list(TRANSFORM ARG_DEPS PREPEND frugal_)
  target_link_libraries(frugal_${name} PUBLIC frugal_options ${ARG_DEPS} PRIVATE ${ARG_LIBS})
endfunction()

# add_module_tests(NAME [DEPS module...] [LIBS ...]): tests/NAME/*.cpp as one GoogleTest program, labelled NAME.
function(add_module_tests name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(test_${name} ${sources})
  list(TRANSFORM ARG_DEPS PREPEND frugal_)
  target_link_libraries(test_${name} PRIVATE frugal_${name} ${ARG_DEPS} ${ARG_LIBS} GTest::gtest GTest::gtest_main)
  target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(test_${name} PRIVATE FRUGAL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  gtest_discover_tests(test_${name} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${name} TIMEOUT 600)
endfunction()
