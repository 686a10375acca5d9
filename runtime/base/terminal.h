/* What may be written to a terminal. */
#ifndef SLUICE_TERMINAL_H
#define SLUICE_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* Whether escape codes, of colours and of a cursor that moves, mean something there: no file, TERM=dumb or NO_COLOR. */
bool terminal_obeys(int fd);

/* Text from anywhere (malloc'd, UTF-8): what controls a terminal, hides or reorders becomes \u{1b}, a byte that is no
   UTF-8 \xff. Line ends and tabs stay. */
char *terminal_text(const char *text, size_t size);

#endif
