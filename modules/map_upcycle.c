/* Dense feed-forwards become experts, copies of them (Komatsuzaki 2022, arXiv 2212.05055). Where experts are G times
   narrower, expert e is the part e mod G of a copy, and the G experts of a copy share one row of the router, so that
   they are chosen together (He 2024, arXiv 2410.07524). What gates take from the sum, `down` makes up for, exactly
   where gates of the chosen sum to a constant, and otherwise as if all experts scored alike; a router that is not
   normalised begins better with small weights. The function stays where it is exact and top_k is a multiple of G.
   reinit: share of an expert's hidden neurons that are drawn anew, as wide as the copied weights are (Drop-Upcycling,
   Nakamura 2025, arXiv 2502.19261). shuffle: each copy is cut in another order (Qwen2-57B-A14B). Shared experts begin
   with draws, and write nothing at first. Layers that are dense here too stay as they are. */
#include "model/module.h"
#include <string.h>

struct conf { double reinit; int shuffle, compensate, tie; };
static const struct param params[] = {
    REAL(struct conf, reinit, 0, 0, 1, "", "share of the hidden neurons of each expert that are drawn anew"),
    BOOL(struct conf, shuffle, false, "each copy's neurons are in an order of their own before it is cut"),
    BOOL(struct conf, compensate, true, "the projection down makes up for what gates take from the sum"),
    BOOL(struct conf, tie, true, "the parts of one copy have one row of the router"),
    { 0 }
};

/* Of one layer: parts of a copy, numbers of experts and of hidden neurons. */
struct cut { int64_t parts, experts, width; };

/* 0 .. n-1 in an order that (seed, layer, what, number) says. */
static int32_t *order_of(struct mapping *m, int layer, const char *what, int64_t number, int64_t n)
{
    int32_t *place = mapping_places(m, n);
    struct key key = { m->seed, PURPOSE_INIT, hash_name(arena_text(m->arena, "layers.%d.%s", layer, what)),
                       (uint64_t)number };
    for (int64_t i = 0; i < n; i++) place[i] = (int32_t)i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t k = (int64_t)key_below(key, (uint64_t)i, (uint64_t)i + 1);
        int32_t other = place[k];
        place[k] = place[i];
        place[i] = other;
    }
    return place;
}

/* Which of the dense feed-forward's neurons those of each expert are, [E,F]; -1: drawn. */
static const int32_t *neurons_of(struct mapping *m, const struct conf *c, int layer, struct cut k)
{
    int32_t *place = mapping_places(m, k.experts * k.width), *all = NULL;
    for (int64_t e = 0; e < k.experts; e++) {
        int64_t part = e % k.parts;
        if (c->shuffle && part == 0) all = order_of(m, layer, "order", e / k.parts, k.parts * k.width);
        for (int64_t f = 0; f < k.width; f++) {
            int64_t from = part * k.width + f;
            place[e * k.width + f] = all ? all[from] : (int32_t)from;
        }
        const int32_t *drawn = order_of(m, layer, "reinit", e, k.width);
        for (int64_t f = 0; f < (int64_t)(c->reinit * (double)k.width); f++) place[e * k.width + drawn[f]] = -1;
    }
    return place;
}

/* What the sum of the chosen experts' gates falls short of. */
static double made_up(struct mapping *m, int layer, struct cut k)
{
    struct traits router = module_traits(module_part(m->model->ffn.pick[layer], SLOT_ROUTER));
    double over[] = { [GATE_ALONE] = 1, [GATE_OVER_CHOSEN] = router.top_k, [GATE_OVER_ALL] = (double)k.experts };
    if (router.gate_level == 0)
        mapping_fail(m, "init.map.compensate: what gates of layer %d begin with is not known: false", layer);
    return (double)k.parts * over[router.gate_over] / (router.top_k * router.gate_level);
}

