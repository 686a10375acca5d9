# Writes the revision of the source, as git describes it, into a C file; untouched when it is the same as before.
execute_process(COMMAND git --no-optional-locks describe --always --dirty --tags WORKING_DIRECTORY ${SOURCE}
                OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT revision)
  set(revision unknown)
endif()
set(text "#include \"train/train.h\"\n\nconst char train_revision[] = \"${revision}\";\n")
set(before "")
if(EXISTS ${FILE})
  file(READ ${FILE} before)
endif()
if(NOT "${text}" STREQUAL "${before}")
  file(WRITE ${FILE} "${text}")
endif()
