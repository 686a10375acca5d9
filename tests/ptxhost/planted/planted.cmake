# Planted bugs in kernels and in host code: every one must be reported, and its clean twin must not (ptxhost_planted prints the table).
set(PLANTED ${CMAKE_BINARY_DIR}/planted)
set(objects)
set(ptx)
foreach(name kernels host)
  set(source ${CMAKE_CURRENT_LIST_DIR}/${name}.cu)
  add_custom_command(OUTPUT ${PLANTED}/${name}.o ${PLANTED}/${name}.ptx DEPENDS ${source} ${CMAKE_CURRENT_LIST_DIR}/planted.h VERBATIM
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PLANTED}
    COMMAND ${NVCC} -std=c++17 -O3 -lineinfo -Werror all-warnings -gencode=arch=compute_80,code=[sm_80,compute_80] --keep --keep-dir ${PLANTED}
            -c ${source} -o ${PLANTED}/${name}.o
    COMMENT "nvcc ${name}.cu")
  list(APPEND objects ${PLANTED}/${name}.o)
  list(APPEND ptx ${PLANTED}/${name}.ptx)
endforeach()
add_custom_target(ptxhost_planted_ptx DEPENDS ${ptx})
ptxhost_kernels(planted ${ptx})
add_dependencies(ptxhost_planted_sources ptxhost_planted_ptx)

add_executable(ptxhost_planted ${CMAKE_CURRENT_LIST_DIR}/main.c ${CMAKE_CURRENT_LIST_DIR}/libraries.c ${objects})
add_dependencies(ptxhost_planted ptxhost_planted_ptx ptxhost_planted_checked)
target_include_directories(ptxhost_planted SYSTEM PRIVATE ${CUDA_INCLUDE} ${NCCL_INCLUDE})
target_link_libraries(ptxhost_planted PRIVATE ptxhost_cudart ptxhost_cublasLt ptxhost_nccl stdc++ ${CMAKE_DL_LIBS})
ptxhost_test(ptxhost_planted COMMAND ptxhost_planted KERNELS planted CHECKED)
