/* Where a key is written in the text of a script. */
#ifndef SLUICE_LOCATE_H
#define SLUICE_LOCATE_H

#include "base/base.h"

/* Of a table's opening brace: pair, the index of its closing one; seen, the parts of the path that query looked into it
   with. */
struct token {
    enum token_kind { TOKEN_NAME, TOKEN_STRING, TOKEN_SIGN, TOKEN_OTHER } kind;
    const char *at;
    int length, line, pair, query;
    uint64_t seen;
};
struct definition { const char *name; int length, table; };  /* name = {, at token[table] */
struct source {
    struct arena *arena; const char *path, *text;           /* text must live as long as the source */
    int n, n_definitions, queries; struct token *token; struct definition *definition;    /* cut up when first asked */
};

/* Looks into the table that the call of `function` at `line` is given: number of characters of the dotted path that
   are written out there as keys ("ffn.router.top_k", or ffn = { router = { top_k), 0 for none; *found: line of the last
   one. A table is looked into once for each part of the path, whatever names it. */
size_t source_key(struct source *s, const char *function, int line, const char *path, int *found);

/* Line at or after `line` where the path stands as one string, as in a list of paths; 0: nowhere. */
int source_string(struct source *s, int line, const char *path);

#endif
