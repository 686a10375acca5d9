/* Windows of whole documents by best fit: from the longest document to the shortest, each goes into the window with the
   least room that is enough. Ding 2024 (arXiv 2404.10830). */
#include "corpus.h"

#include <stdlib.h>
#include <string.h>

struct pieces { struct piece *piece; int64_t n, room; };

/* Unless none of its tokens is a target. */
static void add_piece(struct pieces *p, const struct corpus *c, uint64_t from, uint64_t tokens)
{
    if (corpus_answers(c, from + 1, from + tokens) == 0) return;
    if (p->n == p->room) {
        p->room = 2 * p->room + 64;
        p->piece = xrealloc(p->piece, (size_t)p->room * sizeof *p->piece);
    }
    p->piece[p->n++] = (struct piece){ from, (int)tokens };
}

/* Documents in the order of the file; a longer one is cut into windows that share one token, and a rest. */
static struct pieces cut(const struct corpus *c, const struct layout *l)
{
    struct pieces p = { 0 };
    uint64_t end = l->first + l->span + 1, seq = (uint64_t)l->seq;
    for (uint64_t d = corpus_document(c, l->first); d < c->info.documents && c->bound[d] < end; d++) {
        uint64_t from = c->bound[d], stop = c->bound[d + 1] < end ? c->bound[d + 1] : end;
        for (; stop - from > seq + 1; from += seq) add_piece(&p, c, from, seq + 1);
        add_piece(&p, c, from, stop - from);
    }
    return p;
}

/* Counting sort: orders `item` 0 .. n-1 by key, of equal keys the earlier first. begin [keys+1]: where each begins. */
static void sort(const int64_t *key, int64_t n, int64_t keys, int64_t *item, int64_t *begin)
{
    memset(begin, 0, (size_t)(keys + 1) * sizeof *begin);
    for (int64_t i = 0; i < n; i++) begin[key[i] + 1]++;
    for (int64_t k = 0; k < keys; k++) begin[k + 1] += begin[k];
    for (int64_t i = 0; i < n; i++) item[begin[key[i]]++] = i;
    memmove(begin + 1, begin, (size_t)keys * sizeof *begin);
    begin[0] = 0;
}

/* Windows with as much room are a list. None has more than what the shortest that opened one has left over. */
static int64_t fit(const struct pieces *p, int tokens, const int64_t *longest, int64_t *window)
{
    int64_t n = 0, *first = xmalloc((size_t)(tokens + 1) * sizeof *first), *next = xmalloc((size_t)p->n * sizeof *next);
    int widest = 0;
    for (int r = 0; r <= tokens; r++) first[r] = -1;
    for (int64_t i = 0; i < p->n; i++) {
        int length = p->piece[longest[i]].tokens, room = length;
        while (room <= widest && first[room] < 0) room++;
        int64_t w = room <= widest ? first[room] : n++;
        if (room <= widest) first[room] = next[w];
        else room = tokens, widest = tokens - length;
        next[w] = first[room - length];
        first[room - length] = w;
        window[longest[i]] = w;
    }
    free(first);
    free(next);
    return n;
}

static void lay(struct layout *l, const struct corpus *c)
{
    struct pieces p = cut(c, l);
    int tokens = l->seq + 1;
    size_t bytes = (size_t)p.n * sizeof(int64_t);
    int64_t *key = xmalloc(bytes), *order = xmalloc(bytes),
            *by_length = xmalloc((size_t)(tokens + 1) * sizeof *by_length);
    for (int64_t i = 0; i < p.n; i++) key[i] = tokens - p.piece[i].tokens;
    sort(key, p.n, tokens, order, by_length);
    l->n = fit(&p, tokens, order, key);
    l->begin = arena_alloc(c->arena, (size_t)(l->n + 1) * sizeof *l->begin);
    l->piece = arena_alloc(c->arena, (size_t)p.n * sizeof *l->piece);
    sort(key, p.n, l->n, order, l->begin);
    for (int64_t i = 0; i < p.n; i++) l->piece[i] = p.piece[order[i]];
    free(key);
    free(order);
    free(by_length);
    free(p.piece);
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
