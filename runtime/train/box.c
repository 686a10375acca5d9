/* What two boxes have in common, copied in runs as long as they lie end to end in both. */
#include "box.h"

#include <string.h>

int64_t box_count(const struct box *b)
{
    int64_t n = 1;
    for (int d = 0; d < b->rank; d++) n *= b->extent[d];
    return n;
}

static struct box common(const struct box *a, const struct box *b)
{
    struct box c = { .rank = a->rank };
    for (int d = 0; d < a->rank; d++) {
        int64_t ends_a = a->begin[d] + a->extent[d], ends_b = b->begin[d] + b->extent[d],
                end = ends_a < ends_b ? ends_a : ends_b;
        c.begin[d] = a->begin[d] > b->begin[d] ? a->begin[d] : b->begin[d];
        c.extent[d] = end > c.begin[d] ? end - c.begin[d] : 0;
    }
    return c;
}

bool box_meets(const struct box *a, const struct box *b)
{
    struct box c = common(a, b);
    return box_count(&c) > 0;
}

/* Dimensions before `outer` are walked, the others lie in runs of so many bytes; steps in bytes. */
struct walk { struct box box; int outer; size_t run, from_step[BOX_RANK], to_step[BOX_RANK]; };

static void go(const struct walk *w, int d, const char *from, char *to)
{
    if (d == w->outer) { memcpy(to, from, w->run); return; }
    for (int64_t i = 0; i < w->box.extent[d]; i++)
        go(w, d + 1, from + (size_t)i * w->from_step[d], to + (size_t)i * w->to_step[d]);
}

/* Bytes from one place to the next along each dimension; returns where a place of the array lies. */
static size_t steps(const struct box *b, const int64_t *place, size_t element, size_t *step)
{
    size_t at = 0, next = element;
    for (int d = b->rank - 1; d >= 0; d--) {
        step[d] = next;
        at += (size_t)(place[d] - b->begin[d]) * next;
        next *= (size_t)b->extent[d];
    }
    return at;
}

void box_copy(const struct box *of, const void *from, const struct box *into, void *to, size_t element)
{
    struct walk w = { .box = common(of, into), .outer = of->rank, .run = element };
    if (box_count(&w.box) == 0) return;
    size_t there = steps(of, w.box.begin, element, w.from_step), here = steps(into, w.box.begin, element, w.to_step);
    for (bool whole = true; whole && w.outer > 0; ) {
        int d = --w.outer;
        w.run *= (size_t)w.box.extent[d];
        whole = w.box.extent[d] == of->extent[d] && w.box.extent[d] == into->extent[d];
    }
    go(&w, 0, (const char *)from + there, (char *)to + here);
}
