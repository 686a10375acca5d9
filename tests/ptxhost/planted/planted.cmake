# Planted bugs in kernels and in host code: every one must be reported, and its clean twin must not (ptxhost_planted prints the table).
ptxhost_suite(planted SOURCES ${CMAKE_CURRENT_LIST_DIR}/kernels.cu ${CMAKE_CURRENT_LIST_DIR}/host.cu
  HEADERS ${CMAKE_CURRENT_LIST_DIR}/planted.h SUFFIX ptx FLAGS -gencode=arch=compute_80,code=[sm_80,compute_80])
add_executable(ptxhost_planted ${CMAKE_CURRENT_LIST_DIR}/main.c ${CMAKE_CURRENT_LIST_DIR}/libraries.c ${objects})
add_dependencies(ptxhost_planted ptxhost_planted_ptx ptxhost_planted_checked)
target_include_directories(ptxhost_planted SYSTEM PRIVATE ${CUDA_INCLUDE} ${NCCL_INCLUDE})
target_link_libraries(ptxhost_planted PRIVATE ptxhost_cudart ptxhost_cublasLt ptxhost_nccl stdc++ ${CMAKE_DL_LIBS})
ptxhost_test(ptxhost_planted COMMAND ptxhost_planted KERNELS planted CHECKED)
