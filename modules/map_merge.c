/* Experts become fewer: of each m, as they stand or as `experts` groups them, one is made. Experts as wide as before
   are their mean (M-SMoE, Li 2023, arXiv 2310.01334). Experts m times as wide have all of their neurons, side by side:
   what map `split` has cut is whole again, and the function stays where those of a group were chosen together. Rows of
   the router are means; what balancing adds to scores is too, or the sum where `split` has shared it out. */
#include "model/module.h"

struct conf { struct ints experts; };
static const struct param params[] = {
    INTS(struct conf, experts, 0, 4095,
         "the other model's experts, from 0, in the order in which they are grouped; {}: as they stand"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    for (int i = 0; i < c->experts.n; i++) {
        int e = c->experts.value[i], k = 0;
        while (c->experts.value[k] != e) k++;
        if (k < i) module_problem(problems, path, "experts", "%d: is named twice", e);
        if (e >= c->experts.n)
            module_problem(problems, path, "experts", "%d: %d experts are named, which are counted from 0", e,
                           c->experts.n);
    }
}

/* Which experts come j-th in the groups, for each place; idle ones stay. */
static const int32_t *members(struct mapping *m, const struct conf *c, const struct expert_stacks *x, int64_t of,
                              int64_t j)
{
    int32_t *place = mapping_places(m, x->places);
    for (int64_t e = 0; e < x->places; e++) {
        int64_t i = e * of + j;
        place[e] = (int32_t)(e >= x->own ? e - x->own + x->its : c->experts.n ? c->experts.value[i] : i);
    }
    return place;
}

/* Neurons 0 .. n-1 of every expert, in the j-th of `of` stretches as long; elsewhere nothing. */
static const int32_t *stretch(struct mapping *m, const struct expert_stacks *x, int64_t n, int64_t of, int64_t j)
{
    int32_t *place = mapping_places(m, x->own * of * n);
    for (int64_t i = 0; i < x->own * of * n; i++)
        place[i] = i / n % of == j ? (int32_t)(i % n) : PLACE_NONE;
    return place;
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    const struct conf *c = self.conf;
    struct expert_stacks x;
    if (!mapping_expert_stacks(m, l, &x)) return mapping_as(m, l, l->path, NULL);
    int64_t of = x.its / x.own;
    bool beside = of > 1 && x.own_width == of * x.its_width;
    if (x.its % x.own != 0 || (!beside && x.own_width != x.its_width))
        return mapping_fail(m, "%s: %lld experts of width %lld cannot be made of %lld of width %lld: as many must come "
                               "to each, and they are as wide, or as wide as these together", l->path,
                            (long long)x.own, (long long)x.own_width, (long long)x.its, (long long)x.its_width);
    if (c->experts.n && c->experts.n != x.its)
        return mapping_fail(m, "init.map.experts: names %d experts, and %s has %lld", c->experts.n, m->start->run,
                            (long long)x.its);
    struct stack to = stack_of_experts(l->values), its = stack_of_experts(x.from->shape);
    struct donation *part = arena_alloc(m->arena, (size_t)of * sizeof *part);
    bool taller = to.rows != its.rows, wider = to.columns != its.columns;
    double by = beside ? 1 / mapping_parted(m, l, x.layer, of) : 1;
    for (int64_t j = 0; j < of; j++)
        part[j] = (struct donation){
            .from = x.from, .per_expert = true, .matrix = members(m, c, &x, of, j),
            .row = taller ? stretch(m, &x, its.rows, of, j) : NULL,
            .column = wider ? stretch(m, &x, its.columns, of, j) : NULL, .by = taller || wider ? by : by / (double)of,
        };
    const char *how = arena_text(m->arena, taller || wider ? "%lld side by side" : part->by == 1 ? "sum of %lld"
                                                           : "mean of %lld", (long long)of);
    bool scaled = (taller || wider) && by != 1;
    return mapping_of(m, scaled ? arena_text(m->arena, "%s, times %g", how, by) : how, (int)of, part);
}

const struct module map_merge = {
    .slot = SLOT_MAP, .name = "merge", .about = "experts become fewer: several are made one",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .map = map,
};
