/* Where a key is written in the text of a script. */
#ifndef SLUICE_LOCATE_H
#define SLUICE_LOCATE_H

#include "base.h"

struct token { enum token_kind { TOKEN_NAME, TOKEN_STRING, TOKEN_SIGN, TOKEN_OTHER } kind; const char *at; int length, line; };
struct source { const char *path, *text; int n; struct token *token; };

/* Cuts Lua text into tokens that point into it; text must live as long as the source. */
struct source source_read(struct arena *arena, const char *path, const char *text);

/* Looks into the table that the call of `function` at `line` is given: number of characters of the dotted path that
   are written out there as keys ("ffn.router.top_k", or ffn = { router = { top_k), 0 for none; *found: line of the last one. */
size_t source_key(const struct source *s, const char *function, int line, const char *path, int *found);

/* Line at or after `line` where the path stands as one string, as in a list of paths; 0: nowhere. */
int source_string(const struct source *s, int line, const char *path);

#endif
