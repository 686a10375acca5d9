/* Experts of the other model cut into `parts` narrower ones, of which `parts` times as many are chosen: m N experts of
   width F / m (DeepSeekMoE, Dai 2024). The parts of one have its row of the router, so that they are chosen together,
   and the function stays, for the gates of parts add up: where scores compete or are normalised each part gets 1 / m of
   the gate, which `down` makes up for. */
#include "model/module.h"

struct conf { int parts; };
static const struct param params[] = {
    INT(struct conf, parts, 2, 2, 64, "", "experts that each becomes"),
    { 0 }
};

/* Which of its whole's `parts` times n neurons expert e has, for each e. */
static int32_t *neurons(struct mapping *m, int64_t experts, int64_t n, int parts)
{
    int32_t *place = mapping_places(m, experts * n);
    for (int64_t i = 0; i < experts * n; i++) place[i] = (int32_t)(i / n % parts * n + i % n);
    return place;
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    const struct conf *c = self.conf;
    struct expert_stacks x;
    bool fits = mapping_expert_stacks(m, l, &x) && x.places == x.own && x.own == x.its * c->parts &&
                x.own_width * c->parts == x.its_width;
    if (!fits) return mapping_as(m, l, l->path, NULL);
    struct stack to = stack_of_experts(l->values), of = stack_of_experts(x.from->shape);
    int32_t *whole = mapping_places(m, x.own);
    for (int64_t e = 0; e < x.own; e++) whole[e] = (int32_t)(e / c->parts);
    struct donation part = { .from = x.from, .matrix = whole, .by = mapping_parted(m, l, x.layer, c->parts),
                             .per_expert = true };
    if (to.rows != of.rows) part.row = neurons(m, x.own, to.rows, c->parts);
    if (to.columns != of.columns) part.column = neurons(m, x.own, to.columns, c->parts);
    const char *how = arena_text(m->arena, part.row || part.column ? "in %d parts" : "each %d times", c->parts);
    return mapping_of(m, part.by == 1 ? how : arena_text(m->arena, "%s, times %g", how, part.by), 1, &part);
}

const struct module map_split = {
    .slot = SLOT_MAP, .name = "split", .about = "experts are cut into several narrower ones",
    .conf_size = sizeof(struct conf), .params = params, .map = map,
};
