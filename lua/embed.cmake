# Puts texts into the program, as arrays in one C file, EMBEDDED: the Lua library, lua/sluice/**.lua, and what the
# modules' files say of themselves, the comment that each begins with.
# Included by CMakeLists.txt; runs itself as a script when a file has changed.
set(HOUSE ${CMAKE_CURRENT_LIST_DIR}/..)
if(NOT CMAKE_SCRIPT_MODE_FILE)
  file(GLOB_RECURSE LUA_LIBRARY CONFIGURE_DEPENDS ${HOUSE}/lua/sluice/*.lua)
  file(GLOB MODULE_FILES CONFIGURE_DEPENDS ${HOUSE}/modules/*.c)
  set(EMBEDDED ${CMAKE_BINARY_DIR}/embedded.c)
  add_custom_command(OUTPUT ${EMBEDDED} DEPENDS ${LUA_LIBRARY} ${MODULE_FILES} ${CMAKE_CURRENT_LIST_FILE}
    COMMAND ${CMAKE_COMMAND} -D OUT=${EMBEDDED} -P ${CMAKE_CURRENT_LIST_FILE} VERBATIM)
  return()
endif()

set(texts "")
set(number 0)
macro(embed rows path hex)                                  # a row of the table whose rows are in the variable `rows`
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND texts "static const unsigned char text_${number}[] = { ${bytes} 0 };\n")
  string(APPEND ${rows} "    { \"${path}\", (const char *)text_${number}, sizeof text_${number} - 1 },\n")
  math(EXPR number "${number} + 1")
endmacro()

set(library "")
file(GLOB_RECURSE files RELATIVE ${HOUSE}/lua ${HOUSE}/lua/sluice/*.lua)
list(SORT files)
foreach(file IN LISTS files)
  file(READ ${HOUSE}/lua/${file} hex HEX)
  embed(library ${file} "${hex}")
endforeach()

set(notes "")
file(GLOB files ${HOUSE}/modules/*.c)
list(SORT files)
foreach(file IN LISTS files)
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} text)
  if(NOT text MATCHES "^/\\* ")
    message(FATAL_ERROR "${file}: does not begin with what the module is, /* ... */")
  endif()
  string(FIND "${text}" "*/" end)
  math(EXPR length "${end} - 3")
  string(SUBSTRING "${text}" 3 ${length} text)
  string(STRIP "${text}" text)
  string(REPLACE "\n   " "\n" text "${text}")
  string(HEX "${text}" hex)
  embed(notes ${name} "${hex}")
endforeach()

set(file "#include \"embedded.h\"\n\n${texts}\nconst struct embedded embedded_lua[] = {\n${library}    { 0 }\n};\n")
string(APPEND file "const struct embedded module_notes[] = {\n${notes}    { 0 }\n};\n")
file(CONFIGURE OUTPUT ${OUT} CONTENT "${file}" @ONLY)       # left as it is where nothing has changed
