# Puts the Lua library into the program: lua/sluice/**.lua become arrays in one C file, EMBEDDED_LUA.
# Included by CMakeLists.txt; runs itself as a script when a Lua file has changed.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  file(GLOB_RECURSE LUA_LIBRARY CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/sluice/*.lua)
  set(EMBEDDED_LUA ${CMAKE_BINARY_DIR}/embedded_lua.c)
  add_custom_command(OUTPUT ${EMBEDDED_LUA} DEPENDS ${LUA_LIBRARY} ${CMAKE_CURRENT_LIST_FILE}
    COMMAND ${CMAKE_COMMAND} -D OUT=${EMBEDDED_LUA} -P ${CMAKE_CURRENT_LIST_FILE} VERBATIM)
  return()
endif()

file(GLOB_RECURSE files RELATIVE ${CMAKE_CURRENT_LIST_DIR} ${CMAKE_CURRENT_LIST_DIR}/sluice/*.lua)
list(SORT files)
set(arrays "")
set(rows "")
set(number 0)
foreach(file IN LISTS files)
  file(READ ${CMAKE_CURRENT_LIST_DIR}/${file} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "static const unsigned char file_${number}[] = { ${bytes} 0 };\n")
  string(APPEND rows "    { \"${file}\", (const char *)file_${number}, sizeof file_${number} - 1 },\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUT} "#include \"embedded.h\"\n\n${arrays}\nconst struct embedded embedded_lua[] = {\n${rows}    { 0 }\n};\n")
