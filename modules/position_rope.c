/* Rotary positions, on a share of each head: pairs (i, i + width/2) rotate by p * base^(-2i/width). Su 2021; the
   unrotated dimensions match content alone. where = proportional keeps the whole head's frequencies and rotates the
   fastest of them only (Gemma 4), so it is not first or last with the dimensions moved. */
#include "model/module.h"
#include <math.h>

struct conf { double base, fraction; int where; };
static const struct param params[] = {
    REAL(struct conf, base, 10000, 2, 1e9, "", "ratio of the slowest to the fastest frequency"),
    REAL(struct conf, fraction, 1, 0.0078125, 1, "", "share of each head that rotates"),
    CHOICE(struct conf, where, ROPE_LAST, "first last proportional", "which dimensions of the head rotate"),
    { 0 }
};

/* Whether a head of this width, 0: none, can be rotated; else says why not. */
static bool rotates(const struct conf *c, int width, const char *path, struct problems *problems)
{
    double half = c->fraction * width / 2;
    bool pairs = width == 0 || (fabs(half - nearbyint(half)) < 1e-6 && half > 0.5);
    if (!pairs)
        module_problem(problems, path, "fraction", "%g of a head of %d is %g dimensions: they rotate in pairs",
                       c->fraction, width, 2 * half);
    return pairs;
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    for (int i = 0; i < model->layers; i++) {
        struct traits t = module_traits(model->attention.pick[i]);
        if (model->position.pick[i].conf != self.conf) continue;
        if (!rotates(c, t.rotated, path, problems) || !rotates(c, t.index_rotated, path, problems)) return;
    }
}

static struct node *build(struct build *b, struct pick self, struct node *x)
{
    const struct conf *c = self.conf;
    int64_t width = llrint(c->fraction * (double)shape_last(x->shape));
    enum rope_where where = width < shape_last(x->shape) ? (enum rope_where)c->where : ROPE_LAST;   /* or all say one */
    return rope(b->graph, x, b->start, b->pos, width, where, c->base);
}

/* Rotated by -p: the same with the second value of each pair negated, before and after. */
static struct node *build_back(struct build *b, struct pick self, struct node *x)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t all = shape_last(x->shape), width = llrint(c->fraction * (double)all), half = width / 2, from = all - half,
            n = half;
    if (width < all && c->where == ROPE_FIRST) from = half;
    if (width < all && c->where == ROPE_PROPORTIONAL) from = n = all / 2;
    struct node *part[] = { build_ones(b, SHAPE(from)), scale(g, build_ones(b, SHAPE(n)), -1),
                            from + n < all ? build_ones(b, SHAPE(all - from - n)) : NULL },
                *sign = concat(g, part[2] ? 3 : 2, part);                                       /* [W] */
    return mul_row(g, build(b, self, mul_row(g, x, sign)), sign);
}

const struct module position_rope = {
    .slot = SLOT_POSITION, .name = "rope", .about = "rotary positions on a share of each head",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .position = build,
    .position_back = build_back,
};
