/* Every module of every slot, every word and each yes or no of its parameters, on the GPU as on the CPU: two steps of a
   tiny model from the same weights, in float and bf16. Losses and all other metrics, gradients; in float what the
   updates make of weights and buffers.

       test_cuda_modules                 all, every second in bf16 as well, with SLUICE_FULL each
       test_cuda_modules sample          every third, with SLUICE_FULL all
       test_cuda_modules gate kv         those whose name holds one of these words, each named before it runs */
#include "routing_flip.h"
#include "toggle.h"

enum { SEEDS = 300, STEPS = 2, ROUNDINGS = 4, CLEAR = 3, NEAR = 6 };
static const double unclear = 0.25;

/* Shares by which the two may differ: a metric of its largest value, a gradient and an update of its length. Adam
   divides a gradient by its own size: a gradient that is nothing but rounding moves its weight as far as any other, and
   updates tell nothing in bf16. More may differ where rounding does more: ROUNDINGS times as much as values move when
   each weight does by `unit`, one rounding of its format, the most of NEAR tries (CLEAR, to judge a seed). Some 64 of
   half a unit lie on the way from a weight to the loss and back to its gradient, and add up like the steps of a random
   walk. Never more than half: that is no rounding. Where one moves the gradient of all weights by more than `unclear`,
   a seed tells nothing. */
static const struct kind { const char *name; enum precision precision; double unit, metric, gradient,
                           update; } kinds[] = {
    { "float", PRECISION_FP32, 0x1p-23, 1e-5, 1e-5, 1e-3 },
    { "bf16", PRECISION_BF16, 0x1p-8, 0.03, 0.1, INFINITY },
};

static const struct backend *cuda;
static char **chosen;                                       /* words of names, ended by NULL; none: all */
static int every = 1;
static int differing;                                       /* values that are not equal */

/* One model on both; near: on the CPU, from weights that are a rounding away. */
struct twins { struct tiny cpu, gpu, near[NEAR]; int tries; const char *name; const struct kind *kind; };

static struct tiny start(const struct toggle *on, struct plan_how how, uint64_t seed)
{
    struct tiny t = toggle_build(on, MODE_TRAIN, 2, 6);
    t.graph->keep = false;                                  /* memory and calls as in a run */
    flip_watch(t.graph);
    tiny_start_on(&t, how, seed);
    return t;
}

static void nudge(struct tiny *t, double unit, uint64_t seed)
{
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT || l->kept != KEPT_FLOAT) continue;
        real *w = state_data(t->state, l);
        for (int64_t k = 0; k < shape_count(l->decl.shape); k++)
            w[k] *= (real)(1 + (key_below((struct key){ seed, PURPOSE_TEST, (uint64_t)i, 0 }, (uint64_t)k, 2) ? unit
                                                                                                              : -unit));
        state_put(t->state, l, w);
    }
}

/* The GPU has none yet. */
static struct twins near_new(const struct toggle *on, const struct kind *k, uint64_t seed, int tries)
{
    struct plan_how cpu = { &backend_cpu, k->precision, RECOMPUTE_NONE };
    struct twins w = { .cpu = start(on, cpu, seed), .tries = tries, .name = on->name,
                       .kind = k };
    for (int i = 0; i < tries; i++) {
        w.near[i] = start(on, cpu, seed);
        nudge(&w.near[i], k->unit, seed * CLEAR + (uint64_t)i);
    }
    return w;
}

static void near_free(struct twins *w)
{
    tiny_free(&w->cpu);
    for (int i = 0; i < w->tries; i++) tiny_free(&w->near[i]);
}

static void step(struct tiny *t, int64_t number)
{
    plan_begin(t->plan, number, 1000, 1);
    tiny_put(t);
    plan_step(t->plan, NULL);
}

/* ---- vectors that should be equal ---- */

static double length(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

static double distance(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum);
}

/* Of a value: its share apart, and that of the near models. */
static void check_share(const struct twins *w, const char *what, const char *name, double share, double near,
                        double most)
{
    most = fmax(most, fmin(ROUNDINGS * near, 0.5));
    if (share <= most) return;
    print_error("%s, %s: %s %s: %.2g apart, %.2g may be\n", w->name, w->kind->name, what, name, share, most);
    differing++;
}

