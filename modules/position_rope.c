/* Rotary positions, on a share of each head: pair i rotates by p * base^(-2i/D). Su 2021; the unrotated dimensions
   match content alone. Pairs are i and i + D/2, or neighbours (the paper; Meta's weights): the same but for an order of
   the weights. where = proportional keeps the whole head's frequencies and rotates the fastest of them only (Gemma 4),
   so it is not first or last with the dimensions moved.
   For contexts longer than those that a model was trained on, stretch = linear divides all frequencies by factor f
   (Chen 2023), yarn (Peng 2023, arXiv 2309.00071) those of the slow pairs alone: a pair that turns `fast` times or more
   in `original` tokens stays as it is, one that turns `slow` times or less is divided by f, between them evenly. Then
   attention is to be sharper: temperature = rotated multiplies what rotates by m = 1 + 0.1 ln f, the paper's; scores
   multiplies all logits by m^2 (DeepSeek-V3), which is the same where the whole head rotates. */
#include "model/module.h"
#include <math.h>

enum pairs { HALVES, NEIGHBOURS };
enum stretch { PLAIN, LINEAR, YARN };
enum temperature { USUAL, ROTATED, SCORES };
struct conf {
    double base, fraction;
    int where, pairs, stretch;
    double factor, fast, slow;
    int original, rounded, temperature;
};
static const struct param params[] = {
    REAL(struct conf, base, 10000, 2, 1e9, "", "ratio of the slowest to the fastest frequency"),
    REAL(struct conf, fraction, 1, 0.0078125, 1, "", "share of each head that rotates"),
    CHOICE(struct conf, where, ROPE_LAST, "first last proportional", "which dimensions of the head rotate"),
    CHOICE(struct conf, pairs, HALVES, "halves neighbours", "which two dimensions are a pair"),
    CHOICE(struct conf, stretch, PLAIN, "none linear yarn", "which frequencies factor divides"),
    REAL(struct conf, factor, 4, 1, 1e4, "", "how much longer the context becomes by `stretch`"),
    REAL(struct conf, fast, 32, 1e-3, 1e6, "turn", "yarn: in `original` tokens, from which a pair is not divided"),
    REAL(struct conf, slow, 1, 1e-3, 1e6, "turn", "yarn: up to which it is divided by all of factor"),
    INT(struct conf, original, 4096, 1, 1 << 30, "token", "yarn: context of the training before"),
    BOOL(struct conf, rounded, true, "yarn: the two bounds are whole pairs; gpt-oss: they are not"),
    CHOICE(struct conf, temperature, USUAL, "none rotated scores", "how attention is made sharper for factor"),
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
    if (c->slow >= c->fast)
        module_problem(problems, path, "slow", "%g: must be below fast = %g", c->slow, c->fast);
    if (c->stretch == PLAIN && c->temperature != USUAL)
        module_problem(problems, path, "temperature", "goes by the factor of a stretch, and stretch = none");
    for (int i = 0; i < model->layers; i++) {
        struct traits t = module_traits(model->attention.pick[i]);
        if (model->position.pick[i].conf != self.conf) continue;
        if (!rotates(c, t.rotated, path, problems) || !rotates(c, t.index_rotated, path, problems)) return;
    }
}

/* The pair, of frequencies base^(-2i/depth), that turns so many times in the original context. */
static double pair_of(const struct conf *c, double turns, int64_t depth)
{
    double pi = acos(-1);
    return (double)depth * log(c->original / (2 * pi * turns)) / (2 * log(c->base));
}

static void bounds(const struct conf *c, int64_t depth, struct rope_attr *a)
{
    double low = pair_of(c, c->fast, depth), high = pair_of(c, c->slow, depth), last = (double)depth - 1;
    if (c->stretch != YARN) return;
    a->low = fmax(c->rounded ? floor(low) : low, 0);
    a->high = fmin(c->rounded ? ceil(high) : high, last);
    if (a->high <= a->low) a->high = a->low + 1e-3;         /* of a base so small that all are fast, or slow */
}

static double sharper(const struct conf *c) { return 1 + 0.1 * log(c->factor); }

static struct node *build(struct build *b, struct pick self, struct node *x)
{
    const struct conf *c = self.conf;
    int64_t whole = shape_last(x->shape), width = llrint(c->fraction * (double)whole);
    struct rope_attr a = { .width = width, .where = width < whole ? c->where : ROPE_LAST,       /* or all say one */
                           .interleaved = c->pairs == NEIGHBOURS, .base = c->base,
                           .factor = c->stretch == PLAIN ? 1 : c->factor,
                           .amplitude = c->temperature == ROTATED ? sharper(c) : 1 };
    bounds(c, a.where == ROPE_PROPORTIONAL ? whole : width, &a);
    struct places at = build_places(b);
    return rope(b->graph, x, at.start, at.pos, a);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    if (c->temperature == SCORES) t->sharpness = sharper(c) * sharper(c);
}

/* [n]: a number. */
static struct node *row_of(struct build *b, int64_t n, double value)
{
    return scale(b->graph, build_ones(b, SHAPE(n)), value);
}

/* Rotated by -p: the same with the second value of each pair negated, before and after, and nothing made larger. */
static struct node *build_back(struct build *b, struct pick self, struct node *x)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t all = shape_last(x->shape), width = llrint(c->fraction * (double)all), half = width / 2,
            still = all - width;
    double less = c->temperature == ROTATED ? 1 / sharper(c) : 1;
    struct node *first = row_of(b, half, less), *second = row_of(b, half, -less), *sign;        /* [W] */
    if (c->pairs == NEIGHBOURS) {
        struct node *pair[] = { view(g, first, SHAPE(half, 1)), view(g, second, SHAPE(half, 1)) };
        sign = view(g, concat(g, 2, pair), SHAPE(width));
    } else if (still && c->where == ROPE_PROPORTIONAL) {
        struct node *rest = row_of(b, still / 2, 1);
        sign = concat(g, 4, (struct node *[]){ first, rest, second, rest });
        still = 0;
    } else sign = concat(g, 2, (struct node *[]){ first, second });
    bool last = c->where == ROPE_LAST;
    if (still) sign = concat(g, 2, last ? (struct node *[]){ row_of(b, still, 1), sign }
                                        : (struct node *[]){ sign, row_of(b, still, 1) });
    return mul_row(g, build(b, self, mul_row(g, x, sign)), sign);
}

const struct module position_rope = {
    .slot = SLOT_POSITION, .name = "rope", .about = "rotary positions on a share of each head",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .position = build,
    .position_back = build_back,
};
