/* One file that is taken apart. */
#ifndef SLUICE_DATA_DOCUMENTS_H
#define SLUICE_DATA_DOCUMENTS_H

#include "inputs.h"
#include "jsontext.h"

struct documents {
    const struct walk *walk;
    struct packed_file *file;               /* its name, and what was taken of it */
    const char *at, *end;                   /* its bytes */
    struct jsontext json;
    struct buffer text;
};

/* Whether a file of this name is read as JSON. */
bool documents_json(const char *name, bool compressed);

/* Hands over its documents. In a compressed file's name the last ending does not count. */
int documents_read(struct documents *d, bool compressed, struct err *e);
void documents_free(struct documents *d);

#endif
