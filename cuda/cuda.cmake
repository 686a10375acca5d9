# The CUDA backend: libsluice_cuda.so beside the program. Every cuda/*.cu is compiled once by nvcc, which leaves the PTX of that very
# compilation in ${CUDA_PTX}: the tests execute it on the processor.
set(SLUICE_CUDA AUTO CACHE STRING "Build the CUDA backend: ON, OFF, or AUTO (when the CUDA Toolkit, cuBLASLt and NCCL are found)")
set_property(CACHE SLUICE_CUDA PROPERTY STRINGS ON OFF AUTO)
set(SLUICE_CUDA_TARGETS "80;90;100;120" CACHE STRING "GPU architectures that the backend holds code for; the PTX of the first lets later ones run")

find_program(NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
if(NVCC)
  get_filename_component(CUDA_ROOT ${NVCC} REALPATH)
  get_filename_component(CUDA_ROOT ${CUDA_ROOT}/../.. ABSOLUTE)
endif()
find_path(CUDA_INCLUDE cublasLt.h HINTS ${CUDA_ROOT}/include ${CUDA_ROOT}/targets/x86_64-linux/include)
find_path(NCCL_INCLUDE nccl.h HINTS ${CUDA_ROOT}/include)
foreach(library cudart cublasLt nccl)
  find_library(CUDA_${library} ${library} HINTS ${CUDA_ROOT}/lib64 ${CUDA_ROOT}/lib)
endforeach()
set(missing)
foreach(part NVCC CUDA_INCLUDE NCCL_INCLUDE CUDA_cudart CUDA_cublasLt CUDA_nccl)
  if(NOT ${part})
    list(APPEND missing ${part})
  endif()
endforeach()
string(REPLACE ";" ", " missing "${missing}")

set(CUDA_FOUND FALSE)
if(SLUICE_CUDA STREQUAL "OFF")
  set(CUDA_WHY "SLUICE_CUDA is OFF")
elseif(missing AND SLUICE_CUDA STREQUAL "ON")
  message(FATAL_ERROR "SLUICE_CUDA is ON, but these are not found: ${missing}. Install the CUDA Toolkit (13.0 or later) with cuBLAS and NCCL, or set CUDA_HOME.")
elseif(missing)
  set(CUDA_WHY "not found: ${missing}")
else()
  set(CUDA_FOUND TRUE)
endif()
if(NOT CUDA_FOUND)
  message(STATUS "CUDA backend: not built (${CUDA_WHY}); the CPU backend needs none of it")
  return()
endif()
message(STATUS "CUDA backend: ${NVCC}, for sm_${SLUICE_CUDA_TARGETS}")

set(NVCC_FLAGS -std=c++17 -O3 -lineinfo -Werror all-warnings -Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers,-fPIC,-fvisibility=hidden
    -I${CMAKE_SOURCE_DIR}/runtime -I${CMAKE_SOURCE_DIR}/cuda -I${CUDA_INCLUDE})
# One PTX, of the first target, which all code is assembled from: what the tests execute is what every GPU runs.
list(GET SLUICE_CUDA_TARGETS 0 first)
list(TRANSFORM SLUICE_CUDA_TARGETS PREPEND sm_ OUTPUT_VARIABLE assembled)
list(JOIN assembled "," assembled)
set(CODE "-gencode=arch=compute_${first},code=[compute_${first},${assembled}]")

# The bits of drawn weights, of noise and of FP8 are those of the CPU: no product and sum become one instruction.
set(NVCC_FLAGS_fill -fmad=false)
set(NVCC_FLAGS_noise -fmad=false)
set(NVCC_FLAGS_fp8_matmul -fmad=false)
set(NVCC_FLAGS_nf4_matmul -fmad=false)
set(NVCC_FLAGS_forced_key -fmad=false)
set(NVCC_FLAGS_assign -fmad=false) # and those of bids, which columns are given by

set(CUDA_PTX ${CMAKE_BINARY_DIR}/ptx)
file(GLOB CUDA_KERNELS CONFIGURE_DEPENDS cuda/*.cu)
set(CUDA_OBJECTS)
set(CUDA_PTX_FILES)
foreach(file ${CUDA_KERNELS})
  get_filename_component(name ${file} NAME_WE)
  set(object ${CUDA_PTX}/${name}.o)
  set(ptx ${CUDA_PTX}/${name}/${name}.ptx)
  add_custom_command(OUTPUT ${object} ${ptx} DEPFILE ${object}.d DEPENDS ${file} VERBATIM COMMAND_EXPAND_LISTS
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CUDA_PTX}/${name}
    COMMAND ${NVCC} ${NVCC_FLAGS} ${NVCC_FLAGS_${name}} ${CODE} --keep --keep-dir ${CUDA_PTX}/${name} -MD -MF ${object}.d -c ${file} -o ${object}
    COMMENT "nvcc ${name}.cu")
  list(APPEND CUDA_OBJECTS ${object})
  list(APPEND CUDA_PTX_FILES ${ptx})
endforeach()

file(GLOB CUDA_HOST CONFIGURE_DEPENDS cuda/*.c)
add_library(sluice_cuda SHARED ${CUDA_HOST} ${CUDA_OBJECTS} runtime/base/base.c runtime/base/mesh.c runtime/base/process.c
  runtime/base/shape.c)
add_dependencies(sluice sluice_cuda)
target_include_directories(sluice_cuda PRIVATE runtime cuda)
target_include_directories(sluice_cuda SYSTEM PRIVATE ${CUDA_INCLUDE} ${NCCL_INCLUDE})
target_compile_options(sluice_cuda PRIVATE -fvisibility=hidden)
target_link_libraries(sluice_cuda PRIVATE ${CUDA_cudart} ${CUDA_cublasLt} PkgConfig::XXHASH stdc++ m ${CMAKE_DL_LIBS})
get_filename_component(nccl_folder ${CUDA_nccl} DIRECTORY)  # loaded when there are several ranks
set_target_properties(sluice_cuda PROPERTIES BUILD_RPATH "${CUDA_ROOT}/lib64;${nccl_folder}" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
install(TARGETS sluice_cuda LIBRARY DESTINATION bin)
if(NOT SLUICE_SANITIZE)
  target_link_options(sluice_cuda PRIVATE -Wl,--no-undefined)
endif()
