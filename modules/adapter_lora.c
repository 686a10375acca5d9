/* LoRA: y = x W^T + s (dropout(x) A^T) B^T. W is frozen, and so is every weight that has no adapter; A is [rank,in],
   drawn evenly within 1 / sqrt(in), B [out,rank], zero, so that a run begins with the model as it is; experts have
   stacks of both. Hu 2021 (arXiv 2106.09685), s = alpha / rank; rsLoRA (Kalajdzievski 2023, arXiv 2312.03732),
   s = alpha / sqrt(rank), with which large ranks learn as small ones do. */
#include "model/module.h"
#include <math.h>

enum { OVER_RANK, OVER_ROOT };
struct conf { const char *roles, *also; int rank, scale; double alpha, dropout; struct pick base; };
static const struct param params[] = {
    TEXT_OF(struct conf, roles, "",
            "of weights that have an adapter, with spaces between; \"\": the matrices of attention and of "
            "feed-forwards"),
    INT(struct conf, rank, 8, 1, 4096, "", "rows of A, columns of B"),
    REAL(struct conf, alpha, 16, 0.001, 1e6, "", "what s goes by"),
    CHOICE(struct conf, scale, OVER_RANK, "alpha_over_rank alpha_over_sqrt_rank", "what s is"),
    REAL(struct conf, dropout, 0, 0, 0.5, "", "share of the values that A reads that are 0 in training"),
    TEXT_OF(struct conf, also, "", "roles of weights that are trained themselves, as \"router gain\""),
    SLOT(struct conf, base, SLOT_BASE, "float", "what weights with adapters are kept as"),
    { 0 }
};

enum { OWN = 1u << ROLE_LORA_A | 1u << ROLE_LORA_B };

static unsigned adapted(struct pick self) { return build_product_roles(((const struct conf *)self.conf)->roles); }
static unsigned trained(struct pick self) { return build_roles(((const struct conf *)self.conf)->also) | OWN; }

static enum kept_as kept(struct pick self)
{
    struct pick base = ((const struct conf *)self.conf)->base;
    return base.module->base(base);
}

static double factor(struct pick self)
{
    const struct conf *c = self.conf;
    return c->alpha / (c->scale == OVER_RANK ? c->rank : sqrt(c->rank));
}

static bool is_of_model(enum role role) { return !(OWN >> role & 1); }

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    unsigned both = adapted(self) & trained(self), clipped = 1u << ROLE_Q | 1u << ROLE_K;
    build_check_roles(c->roles, "roles", role_multiplies,
                      "only products of hidden matrices that give no scores have adapters", path, problems);
    build_check_roles(c->also, "also", is_of_model, "weights of adapters are trained in any case", path, problems);
    for (int role = 0; role < ROLE_COUNT; role++)
        if (both >> role & 1)
            module_problem(problems, path, "also", "'%s': has adapters, beside which a weight is frozen",
                           role_rule[role].name);
    for (int i = 0; i < model->attention.n; i++) {
        if (!module_traits(model->attention.pick[i]).clips || (trained(self) & clipped) == clipped) continue;
        module_problem(problems, path, "also", "attention clips weights of queries and keys, and these are frozen: "
                       "without the clip, or with 'q' and 'k' here and others in roles");
        break;
    }
}

/* x, of which some values are 0 and the others as much larger: of a token the same ones in all experts that it goes to,
   since which of them is its first choice may be a matter of rounding. */
static struct node *dropped(struct build *b, const struct conf *c, const struct adapted *a)
{
    struct graph *g = b->graph;
    if (c->dropout == 0 || b->mode != MODE_TRAIN) return a->x;
    const char *name = arena_text(b->arena, "%s.dropout", a->name);
    int *uses = build_common(b, arena_text(b->arena, "%s.%s", b->path, name), sizeof *uses);
    if (++*uses > 1) name = arena_text(b->arena, "%s.%d", name, *uses);
    struct node *like = a->d ? build_ones(b, SHAPE(a->d->inverse->shape.dim[0], shape_last(a->x->shape))) : a->x,
                *even = build_noise(b, name, like, NOISE_UNIFORM);
    if (a->d) even = gather(g, even, a->d->order, a->d->inverse);
    struct node *kept = clamp(g, scale(g, offset(g, even, -c->dropout), 1e30), 0, 1 / (1 - c->dropout));
    return mul(g, a->x, kept);
}

/* A or B, of each expert its own. */
static struct node *thin(struct build *b, const struct adapted *a, const char *which, enum role role, int64_t out,
                         int64_t in, struct init init)
{
    bool stack = a->w->values.rank == 3;
    struct node *w = build_weight(b, arena_text(b->arena, "%s.%s.weight", a->name, which), role,
                                  stack ? SHAPE(a->w->values.dim[0], out, in) : SHAPE(out, in), init);
    w->leaf->active = a->w->active;
    return w;
}

static struct node *adapter(struct build *b, struct pick self, const struct adapted *a)
{
    const struct conf *c = self.conf;
    struct shape w = a->w->values;
    int64_t in = shape_last(w), out = w.dim[w.rank - 2];
    double bound = 1 / sqrt((double)in);
    struct node *down = thin(b, a, "lora_a", ROLE_LORA_A, c->rank, in, init_uniform(-bound, bound)),
                *up = thin(b, a, "lora_b", ROLE_LORA_B, out, c->rank, init_constant(0));
    build_reads(down, a->w->reads);
    struct node *h = build_product(b, dropped(b, c, a), down, a->d);                            /* [T,rank] */
    return build_product(b, scale(b->graph, h, factor(self)), up, a->d);                        /* [T,out] */
}

const struct module adapter_lora = {
    .slot = SLOT_ADAPTER, .name = "lora", .about = "products of two thin matrices beside frozen ones (LoRA)",
    .conf_size = sizeof(struct conf), .params = params, .check = check,
    .adapted = adapted, .trained = trained, .kept = kept, .factor = factor, .adapter = adapter,
};
