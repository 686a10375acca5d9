/* Reading files that people name: regular ones and nothing else, opened without waiting for anybody. Messages leave the
   path to the caller. */
#ifndef SLUICE_REGULAR_H
#define SLUICE_REGULAR_H

#include "base.h"

/* A descriptor, or -1. A named pipe would be waited for, a device may answer without end, a folder holds no bytes. */
int regular_open(const char *path, struct err *e);
/* All of a file of at most `most` bytes, whole MiB, malloc'd and ended by a zero; NULL: it cannot be had. */
char *regular_text(const char *path, size_t most, size_t *size, struct err *e);
const char *regular_kind(unsigned mode);                    /* of a st_mode that is no regular file's: "a named pipe" */

/* A whole file in memory; an empty one is bytes NULL, size 0. Where it is cut short while it is mapped, what is gone
   reads as zeros: whoever has read asks whether it was whole. Of a file that was not, unless that was asked,
   regular_unmap ends the process with its name and exit code 4. */
struct map { const unsigned char *bytes; size_t size; };
int regular_map(struct map *m, const char *path, struct err *e);
void regular_unmap(struct map *m);
int regular_whole(const struct map *m, struct err *e);      /* its message has the path */

#endif
