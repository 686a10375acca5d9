/* Optimizers and schedules as laws: Muon sees no rotation and no size, schedules have no jumps, weights that get no
   gradient. */
#include "run_graph.h"
#include "tiny_pair.h"

enum { SIDE = 6, SIZE = SIDE * SIDE };

/* What five Newton-Schulz steps make of a matrix: Muon from zero with scale -1. */
static void orthogonal(const double *u, double *made)
{
    struct run r = run_new();
    struct shape shape = SHAPE(SIDE, SIDE);
    struct node *w = graph_input(r.graph, "w", DTYPE_REAL, shape), *g = graph_input(r.graph, "g", DTYPE_REAL, shape),
                *m = graph_input(r.graph, "m", DTYPE_REAL, shape);
    struct node *lr = graph_input(r.graph, "lr", DTYPE_REAL, SHAPE(1)),
                *clip = graph_input(r.graph, "clip", DTYPE_REAL, SHAPE(2));
    muon(r.graph, w, g, m, lr, clip, NULL, NULL,
         (struct muon_attr){ .momentum = 0.95, .scale = -1, .nesterov = 1, .steps = 5 });
    run_start(&r, 1);
    for (int i = 0; i < SIZE; i++) {
        run_reals(&r, w)[i] = run_reals(&r, m)[i] = 0;
        run_reals(&r, g)[i] = (real)u[i];
    }
    run_fill(&r, lr, 1);
    run_fill(&r, clip, 1, 1);
    run_forward(&r);
    for (int i = 0; i < SIZE; i++) made[i] = (double)run_reals(&r, w)[i];
    run_free(&r);
}

static void multiply(const double *a, const double *b, double *c)
{
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            double s = 0;
            for (int k = 0; k < SIDE; k++) s += a[i * SIDE + k] * b[k * SIDE + j];
            c[i * SIDE + j] = s;
        }
}

static void draw(double *x, uint64_t stream)
{
    for (int i = 0; i < SIZE; i++) x[i] = key_normal((struct key){ 6, PURPOSE_TEST, stream, 0 }, (uint64_t)i);
}

/* Gram-Schmidt on the rows of a random matrix. */
static void draw_rotation(double *q, uint64_t stream)
{
    draw(q, stream);
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < i; j++) {
            double along = 0;
            for (int k = 0; k < SIDE; k++) along += q[i * SIDE + k] * q[j * SIDE + k];
            for (int k = 0; k < SIDE; k++) q[i * SIDE + k] -= along * q[j * SIDE + k];
        }
        double length = 0;
        for (int k = 0; k < SIDE; k++) length += q[i * SIDE + k] * q[i * SIDE + k];
        for (int k = 0; k < SIDE; k++) q[i * SIDE + k] /= sqrt(length);
    }
}

/* An orthogonal matrix stays itself but for a factor; rotated on either side, so is what is made of any matrix. */
static void test_muon_and_rotations(void **state)
{
    (void)state;
    double p[SIZE], q[SIZE], u[SIZE], half[SIZE], rotated[SIZE], made[SIZE], made_rotated[SIZE], want[SIZE];
    draw_rotation(p, 1);
    draw_rotation(q, 2);
    orthogonal(q, made);
    double factor = made[0] / q[0];
    assert_true(factor > .68 && factor < 1.14);
    for (int i = 0; i < SIZE; i++) assert_float_equal(made[i], factor * q[i], 2e-6);
    draw(u, 3);
    multiply(p, u, half);
    multiply(half, q, rotated);
    orthogonal(u, made);
    orthogonal(rotated, made_rotated);
    multiply(p, made, half);
    multiply(half, q, want);
    for (int i = 0; i < SIZE; i++) assert_float_equal(made_rotated[i], want[i], 5e-6);
}

/* No schedule leaves (0, 1], and none jumps that does not say so: over many steps, each is near the one before. */
static void test_schedules_are_smooth(void **state)
{
    (void)state;
    for (const struct module *const *m = module_all; *m; m++) {
        char sets[96];
        if ((*m)->slot != SLOT_SCHEDULE) continue;
        snprintf(sets, sizeof sets, "{\"steps\": 100000, \"schedule\": {\"module\": \"%s\", \"warmup\": 1000}}",
                 (*m)->name);
        struct tiny t = tiny_new("{}", sets, MODE_EVAL, 1, 2);
        const struct pick *s = &t.train.schedule;
        double last = 0;
        for (int64_t step = 0; step < 100000; step++) {
            double now = schedule_factor(*s, 1000, step, 100000);
            if (!(now > 0 && now <= 1)) fail_msg("%s: factor %g at step %lld", (*m)->name, now, (long long)step);
            if (fabs(now - last) > 0.01 && !module_traits(*s).jumps)
                fail_msg("%s: jumps from %g to %g at step %lld", (*m)->name, last, now, (long long)step);
            last = now;
        }
        tiny_free(&t);
    }
}

/* An expert that no token chose gets no gradient: its weights decay and do nothing else; nothing that does not decay
   moves. */
static void test_unused_experts(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.router.top_k": 1}),
                             TEXT({"optim": {"module": "adamw", "lr": 0.5, "decay": 0.25}, "schedule": "constant",
                                   "clip": 0}), MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    real *embed = tiny_weight(&t, "embed.weight"), *router = tiny_weight(&t, "layers.0.ffn.router.weight");
    tiny_scale(&t, "layers.0.attention.out.weight", 0);
    for (int r = 0; r < t.model.vocab; r++) embed[8 * r] = 1;
    for (int i = 0; i < 32; i++) router[i] = i == 0 ? 9 : 0;                    /* everybody chooses expert 0 */
    int64_t n = tiny_count(&t, "layers.0.ffn.experts.up.weight");
    real *up = tiny_weight(&t, "layers.0.ffn.experts.up.weight"), before[4 * 6 * 8];
    assert_int_equal(n, COUNT(before));
    memcpy(before, up, sizeof before);
    tiny_step(&t, 0);
    double tokens[4];
    tiny_metric(&t, "expert_tokens", 0, tokens);
    assert_true(tokens[0] == 12);
    for (int i = 48; i < n; i++) assert_float_equal(up[i], before[i] * (1 - 0.5 * 0.25), 1e-7);
    for (int i = 0; i < 48; i++) assert_true(fabs((double)up[i] - (double)before[i] * 0.875) > 0.1);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(muon_and_rotations), RUN(schedules_are_smooth), RUN(unused_experts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
