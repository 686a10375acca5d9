# The emulated GPU, which executes the PTX that nvcc made: stand-ins of libcudart, libcublasLt and libnccl in ${PTXHOST}, which a program
# finds there by LD_LIBRARY_PATH, and translated kernels. Needs CUDA_INCLUDE and NCCL_INCLUDE. Nothing of it is part of the release.
enable_language(CXX)
find_program(LUA_PROGRAM NAMES lua5.4 lua REQUIRED)
set(PTXHOST ${CMAKE_BINARY_DIR}/ptxhost)
set(PTXHOST_SOURCE ${CMAKE_CURRENT_LIST_DIR})

# ptxhost_library(cudart 13 FILES...) builds libcudart.so.13 with the symbol versions of cudart.map. Fibers change stacks, of which
# sanitizers know nothing.
function(ptxhost_library name version)
  set(map ${PTXHOST_SOURCE}/${name}.map)
  add_library(ptxhost_${name} SHARED ${ARGN})
  target_include_directories(ptxhost_${name} SYSTEM PRIVATE ${CUDA_INCLUDE} ${NCCL_INCLUDE})
  target_compile_options(ptxhost_${name} PRIVATE -O2 -g1 -fno-sanitize=all)
  target_link_options(ptxhost_${name} PRIVATE -Wl,--version-script=${map})
  target_link_libraries(ptxhost_${name} PRIVATE Threads::Threads ${CMAKE_DL_LIBS} m rt)
  set_target_properties(ptxhost_${name} PROPERTIES OUTPUT_NAME ${name} VERSION ${version} SOVERSION ${version} LIBRARY_OUTPUT_DIRECTORY ${PTXHOST}
    LINK_DEPENDS ${map})
endfunction()

foreach(library cudart cublaslt nccl)
  file(GLOB ${library} CONFIGURE_DEPENDS ${PTXHOST_SOURCE}/${library}*.c)
endforeach()
ptxhost_library(cudart 13 ${cudart} ${PTXHOST_SOURCE}/core.c ${PTXHOST_SOURCE}/check.c ${PTXHOST_SOURCE}/report.c)
ptxhost_library(cublasLt 13 ${cublaslt})
set_source_files_properties(${cublaslt} PROPERTIES COMPILE_OPTIONS -O3)     # which unrolls the tiles: eight times as fast
ptxhost_library(nccl 2 ${nccl})
target_link_libraries(ptxhost_cublasLt PRIVATE ptxhost_cudart)
target_link_libraries(ptxhost_nccl PRIVATE ptxhost_cudart)

# ptxhost_kernels(NAME PTX...) translates and builds ${PTXHOST}/NAME-fast.so, NAME-checked.so, and NAME-contracted.so, whose translation
# fuses products and sums as ptxas may. The compiler may neither fuse what is apart there, nor assume a rounding mode; v3 of x86-64 has the
# instructions that round once.
function(ptxhost_kernels name)
  foreach(as apart contracted)
    set(${as})
    foreach(ptx ${ARGN})
      get_filename_component(stem ${ptx} NAME_WLE)
      set(cpp ${PTXHOST}/${name}/${as}/${stem}.cpp)
      add_custom_command(OUTPUT ${cpp} VERBATIM COMMAND_EXPAND_LISTS DEPENDS ${ptx} ${PTXHOST_SOURCE}/translate.lua ${PTXHOST_SOURCE}/forms.lua
        COMMAND ${CMAKE_COMMAND} -E make_directory ${PTXHOST}/${name}/${as}
        COMMAND ${LUA_PROGRAM} ${PTXHOST_SOURCE}/translate.lua $<$<STREQUAL:${as},contracted>:--contract> ${ptx} ${cpp} COMMENT "translate ${stem}.ptx, ${as}")
      list(APPEND ${as} ${cpp})
    endforeach()
  endforeach()
  add_custom_target(ptxhost_${name}_sources DEPENDS ${apart} ${contracted})
  foreach(how fast checked contracted)
    set(sources ${apart})
    if(how STREQUAL "contracted")
      set(sources ${contracted})
    endif()
    add_library(ptxhost_${name}_${how} MODULE ${sources})
    add_dependencies(ptxhost_${name}_${how} ptxhost_${name}_sources)    # else all would translate at once
    target_include_directories(ptxhost_${name}_${how} PRIVATE ${PTXHOST_SOURCE})
    set_target_properties(ptxhost_${name}_${how} PROPERTIES PREFIX "" OUTPUT_NAME ${name}-${how} LIBRARY_OUTPUT_DIRECTORY ${PTXHOST}
      CXX_STANDARD 17 CXX_EXTENSIONS ON
      COMPILE_OPTIONS "-O1;-w;-march=x86-64-v3;-fno-strict-aliasing;-ffp-contract=off;-frounding-math;$<$<STREQUAL:${how},checked>:-g1;-DPH_CHECK>")
    target_link_libraries(ptxhost_${name}_${how} PRIVATE ptxhost_cudart)
  endforeach()