/* The cut of a layer whose dense feed-forward becomes experts; parts 0: it is none. */
static struct cut cut_of(struct mapping *m, int layer)
{
    const char *rest = "down.weight";
    const struct donated *dense = donor_find(m->donor, arena_text(m->arena, "layers.%d.ffn.%s", layer, rest));
    const struct leaf *experts = leaves_find(m->leaves, arena_text(m->arena, "layers.%d.ffn.experts.%s", layer, rest));
    if (!dense || !experts) return (struct cut){ 0 };
    int64_t width = shape_last(experts->values), all = shape_last(dense->shape);
    struct cut k = { all / width, experts->values.dim[0], width };
    if (all % width == 0 && k.experts % k.parts == 0 && experts->values.dim[1] == dense->shape.dim[0]) return k;
    mapping_fail(m, "%s: %lld experts of width %lld cannot be made of copies of %s, which is %lld wide: the width must "
                    "divide it, and the quotient the number of experts", experts->path, (long long)k.experts,
                 (long long)width, dense->path, (long long)all);
    return (struct cut){ 0 };
}

/* A matrix of the experts, or their biases, of which those behind `down` are added by each part. */
static struct made expert(struct mapping *m, const struct conf *c, const struct leaf *l, int layer, struct cut k,
                          const struct donated *from)
{
    bool down = strstr(l->path, ".down."), matrix = l->values.rank == 3;
    int32_t *first = mapping_places(m, k.experts);
    memset(first, 0, (size_t)k.experts * sizeof *first);
    const int32_t *neurons = neurons_of(m, c, layer, k);
    double by = !down || !c->compensate ? 1 : made_up(m, layer, k) / (matrix ? 1 : (double)k.parts);
    struct donation part = { .from = from, .matrix = first, .by = by, .per_expert = true };
    if (matrix && !down) part.row = neurons;
    else if (matrix || !down) part.column = neurons;
    const char *what = k.parts > 1 ? arena_text(m->arena, "copies in %lld parts", (long long)k.parts) : "copies";
    return mapping_of(m, by == 1 ? what : arena_text(m->arena, "%s, times %g", what, by), 1, &part);
}

/* Rows of the router, whose experts the donor does not know. */
static struct made scores(struct mapping *m, const struct conf *c, const struct leaf *l, int64_t parts)
{
    if (!c->tie || parts <= 1 || l->values.rank != 2) return (struct made){ .drawn = true };
    int32_t *row = mapping_places(m, l->values.dim[0]);
    for (int64_t e = 0; e < l->values.dim[0]; e++) row[e] = (int32_t)(e / parts * parts);
    return mapping_of(m, arena_text(m->arena, "drawn, one row for %lld experts", (long long)parts), 1,
                      &(struct donation){ .row = row, .by = 1 });
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    const struct conf *c = self.conf;
    const char *rest;
    int layer = path_layer(l->path, &rest);
    if (layer < 0 || strncmp(rest, "ffn.", 4) != 0 || donor_find(m->donor, l->path))
        return mapping_as(m, l, l->path, NULL);
    struct cut k = cut_of(m, layer);
    if (strncmp(rest, "ffn.experts.", 12) == 0) {
        const char *path = arena_text(m->arena, "layers.%d.ffn.%s", layer, rest + 12);
        const struct donated *from = donor_find(m->donor, path);
        return from && k.parts ? expert(m, c, l, layer, k, from) : mapping_as(m, l, path, NULL);
    }
    if (l->role == ROLE_ROUTER) return scores(m, c, l, k.parts);
    if (strncmp(rest, "ffn.shared.", 11) == 0 && l->role == ROLE_FFN_DOWN) return mapping_of(m, "zeros", 0, NULL);
    return (struct made){ .drawn = true };
}

const struct module map_upcycle = {
    .slot = SLOT_MAP, .name = "upcycle", .about = "dense feed-forwards become experts",
    .conf_size = sizeof(struct conf), .params = params, .map = map,
};
