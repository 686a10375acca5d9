/* The one way to write a file. What is written has no name, or one of its own beside the file, until it is whole and
   on the disk; then it takes the file's place at once. Who opens the file finds the old one or the new one, whatever
   happens meanwhile: a full disk, a signal, a kill, a second writer. Links are followed. A new file's mode is the
   umask's, a file that is replaced keeps its own. What fails says so in e and leaves errno as the system gave it.
   One thread writes files. */
#ifndef SLUICE_FILE_H
#define SLUICE_FILE_H

#include "base.h"
#include <stdio.h>

enum file_kind {
    FILE_ANY,               /* also what has no place to take: devices, FIFOs, "-" for stdout are written as it goes */
    FILE_REGULAR,           /* is read, or written at another place, before its end */
    FILE_NAMED              /* and opened by a name meanwhile, by a library that knows no other way */
};
struct file;
struct file *file_begin(const char *path, enum file_kind kind, struct err *e);
/* Every byte that passes is checked: the first failure is kept for file_commit, and nothing is written after it. */
FILE *file_stream(const struct file *f);
int file_flush(struct file *f);                             /* -1: not all that was written so far has passed */
int file_descriptor(const struct file *f);
const char *file_name(const struct file *f);                /* of FILE_NAMED, until its end */

/* Each ends it and frees f. */
int file_commit(struct file *f, struct err *e);
void file_abandon(struct file *f);                          /* leaves what was there */

int file_sync_folder(const char *path);                     /* what was renamed in it stays so after a power cut */
bool file_is_full(int cause);                               /* an errno that says: no room */

#endif
