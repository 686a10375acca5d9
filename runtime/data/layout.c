/* Windows of whole documents: in the order of the file, as many as fit. */
#include "corpus.h"

#include <string.h>

/* Of the tokens that follow `from`, unless none counts. */
static void put(struct layout *l, const struct corpus *c, uint64_t from, uint64_t targets)
{
    if (corpus_answers(c, from + 1, from + 1 + targets) == 0) return;
    if (l->n == l->room) {
        struct window *more = arena_alloc(c->arena, (size_t)(2 * l->room + 64) * sizeof *more);
        if (l->n) memcpy(more, l->window, (size_t)l->n * sizeof *more);
        l->window = more;
        l->room = 2 * l->room + 64;
    }
    l->window[l->n++] = (struct window){ from, (int)targets };
}

static void lay(struct layout *l, const struct corpus *c)
{
    uint64_t from = l->first, end = l->first + l->span + 1, seq = (uint64_t)l->seq;
    for (uint64_t d = corpus_document(c, from); d < c->info.documents && c->bound[d] < end; d++) {
        uint64_t begin = c->bound[d], stop = c->bound[d + 1] < end ? c->bound[d + 1] : end;
        if (begin > from && stop - from - 1 > seq) {        /* it does not fit behind those before it */
            put(l, c, from, begin - from - 1);
            from = begin;
        }
        for (; stop - from - 1 > seq; from += seq) put(l, c, from, seq);
    }
    put(l, c, from, end - from - 1);
}

const struct layout *corpus_layout(const struct corpus *c, uint64_t first, uint64_t span, int seq)
{
    for (const struct layout *l = *c->layouts; l; l = l->next)
        if (l->first == first && l->span == span && l->seq == seq) return l;
    struct layout *l = arena_alloc(c->arena, sizeof *l);
    *l = (struct layout){ .first = first, .span = span, .seq = seq, .next = *c->layouts };
    if (span) lay(l, c);
    *c->layouts = l;
    return l;
}