/* Values that are no numbers are so on both. */
static double metric_apart(const double *want, const double *got, int64_t n)
{
    double largest = 0.01, most = 0;
    for (int64_t k = 0; k < n; k++) {
        bool same = want[k] == got[k] || (isnan(want[k]) && isnan(got[k]));
        if (isfinite(want[k])) largest = fmax(largest, fabs(want[k]));
        if (!same && !(most > fabs(want[k] - got[k]))) most = fabs(want[k] - got[k]);
    }
    return most / largest;
}

/* By how much a metric moves in the near models, in any layer: of one layer alone three tries may all come out
   small. */
static double metric_moved(struct twins *w, const char *name)
{
    double moved = 0;
    for (int i = 0; i < w->cpu.graph->n_probes; i++) {
        if (strcmp(w->cpu.graph->probe[i].name, name) != 0) continue;
        double *want = tiny_probe(&w->cpu, i);
        for (int k = 0; k < w->tries; k++) {
            double *near = tiny_probe(&w->near[k], i);
            moved = fmax(moved, metric_apart(want, near, probe_count(&w->cpu.graph->probe[i])));
            free(near);
        }
        free(want);
    }
    return moved;
}

/* The likeliest token is a choice, which rounding to bf16 may turn; so is whether a head is above QK-clip's limit. */
static bool is_choice(const struct twins *w, const char *name)
{
    bool chooses = strcmp(name, "accuracy") == 0 || strcmp(name, "layer_clipped_heads") == 0;
    return chooses && w->kind->precision == PRECISION_BF16;
}

static void check_metric(struct twins *w, int i)
{
    const struct probe *p = &w->cpu.graph->probe[i];
    int64_t n = probe_count(p);
    if (is_choice(w, p->name)) return;
    double *want = tiny_probe(&w->cpu, i), *got = tiny_probe(&w->gpu, i);
    check_share(w, "metric", p->name, metric_apart(want, got, n), metric_moved(w, p->name), w->kind->metric);
    free(want);
    free(got);
}

static double *gradient(struct tiny *t, int i)
{
    const struct node *n = t->graph->node[i];
    double *g = xmalloc((size_t)shape_count(n->shape) * sizeof *g);
    if (!plan_read_grad(t->plan, n, g)) fail_msg("no gradient reaches %s", n->leaf->path);
    return g;
}

static bool is_weight(const struct node *n)
{
    return n->leaf && leaf_trains(n->leaf) && n->region == REGION_MICRO;
}

static void check_gradient(struct twins *w, int i, const double *want, int64_t n, double of)
{
    double *got = gradient(&w->gpu, i), moved = 0;
    for (int k = 0; k < w->tries; k++) {
        double *near = gradient(&w->near[k], i);
        moved = fmax(moved, distance(want, near, n));
        free(near);
    }
    check_share(w, "gradient of", w->cpu.graph->node[i]->leaf->path, distance(want, got, n) / of, moved / of,
                w->kind->gradient);
    free(got);
}

/* Of the length of the gradient of all weights, where one's own is far below. */
static void check_gradients(struct twins *w)
{
    const struct graph *g = w->cpu.graph;
    double squares = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < g->n; i++) {
            if (!is_weight(g->node[i])) continue;
            int64_t n = shape_count(g->node[i]->shape);
            double *want = gradient(&w->cpu, i), own = length(want, n);
            if (pass == 0) squares += own * own;
            else check_gradient(w, i, want, n, fmax(own, sqrt(squares) / 100));
            free(want);
        }
}

/* By how much of its length the gradient of all weights moves in a near model. */
static double gradients_moved(struct twins *w)
{
    double squares = 0, moved[NEAR] = { 0 }, most = 0;
    for (int i = 0; i < w->cpu.graph->n; i++) {
        if (!is_weight(w->cpu.graph->node[i])) continue;
        int64_t n = shape_count(w->cpu.graph->node[i]->shape);
        double *want = gradient(&w->cpu, i);
        squares += pow(length(want, n), 2);
        for (int k = 0; k < w->tries; k++) {
            double *near = gradient(&w->near[k], i);
            moved[k] += pow(distance(want, near, n), 2);
            free(near);
        }
        free(want);
    }
    for (int k = 0; k < w->tries; k++) most = fmax(most, sqrt(moved[k] / squares));
    return most;
}

/* ---- weights and buffers ---- */

