# The conformance kit: every form of forms.lua against scalar C, on the emulated GPU; `ptxhost_conformance` alone, on a machine with a GPU,
# against the hardware. Compiled for each of CONFORMANCE_TARGETS, without the forms that came later; the emulated GPU is the last.
set(CONFORMANCE ${CMAKE_BINARY_DIR}/conformance)
set(CONFORMANCE_TARGETS 90 CACHE STRING "GPU architectures for which the conformance kit is compiled, of 80, 90, 100 and 120")
list(GET CONFORMANCE_TARGETS -1 last)
list(LENGTH CONFORMANCE_TARGETS several)
set(code)
foreach(target ${CONFORMANCE_TARGETS})
  list(APPEND code -gencode=arch=compute_${target},code=[sm_${target},compute_${target}])
endforeach()
# What nvcc calls the PTX that it keeps.
set(suffix ptx)
if(several GREATER 1)
  set(suffix compute_${last}.ptx)
endif()
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cu)
file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.h)
set(objects)
set(ptx)
foreach(source ${sources})
  get_filename_component(name ${source} NAME_WE)
  add_custom_command(OUTPUT ${CONFORMANCE}/${name}.o ${CONFORMANCE}/${name}.${suffix} DEPENDS ${source} ${headers} VERBATIM
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CONFORMANCE}
    COMMAND ${NVCC} -std=c++17 -O3 -lineinfo -Werror all-warnings -Xcompiler=-ffp-contract=off,-frounding-math
            ${code} --keep --keep-dir ${CONFORMANCE}
            -c ${source} -o ${CONFORMANCE}/${name}.o
    COMMENT "nvcc ${name}.cu (conformance)")
  list(APPEND objects ${CONFORMANCE}/${name}.o)
  list(APPEND ptx ${CONFORMANCE}/${name}.${suffix})
endforeach()
add_custom_target(ptxhost_conformance_ptx DEPENDS ${ptx})
ptxhost_kernels(conformance ${ptx})
add_dependencies(ptxhost_conformance_sources ptxhost_conformance_ptx)

add_executable(ptxhost_conformance ${objects})
set_target_properties(ptxhost_conformance PROPERTIES LINKER_LANGUAGE CXX)
add_dependencies(ptxhost_conformance ptxhost_conformance_ptx)
target_link_libraries(ptxhost_conformance PRIVATE ptxhost_cudart)
set(profile ENVIRONMENT PTXHOST_ARCH=${last})
ptxhost_test(ptxhost_conformance COMMAND ptxhost_conformance KERNELS conformance SEEDS 3 ${profile})
ptxhost_test(ptxhost_conformance_rounded COMMAND ptxhost_conformance contracted KERNELS conformance ROUNDED ${profile})
ptxhost_test(ptxhost_conformance_checked COMMAND ptxhost_conformance KERNELS conformance CHECKED ${profile})
# Every form has a test.
ptxhost_test(ptxhost_conformance_forms COMMAND sh -c "$<TARGET_FILE:ptxhost_conformance> list | ${LUA_PROGRAM} ${PTXHOST_SOURCE}/translate.lua --untested")
add_test(NAME ptxhost_translate_refuses COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/refused.sh ${LUA_PROGRAM} ${PTXHOST_SOURCE}/translate.lua)
set_tests_properties(ptxhost_translate_refuses PROPERTIES LABELS cuda)
