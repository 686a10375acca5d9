/* The list of what went into a token file. */
#include "corpus.h"

#include <stdlib.h>

struct packed_file *packed_add(struct packed *made, const char *path)
{
    if (made->n_files == made->room) {
        made->room = 2 * made->room + 16;
        made->file = xrealloc(made->file, (size_t)made->room * sizeof *made->file);
    }
    made->file[made->n_files] = (struct packed_file){ .path = arena_text(made->arena, "%s", path) };
    return &made->file[made->n_files++];
}

int packed_over(const char *path, struct err *e)
{
    return err_set(e, "%s: is an input, and what is packed would be written over it: give another file with -o", path);
}

void packed_free(struct packed *made)
{
    if (made->arena) arena_free(made->arena);
    free(made->file);
    *made = (struct packed){ 0 };
}