static double *leaf_values(struct tiny *t, const struct leaf *l)
{
    int64_t n = shape_count(l->decl.shape);
    real *values = xmalloc(leaf_bytes(l));
    double *wide = xcalloc((size_t)n, sizeof *wide);
    state_get(t->state, l, values);
    for (int64_t i = 0; i < n && l->decl.dtype == DTYPE_REAL; i++) wide[i] = (double)values[i];
    free(values);
    return wide;
}

/* How far what the updates made of a leaf is apart, as a share of what they changed. */
static double update_apart(struct twins *w, struct tiny *other, int i, const double *begun)
{
    const struct leaf *l = w->cpu.leaves->leaf[i];
    int64_t n = shape_count(l->decl.shape);
    double *want = leaf_values(&w->cpu, l), *got = leaf_values(other, other->leaves->leaf[i]);
    double share = distance(want, got, n) / fmax(distance(want, begun, n), 1e-9);
    free(want);
    free(got);
    return share;
}

/* Whether two paths differ by the numbers in them at most. */
static bool same_but_number(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a >= '0' && *a <= '9') a++;
        while (*b >= '0' && *b <= '9') b++;
        if (*a != *b || !*a) return *a == *b;
    }
}

/* The same in the near models, in any layer: a gradient that should be 0 is rounding, by which Adam moves a weight. */
static double update_moved(struct twins *w, int i, double **begun)
{
    const struct leaves *l = w->cpu.leaves;
    double moved = 0;
    for (int k = 0; k < l->n; k++)
        for (int near = 0; near < w->tries && begun[k] && same_but_number(l->leaf[i]->path, l->leaf[k]->path); near++)
            moved = fmax(moved, update_apart(w, &w->near[near], k, begun[k]));
    return moved;
}

static bool is_changed(const struct leaf *l) { return l->kind == LEAF_WEIGHT || l->kind == LEAF_BUFFER; }

/* What weights and buffers begin with, the same bits. */
static double **begin(struct twins *w)
{
    double **begun = xcalloc((size_t)w->cpu.leaves->n, sizeof *begun);
    for (int i = 0; i < w->cpu.leaves->n; i++) {
        const struct leaf *l = w->cpu.leaves->leaf[i];
        if (!is_changed(l)) continue;
        begun[i] = leaf_values(&w->cpu, l);
        double *got = leaf_values(&w->gpu, w->gpu.leaves->leaf[i]);
        if (memcmp(begun[i], got, (size_t)shape_count(l->decl.shape) * sizeof *got) != 0)
            fail_msg("%s: %s begins with other bits", w->name, l->path);
        free(got);
    }
    return begun;
}

/* Of a factor of few tokens most eigenvalues are 0, and their vectors any: test_cuda_ops has those that are not. */
static bool is_basis(const struct leaf *l) { return strstr(l->path, "_basis.") != NULL; }

static void check_updates(struct twins *w, double **begun)
{
    for (int i = 0; i < w->cpu.leaves->n; i++)
        if (begun[i] && !is_basis(w->cpu.leaves->leaf[i]))
            check_share(w, "update of", w->cpu.leaves->leaf[i]->path, update_apart(w, &w->gpu, i, begun[i]),
                        update_moved(w, i, begun), w->kind->update);
}

/* ---- all of it ---- */

/* The most by which a metric moves in the near models. */
static double metrics_moved(struct twins *w)
{
    double most = 0;
    for (int i = 0; i < w->cpu.graph->n_probes; i++) {
        const char *name = w->cpu.graph->probe[i].name;
        if (!is_choice(w, name)) most = fmax(most, metric_moved(w, name));
    }
    return most;
}

/* Whether a rounding of the weights turns no choice, moves the gradient little, and no metric by half: else a seed
   tells nothing. */
static bool is_clear(const struct toggle *on, const struct kind *k, uint64_t seed, int steps)
{
    struct twins w = near_new(on, k, seed, CLEAR);
    bool clear = true;
    for (int i = 0; i < steps && clear; i++) {
        step(&w.cpu, i);
        for (int n = 0; n < w.tries; n++) {
            step(&w.near[n], i);
            clear &= flip_find(w.cpu.plan, w.cpu.graph, w.near[n].plan, w.near[n].graph).tokens == 0;
        }
        clear = clear && (i > 0 || gradients_moved(&w) < unclear) && metrics_moved(&w) < 0.5;
    }
    near_free(&w);
    return clear;
}

