/* Texts that are made: as printf makes them, and what many messages end with. */
#ifndef SLUICE_TEXT_H
#define SLUICE_TEXT_H

char *text_new(const char *format, ...) __attribute__((format(printf, 1, 2)));        /* malloc'd */

/* " (did you mean 'x'?)" of what nearest_name found; "" of NULL. */
enum { HINT = 96 };
const char *did_you_mean(const char *near, char out[HINT]);

#endif