endfunction()

# ptxhost_suite(NAME SOURCES .. HEADERS .. FLAGS .. SUFFIX ptx): kernels that are tests themselves, compiled by nvcc into
# ${CMAKE_BINARY_DIR}/NAME and translated. SUFFIX: what nvcc calls the PTX that it keeps. Sets `objects`, for a program.
function(ptxhost_suite suite)
  cmake_parse_arguments(PARSE_ARGV 1 S "" "SUFFIX" "SOURCES;HEADERS;FLAGS")
  set(to ${CMAKE_BINARY_DIR}/${suite})
  set(objects)
  set(ptx)
  foreach(source ${S_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    add_custom_command(OUTPUT ${to}/${name}.o ${to}/${name}.${S_SUFFIX} DEPENDS ${source} ${S_HEADERS} VERBATIM
      COMMAND ${CMAKE_COMMAND} -E make_directory ${to}
      COMMAND ${NVCC} -std=c++17 -O3 -lineinfo -Werror all-warnings ${S_FLAGS} --keep --keep-dir ${to} -c ${source} -o ${to}/${name}.o
      COMMENT "nvcc ${name}.cu (${suite})")
    list(APPEND objects ${to}/${name}.o)
    list(APPEND ptx ${to}/${name}.${S_SUFFIX})
  endforeach()
  add_custom_target(ptxhost_${suite}_ptx DEPENDS ${ptx})
  ptxhost_kernels(${suite} ${ptx})
  add_dependencies(ptxhost_${suite}_sources ptxhost_${suite}_ptx)
  set(objects ${objects} PARENT_SCOPE)
endfunction()

# ptxhost_test(NAME COMMAND ... [KERNELS name...] [CHECKED | ROUNDED] [SEEDS n] [ENVIRONMENT ...]): the command on the emulated GPU, with the
# kernels of ptxhost_kernels (none: its own), n times with another schedule each. ROUNDED: as another GPU may round, contracted and under
# jitter. A test that was reported on ends with exit code 86.
function(ptxhost_test name)
  cmake_parse_arguments(PARSE_ARGV 1 T "CHECKED;ROUNDED" "SEEDS" "COMMAND;KERNELS;ENVIRONMENT")
  set(how $<IF:$<BOOL:${T_ROUNDED}>,contracted,$<IF:$<BOOL:${T_CHECKED}>,checked,fast>>)
  list(TRANSFORM T_KERNELS PREPEND ${PTXHOST}/)
  list(TRANSFORM T_KERNELS APPEND -${how}.so)
  list(JOIN T_KERNELS : kernels)
  if(NOT T_SEEDS)
    set(T_SEEDS 1)
  endif()
  set(first 0)
  if(T_ROUNDED)
    set(first 1)
    list(APPEND T_ENVIRONMENT PTXHOST_JITTER=1)
  endif()
  math(EXPR last "${first} + ${T_SEEDS} - 1")
  foreach(seed RANGE ${first} ${last})
    set(full ${name})
    if(T_SEEDS GREATER 1)
      set(full ${name}_seed${seed})
    endif()
    add_test(NAME ${full} COMMAND ${T_COMMAND} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${full} PROPERTIES LABELS cuda
      ENVIRONMENT "LD_LIBRARY_PATH=${PTXHOST};PTXHOST_KERNELS=${kernels};PTXHOST_SEED=${seed};${T_ENVIRONMENT}")
  endforeach()
endfunction()

# The emulator's own tests are one file each: test_NAME.c. On one stream of a library there is nothing to shuffle.
file(GLOB PTXHOST_TESTS CONFIGURE_DEPENDS ${PTXHOST_SOURCE}/test_*.c)
foreach(file ${PTXHOST_TESTS})
  get_filename_component(name ${file} NAME_WE)
  add_executable(ptxhost_${name} ${file})
  target_include_directories(ptxhost_${name} SYSTEM PRIVATE ${CUDA_INCLUDE} ${NCCL_INCLUDE})
  target_link_libraries(ptxhost_${name} PRIVATE ptxhost_cudart ptxhost_cublasLt ptxhost_nccl PkgConfig::CMOCKA Threads::Threads m)
  if(name MATCHES "cublaslt|nccl$")
    ptxhost_test(ptxhost_${name} COMMAND ptxhost_${name})
  else()
    ptxhost_test(ptxhost_${name} COMMAND ptxhost_${name} SEEDS 3)
  endif()
endforeach()

include(${PTXHOST_SOURCE}/planted/planted.cmake)
include(${PTXHOST_SOURCE}/conformance/conformance.cmake)
