/* What optimizers share: which weights decay, who moves what, and the memory that they keep; and what guards do. */
#include "building.h"
#include "graph/ops.h"

double build_decay(const struct pace *p, const struct node *w, struct update u)
{
    enum role role = w->leaf->role;
    bool asked = (p->decay_gains && role == ROLE_GAIN) ||
                 (p->decay_tables && (role == ROLE_EMBED || role == ROLE_TABLE));
    return role_rule[role].exempt && !asked ? 0 : p->decay * u.decay;
}

bool build_is_hidden(const struct node *w) { return !role_rule[w->leaf->role].outside; }

void build_check_state(int state, const char *by, double decay, const char *path, struct problems *problems)
{
    if (state == MOMENT_BF16 && 1 - decay < 1.0 / 256)
        module_problem(problems, path, "state", "bf16: it has 8 binary digits, and a moment with %s = %g would not "
                       "fall; %s must be at most %g, or state another", by, decay, by, 1 - 1.0 / 256);
}

void build_check_adam(const struct adam *a, const char *path, struct problems *problems)
{
    build_check_state(a->state, "beta1", a->beta1, path, problems);
    build_check_state(a->state, "beta2", a->beta2, path, problems);
}

struct node *build_adamw(struct build *b, const struct pace *p, const struct adam *a, struct node *w, struct node *grad,
                         struct update u)
{
    struct adamw_attr attr = {
        .beta1 = a->beta1, .beta2 = a->beta2, .eps = a->eps * u.eps, .decay = build_decay(p, w, u), .rate = u.rate,
        .along = u.along
    };
    struct node *m = build_moment_as(b, "m", w, a->state, 1), *v = build_moment_as(b, "v", w, a->state, 1);
    return adamw(b->graph, w, grad, m, v, u.lr, u.step, u.clip, NULL, NULL, attr);
}

struct node *build_radius(struct build *b, const struct node *w, int64_t stack)
{
    const struct init *init = &w->leaf->init;
    if (init->kind == INIT_CONSTANT && init->value == 0) return NULL;
    return build_memory_of(b, "radius", w, SHAPE(stack));
}

static struct node *of_update(struct build *b, const char *path, const struct node *w, enum dtype dtype,
                              struct shape shape)
{
    struct node *n = graph_buffer_of(b->graph, path, dtype, shape, w->leaf);
    if (!b->graph->failed) n->leaf->of_update = true;
    return n;
}

static struct node *memory(struct build *b, const char *which, const struct node *w, enum dtype dtype,
                           struct shape shape)
{
    return of_update(b, arena_text(b->arena, "optim.%s.%s", which, w->leaf->path), w, dtype, shape);
}

struct node *build_moment_as(struct build *b, const char *which, const struct node *w, int state, int64_t stack)
{
    int64_t n = shape_count(w->shape), each = n / stack;
    if (state == MOMENT_INT8 && each % MOMENT_BLOCK != 0 && (w->leaf->over | w->leaf->shard))
        return graph_fail(b->graph, "train.optim.state: int8: %s is divided among ranks into parts of %lld values, "
                                    "which blocks of %d do not fill", w->leaf->path, (long long)each, MOMENT_BLOCK);
    if (state == MOMENT_FLOAT) return build_moment(b, which, w);
    if (state == MOMENT_BF16) return memory(b, which, w, DTYPE_U8, SHAPE(n, 2));
    return memory(b, which, w, DTYPE_U8, SHAPE(stack * ((each + MOMENT_BLOCK - 1) / MOMENT_BLOCK), MOMENT_BYTES));
}

struct node *build_moment(struct build *b, const char *which, const struct node *w)
{
    return build_memory_of(b, which, w, w->shape);
}

struct node *build_memory_of(struct build *b, const char *which, const struct node *w, struct shape shape)
{
    return memory(b, which, w, DTYPE_REAL, shape);
}

struct node *build_drawn(struct build *b, const char *which, const struct node *w, struct shape shape)
{
    struct node *x = build_memory_of(b, which, w, shape);
    if (x->leaf && !b->graph->failed) x->leaf->init = (struct init){ .kind = INIT_NORMAL, .std = 1 };
    return x;
}

struct node *build_outliers(struct build *b, struct pick self, struct node *clip, struct node *loss,
                            struct node *norm)
{
    const struct outliers *c = self.conf;
    struct node *go = skip_outliers(b->graph, clip, loss, norm,
                                    build_buffer(b, "guard.rings", DTYPE_REAL, SHAPE(2, c->window), 0),
                                    build_buffer(b, "guard.seen", DTYPE_REAL, SHAPE(1), 0), c->sigma);
    build_metric_as(b, "outlier", graph_result(b->graph, go, 1), "", CARRY_LAST, BETTER_LOWER,
                    "1 where loss or gradient norm was far above the steps before, and the update was left out");
    return go;
}

struct node *build_copy(struct build *b, int number, const struct node *w)
{
    return of_update(b, arena_text(b->arena, "copy.%d.%s", number, w->leaf->path), w, DTYPE_REAL, w->shape);
}
