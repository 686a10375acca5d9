/* Which products are FP8, and what their scales go by. */
#include "building.h"
#include "graph/ops.h"

void build_fp8_check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct fp8 *f = self.conf;
    build_check_roles(f->roles, "roles", role_multiplies,
                      "only products of hidden matrices that give no scores can be FP8", path, problems);
    if (f->forward == FP8_NONE && f->gradient == FP8_NONE)
        module_problem(problems, path, "forward", "\"none\", and gradient too: no operand is FP8");
}

void build_check_fp8(struct build *b)
{
    struct pick p = b->train->fp8;
    if (!p.module->product || b->graph->failed) return;
    const struct fp8 *f = p.conf;
    unsigned missing = build_product_roles(f->roles) & ~b->own->fp8_roles;
    enum role role = 0;
    while (role < ROLE_COUNT && !(missing >> role & 1)) role++;
    if (*f->roles && missing)
        graph_fail(b->graph, "train.fp8.roles: '%s': this model has no product of such a weight", role_rule[role].name);
    else if (b->own->fp8_roles == 0)
        graph_fail(b->graph, "train.fp8: this model has no product of a weight of attention or of a feed-forward");
}

/* ---- delayed scaling ---- */

struct delayed { struct leaf *history; struct node *operands, *gradient; };

static void push(struct build *b, void *state, struct update u)
{
    const struct delayed *d = state;
    amax_history(b->graph, graph_leaf(b->graph, d->history), d->operands, d->gradient, u.step, u.clip);
}

/* Of a weight that is used more than once, each use has a history. */
static struct node *history_of(struct build *b, const struct leaf *w, int steps)
{
    const char *path = arena_text(b->arena, "fp8.%s", w->path);
    int *uses = build_common(b, path, sizeof *uses);
    if (++*uses > 1) path = arena_text(b->arena, "%s.%d", path, *uses);
    struct node *history = graph_buffer(b->graph, path, DTYPE_REAL, SHAPE(steps, 3), 0);
    history->leaf->of_training = true;
    return history;
}

static struct node *delayed(struct build *b, struct fp8_attr a, int steps, struct node *x, struct node *w,
                            struct node *offsets)
{
    struct graph *g = b->graph;
    struct delayed *d = arena_alloc(b->arena, sizeof *d);
    struct node *history = history_of(b, w->leaf, steps), *y = fp8_matmul(g, x, w, offsets, history, a),
                *seen = gradient_amax(g, y);
    *d = (struct delayed){ history->leaf, carry(g, graph_result(g, y, 1), CARRY_MAX), graph_result(g, seen, 1) };
    build_update(b, push, d);
    return seen;
}

struct node *build_fp8(struct build *b, const struct fp8 *f, enum fp8_scaling scaling, int steps, struct node *x,
                       struct node *w, struct node *offsets)
{
    struct fp8_attr a = { f->forward, f->gradient, scaling, f->power_of_two };
    unsigned role = 1u << w->leaf->role;
    if (!(build_product_roles(f->roles) & role)) return NULL;
    b->own->fp8_roles |= role;
    if (scaling == FP8_DELAYED) return delayed(b, a, steps, x, w, offsets);
    return fp8_matmul(b->graph, x, w, offsets, NULL, a);
}
