/* What the parts of data share: an open corpus is the bounds of its documents and a way to read its tokens. */
#ifndef SLUICE_DATA_CORPUS_H
#define SLUICE_DATA_CORPUS_H

#include "data.h"
#include "base/regular.h"

/* Training documents come first, held-out ones after them: a split is one range of tokens. No document is empty. */
struct corpus {
    struct corpus_info info;
    struct arena *arena;                    /* owns all but the map, this struct included */
    struct map map;                         /* of the file, when there is one */
    const void *tokens;                     /* in the map: info.tokens numbers of token_bytes each */
    int token_bytes;
    const void *language;                   /* of the synthetic corpus */
    const struct generated *generated;      /* of a task, whose tokens are those that are held out; else NULL */
    const uint64_t *bound;                  /* [documents+1]: document d is the tokens bound[d] .. bound[d+1]-1 */
    const uint64_t *answer;                 /* a bit a token: whether it counts as a target; NULL: all do */
    struct layout **layouts;                /* what was laid so far */
    uint64_t train_documents;
    void (*read)(const struct corpus *c, uint64_t first, int64_t count, int32_t *ids);
};

/* Sets tokens, token_bytes and read to numbers that lie in the map at `offset`; each must be below info.vocab. */
int corpus_take_tokens(struct corpus *c, size_t offset, int token_bytes, struct err *e);

/* The same, to ids in memory. */
void corpus_keep_tokens(struct corpus *c, const int32_t *id);

/* The document that holds a token. */
uint64_t corpus_document(const struct corpus *c, uint64_t token);

static inline bool corpus_counts(const struct corpus *c, uint64_t token)
{
    return !c->answer || c->answer[token / 64] >> token % 64 & 1;
}

/* How many of the tokens first .. end-1 count, where there are answers. */
uint64_t corpus_answers(const struct corpus *c, uint64_t first, uint64_t end);

/* Windows of seq + 1 tokens, for data with answers: each holds whole documents, as its last token is a target alone,
   and is filled up; a document that is longer is cut into windows that begin with its beginning, and a rest. What has
   no target is left out. They are of the tokens first .. first + span, and made when they are first asked for. */
struct piece { uint64_t from; int tokens; };                /* of one document */
struct layout {
    uint64_t first, span;
    int seq;
    int64_t n, *begin;                                      /* [n+1]: window w is the pieces begin[w] .. begin[w+1]-1 */
    struct piece *piece;
    struct layout *next;
};
const struct layout *corpus_layout(const struct corpus *c, uint64_t first, uint64_t span, int seq);

/* Place of `index` in a keyed permutation of 0 .. count-1. */
uint64_t corpus_permute(struct key key, uint64_t index, uint64_t count);

/* The formats. Each fills a corpus whose map is open; messages leave the path to the caller. */
enum { VOCAB_MOST = 1 << 20 };              /* as many as a model may have */
struct given { int vocab, token_bytes; };   /* behind the path: ":vocab=N", ":u16" or ":u32"; 0: not given */
int corpus_path_length(const char *path);                   /* of the path alone */
int tokens_open(struct corpus *c, struct given given, struct err *e);
int tokens_verify(const struct corpus *c, struct err *e);
int raw_open(struct corpus *c, const char *path, struct given given, struct err *e);
int llmc_open(struct corpus *c, const char *path, struct given given, struct err *e);
int npy_open(struct corpus *c, const char *path, struct given given, struct err *e);
bool tokens_magic(const struct map *m);
bool llmc_magic(const struct map *m);
bool npy_magic(const struct map *m);
void synthetic_open(struct corpus *c, uint64_t seed);
int generated_open(struct corpus *c, char *path, struct err *e);            /* path: is cut into words */

/* A sample of a task, as an item of one row. */
struct item;
void generated_sample(const struct corpus *c, enum purpose purpose, uint64_t number, struct item *to);
bool generated_blind(const struct corpus *c);               /* whether a model reads blanks in place of answers */

/* Pipes that are named as an input: all that comes is read, then mapped. *cause: errno, when there is no room for
   that. */
bool piped_is(const char *path);
int piped_map(struct map *m, const char *path, int *cause, struct err *e);

/* A file more, in the list of what was packed. */
struct packed_file *packed_add(struct packed *made, const char *path);
int packed_over(const char *path, struct err *e);           /* the error that an input is the output */

#endif
