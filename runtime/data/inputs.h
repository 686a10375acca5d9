/* From what people have to documents: walking, decompressing, recognising, taking apart. */
#ifndef SLUICE_DATA_INPUTS_H
#define SLUICE_DATA_INPUTS_H

#include "examples.h"
#include "bytes.h"
#include "corpus.h"

#include <sys/stat.h>

/* counts: of each byte, whether it counts as a target; NULL: it is text, of which all do. */
struct sink { void (*document)(struct sink *to, const char *text, const char *counts, size_t bytes); };

/* Walks a file, or a folder in the order of its names, hands over each non-empty document, and notes in `made` what of
   each file was taken or left. What a folder holds beside text is left with the reason; named itself it is an error. */
struct walk {
    const struct pack_options *options;
    struct examples *examples;               /* of examples; NULL: of text */
    struct sink *to;
    struct packed *made;
    const char *folder;                     /* where compressed inputs are spread out */
    struct stat temporary, output;          /* what is being written, and what it will replace: no input */
    bool replaces;
};
int inputs_walk(const struct walk *w, const char *path, struct err *e);

/* Replaces the mapped bytes of a gzip or zstd file by what they hold. *cause: errno, when there is no room for that. */
int inflate_map(struct map *m, const char *folder, bool *compressed, int *cause, struct err *e);

/* What a file is by a magic number of so many bytes or more, with what to do about it; NULL: of none that is known. */
const char *sniff_magic(const struct map *m, int least);
/* The same, or why its first bytes are no text; NULL: they are. */
const char *sniff_other(const struct map *m);

/* The text of a page: without tags, scripts and styles, entities decoded, blocks on lines of their own. */
void html_text(const char *page, size_t bytes, struct buffer *to);

#endif