/* False: a token routed differently, by keys that are as near as rounding; another seed may tell more. */
static bool compare(struct twins *w, int steps)
{
    double **begun = begin(w);
    struct flip f = { 0 };
    for (int i = 0; i < steps; i++) {
        step(&w->cpu, i);
        step(&w->gpu, i);
        for (int n = 0; n < w->tries; n++) step(&w->near[n], i);
        f = flip_find(w->cpu.plan, w->cpu.graph, w->gpu.plan, w->gpu.graph);
        if (f.tokens) break;
        for (int k = 0; k < w->cpu.graph->n_probes; k++) check_metric(w, k);
        if (i == 0) check_gradients(w);
    }
    double rounding = f.tokens ? fmin(ROUNDINGS * metrics_moved(w), 0.5) : 0;      /* keys move as metrics do */
    if (!(f.margin < fmax(w->kind->metric, rounding)))
        fail_msg("%s, %s: a token of %s routes differently, the key margin is %.3g", w->name, w->kind->name, f.path,
                 f.margin);
    if (f.tokens == 0) check_updates(w, begun);
    for (int i = 0; i < w->cpu.leaves->n; i++) free(begun[i]);
    free(begun);
    return f.tokens == 0;
}

static bool compare_steps(const struct toggle *on, const struct kind *k, int steps)
{
    bool compared = false;
    for (uint64_t seed = 1; seed <= SEEDS && !compared; seed++) {
        if (!is_clear(on, k, seed, steps)) continue;
        struct twins w = near_new(on, k, seed, NEAR);
        w.gpu = start(on, (struct plan_how){ cuda, k->precision, RECOMPUTE_NONE }, seed);
        compared = compare(&w, steps);
        tiny_free(&w.gpu);
        near_free(&w);
    }
    return compared;
}

/* Whether products round more than bf16 does: test_cuda_fp8 has their bits. */
static bool is_coarser(const struct toggle *on)
{
    struct tiny t = toggle_build(on, MODE_TRAIN, 2, 6);
    bool fp8 = false;
    for (int i = 0; i < t.graph->n; i++) fp8 |= t.graph->node[i]->op == &op_fp8_matmul;
    tiny_free(&t);
    return fp8;
}

/* In bf16 an update may be nothing but rounding too, so that no second step is clear. */
static void check(const struct toggle *on, const struct kind *k)
{
    if (k->precision == PRECISION_BF16 && is_coarser(on)) return;
    if (compare_steps(on, k, STEPS)) return;
    print_message("%s, %s: of %d seeds none has two clear steps\n", on->name, k->name, SEEDS);
    if (k->precision != PRECISION_BF16 || !compare_steps(on, k, 1)) fail_msg("%s, %s: not compared", on->name, k->name);
}

static bool is_chosen(const char *name)
{
    bool found = !*chosen;
    for (char **c = chosen; *c; c++) found |= strstr(name, *c) != NULL;
    return found;
}

static void test_modules(void **state)
{
    (void)state;
    int tried = 0;
    for (int i = 0; i < toggles.n; i++) {
        const struct toggle *on = toggles.toggle[i];
        if (i % every != 0 || !is_chosen(on->name)) continue;
        if (*chosen) print_message("%s\n", on->name);
        int n = *chosen || tried % 2 == 0 || getenv("SLUICE_FULL") ? COUNT(kinds) : 1;
        for (int k = 0; k < n; k++) check(on, &kinds[k]);
        tried++;
    }
    print_message("%d modules and words\n", tried);
    assert_true(tried > 0);
    assert_int_equal(differing, 0);
}

static int find_cuda(void **state)
{
    struct err e;
    char isa[16];
    if (!(cuda = backend_find(BACKEND_CUDA, &e)) || cuda->probe(isa, &e) != 0) fail_msg("%s", e.text);
    return toggles_begin(state);
}

int main(int n, char **name)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_modules) };
    bool sample = n > 1 && strcmp(name[1], "sample") == 0;
    if (sample && !getenv("SLUICE_FULL")) every = 3;
    chosen = name + (n > 0) + sample;
    return cmocka_run_group_tests(tests, find_cuda, toggles_end);
}
