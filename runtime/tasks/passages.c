/* Documents in windows that overlap. A newline stands before the first byte, as before a question. */
#include "passages.h"
#include "data/bytes.h"

#include <stdlib.h>

enum { BYTES = 256, AT_ONCE = 4096 };

/* Of one window: to which document its score goes. */
struct part { int document; struct score score; };
struct reading {
    struct passages *to;
    struct scorer *scorer;
    int longest, stride;
    struct item row;
    struct buffer text;                     /* of a document: a newline, then its bytes, as int32 */
    struct part **part; int parts, room;
};

static struct score *score_of(struct reading *r, int document)
{
    if (r->parts == r->room) r->part = arena_more(r->to->arena, r->part, &r->room, sizeof *r->part);
    struct part *p = r->part[r->parts++] = arena_alloc(r->to->arena, sizeof *p);
    p->document = document;
    return &p->score;
}

/* Tokens up to `end`, of which those from `first` on are predicted. */
static void put_window(struct reading *r, const int32_t *id, int64_t first, int64_t end, int document)
{
    int64_t from = end > r->longest ? end - r->longest : 0;
    item_clear(&r->row);
    item_begin(&r->row);
    for (int64_t t = from; t < end; t++) item_put(&r->row, id[t], t >= first);
    score_put(r->scorer, &r->row.row[0], score_of(r, document));
}

/* id: a newline, then the n bytes. */
static void put_document(struct reading *r, const int32_t *id, int64_t n)
{
    struct passages *p = r->to;
    int64_t first = 1, end = n + 1 < r->longest ? n + 1 : r->longest;
    if (p->n == p->room) {
        int room = p->room;
        p->nats = arena_more(p->arena, p->nats, &room, sizeof *p->nats);
        p->bytes = arena_more(p->arena, p->bytes, &p->room, sizeof *p->bytes);
    }
    for (; first < n + 1; first = end, end = end + r->stride < n + 1 ? end + r->stride : n + 1)
        put_window(r, id, first, end, p->n);
    p->bytes[p->n++] = (double)n;
}

static void put_byte(struct reading *r, int32_t id, bool ends)
{
    buffer_append(&r->text, &id, sizeof id);
    if (!ends) return;
    put_document(r, (const int32_t *)(const void *)r->text.bytes, (int64_t)(r->text.used / sizeof id) - 1);
    r->text.used = sizeof id;
}

/* A document ends where the next target is another's. */
static void put_all(struct reading *r, const struct corpus *c, const struct eval_set *set)
{
    struct inputs in = inputs_new(1, AT_ONCE);
    int64_t windows = eval_windows(c, set, AT_ONCE);
    int32_t last = '\n';
    buffer_append(&r->text, &last, sizeof last);
    for (int64_t w = 0; w < windows; w++) {
        corpus_eval_batch(c, set, w, 1, AT_ONCE, in);
        for (int t = 0; t < AT_ONCE && in.present[t] != 0; t++) {
            put_byte(r, in.ids[t], in.weight[t] == 0);
            last = in.target[t];
        }
    }
    put_byte(r, last, true);
    inputs_free(in);
}

int passages_read(struct passages *to, const struct corpus *c, const struct passages_how *how, struct scorer *s,
                  struct err *e)
{
    const struct corpus_info *i = corpus_info(c);
    struct eval_set set = corpus_eval_set(c, how->tokens);
    if (strcmp(i->tokenizer, "byte") || score_vocab(s) != BYTES)
        return err_set(e, "%s: bits per byte are of text in bytes, and of a model of bytes", i->path);
    if (i->answers) return err_set(e, "%s: has answers, of which alone a loss is known: must be text", i->path);
    if (set.targets == 0) return err_set(e, "%s: nothing is held out to ask with", i->path);
    *to = (struct passages){ .arena = arena_new() };
    int longest = how->longest ? how->longest : score_longest(s);
    struct reading r = { .to = to, .scorer = s, .longest = longest,
                         .stride = how->stride ? how->stride : longest / 2 };
    put_all(&r, c, &set);
    score_flush(s);
    for (int k = 0; k < r.parts; k++) to->nats[r.part[k]->document] -= r.part[k]->score.ll;
    item_free(&r.row);
    free(r.text.bytes);
    return 0;
}

void passages_free(struct passages *p)
{
    if (p->arena) arena_free(p->arena);
    *p = (struct passages){ 0 };
}
