/* A wider model of the same function: of what is wider each part is a copy, and what reads copies has its weights
   shared out among them (Net2Net, Chen 2015; HyperCloning, Samragh 2024, arXiv 2409.12903). Widths are whole multiples,
   of the stream, of feed-forwards, of the number of heads; the width of a head and the number of experts stay. noise:
   the shares of one weight differ by draws that cancel out, without which copies learn alike for ever. */
#include "model/module.h"
#include <string.h>

struct conf { double noise; };
static const struct param params[] = {
    REAL(struct conf, noise, 0.1, 0, 1, "", "share by which the weights of copies differ"),
    { 0 }
};

/* Places 0 .. of-1, again and again. */
static int32_t *again(struct mapping *m, int64_t matrices, int64_t n, int64_t of)
{
    int32_t *place = mapping_places(m, matrices * n);
    for (int64_t i = 0; i < matrices * n; i++) place[i] = (int32_t)(i % n % of);
    return place;
}

/* Whether a row is looked up, or a value a factor on its own channel: columns are no inputs. */
static bool is_read(const struct leaf *l)
{
    return l->values.rank > 1 && l->role != ROLE_EMBED && l->role != ROLE_TABLE && l->role != ROLE_TAPS;
}

/* Of a head that is the embedding: logits are sums over copies. */
static double of_tied(struct mapping *m, const struct leaf *l, double wider)
{
    if (strcmp(l->path, "final_norm.gain") != 0 || !module_traits(m->model->head).tied) return 1;
    if (l->init.value == 0)
        mapping_fail(m, "%s: a tied head reads what is %g times as wide, and the gain of a zero-centred norm cannot "
                        "make up for it: head.tied = false", l->path, wider);
    return 1 / wider;
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    const struct conf *c = self.conf;
    const struct donated *from = donor_find(m->donor, l->path);
    if (!from || shape_equal(from->shape, l->values)) return mapping_as(m, l, l->path, NULL);
    struct stack to = shape_stack(l->values), of = shape_stack(from->shape);
    if (to.matrices != of.matrices || to.rows % of.rows != 0 || to.columns % of.columns != 0)
        return mapping_as(m, l, l->path, NULL);
    int64_t taller = to.rows / of.rows, wider = to.columns / of.columns;
    struct donation part = { .from = from, .by = is_read(l) ? 1 / (double)wider : of_tied(m, l, (double)wider) };
    if (taller > 1) part.row = again(m, to.matrices, to.rows, of.rows);
    if (wider > 1) part.column = again(m, to.matrices, to.columns, of.columns);
    if (wider > 1 && is_read(l)) part.uneven = c->noise;
    const char *how = arena_text(m->arena, "%lld x %lld copies", (long long)taller, (long long)wider);
    return mapping_of(m, part.by == 1 ? how : arena_text(m->arena, "%s, times %g", how, part.by), 1, &part);
}

const struct module map_widen = {
    .slot = SLOT_MAP, .name = "widen", .about = "a wider model of the same function",
    .conf_size = sizeof(struct conf), .params = params, .map = map,
};
