# What kernels and a training step may use: ptxas takes the PTX that the tests execute for every target, which is also
# how a build for one target shows that the others can be had; tests hold what it says, the PTX and a step's launches
# against the rules.
find_program(PTXAS ptxas HINTS ${CUDA_ROOT}/bin REQUIRED)
set(GATES ${CMAKE_CURRENT_LIST_DIR})
set(LOGS)
foreach(ptx ${CUDA_PTX_FILES})
  get_filename_component(folder ${ptx} DIRECTORY)
  get_filename_component(name ${folder} NAME)
  foreach(target 80 90 100 120)
    set(log ${folder}/sm_${target}.txt)
    add_custom_command(OUTPUT ${log} DEPENDS ${ptx} ${GATES}/assemble.sh VERBATIM
      COMMAND sh ${GATES}/assemble.sh ${PTXAS} ${target} ${ptx} ${log} COMMENT "ptxas ${name} for sm_${target}")
    list(APPEND LOGS ${log})
  endforeach()
endforeach()
list(JOIN CUDA_PTX_FILES "\n" text)
file(GENERATE OUTPUT ${CUDA_PTX}/list.txt CONTENT "${text}\n")
add_custom_target(cuda_resources ALL DEPENDS ${LOGS})

add_test(NAME cuda_kernels COMMAND ${LUA_PROGRAM} ${GATES}/budget.lua kernels ${CMAKE_BINARY_DIR} WORKING_DIRECTORY
    ${CMAKE_SOURCE_DIR})
add_test(NAME cuda_opcodes COMMAND ${LUA_PROGRAM} ${GATES}/opcodes.lua ${CMAKE_BINARY_DIR} WORKING_DIRECTORY
    ${CMAKE_SOURCE_DIR})
add_test(NAME cuda_launches COMMAND ${LUA_PROGRAM} ${GATES}/budget.lua launches ${CMAKE_BINARY_DIR} WORKING_DIRECTORY
    ${CMAKE_SOURCE_DIR})
set_tests_properties(cuda_kernels cuda_opcodes cuda_launches PROPERTIES LABELS cuda)
