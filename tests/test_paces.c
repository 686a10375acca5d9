/* Decay and momentum that change over a run: an op that is given factors on them does what one does that has the
   products, and a model gives it those of its schedules. */
#include "run_graph.h"
#include "model/model.h"
#include "model/registry.h"
#include "tiny.h"

enum { ROWS = 4, COLS = 3, VALUES = ROWS * COLS, STEPS = 3 };
enum { M, V, TAKEN, Q, ROW, COL, MEMORIES };
static const struct shape shape_of[MEMORIES] = {
    { 2, { ROWS, COLS } }, { 2, { ROWS, COLS } }, { 1, { 1 } }, { 2, { 2, COLS } }, { 1, { ROWS } }, { 1, { COLS } },
};

/* factors: of decay and momentum, as values of lr or as products. */
typedef struct node *builder(struct graph *g, struct node *w, struct node *grad, struct node *const *memory,
                             struct node *lr, struct node *step, struct node *clip, double decay, double momentum);

static struct node *of_adamw(struct graph *g, struct node *w, struct node *grad, struct node *const *memory,
                             struct node *lr, struct node *step, struct node *clip, double decay, double momentum)
{
    return adamw(g, w, grad, memory[0], memory[1], lr, step, clip, NULL, NULL,
                 (struct adamw_attr){ .beta1 = 0.75 * momentum, .beta2 = 0.95, .eps = 1e-8, .decay = 0.5 * decay,
                                      .rate = 2, .nesterov = true });
}

static struct node *of_lion(struct graph *g, struct node *w, struct node *grad, struct node *const *memory,
                            struct node *lr, struct node *step, struct node *clip, double decay, double momentum)
{
    (void)step;
    return lion(g, w, grad, memory[0], lr, clip, (struct lion_attr){ 0.75 * momentum, 0.99, 0.5 * decay, 2 });
}

static struct node *of_sgd(struct graph *g, struct node *w, struct node *grad, struct node *const *memory,
                           struct node *lr, struct node *step, struct node *clip, double decay, double momentum)
{
    (void)step;
    return sgd(g, w, grad, lr, clip, memory[0], (struct sgd_attr){ 0.75 * momentum, 0.5 * decay, 2, true, false });
}

static struct node *of_muon(struct graph *g, struct node *w, struct node *grad, struct node *const *memory,
                            struct node *lr, struct node *step, struct node *clip, double decay, double momentum)
{
    (void)step;
    return muon(g, w, grad, memory[0], lr, clip, NULL, NULL,
                (struct muon_attr){ .momentum = 0.75 * momentum, .decay = 0.5 * decay, .scale = 0.2, .nesterov = true,
                                    .steps = 5 });
}

static struct node *of_dion(struct graph *g, struct node *w, struct node *grad, struct node *const *memory,
                            struct node *lr, struct node *step, struct node *clip, double decay, double momentum)
{
    (void)step;
    return dion(g, w, grad, memory[M], memory[Q], lr, clip, (struct dion_attr){ 0.75 * momentum, 0.5 * decay, 0.2 });
}

static struct node *of_soap(struct graph *g, struct node *w, struct node *grad, struct node *const *memory,
                            struct node *lr, struct node *step, struct node *clip, double decay, double momentum)
{
    (void)step;
    return soap(g, (struct soap){ .w = w, .grad = grad, .m = memory[M], .v = memory[V], .lr = lr, .clip = clip,
                                  .taken = memory[TAKEN] },
                (struct soap_attr){ 0.75 * momentum, 0.95, 0.9, 1e-8, 0.5 * decay, 2, 10 });
}

static struct node *of_adafactor(struct graph *g, struct node *w, struct node *grad, struct node *const *memory,
                                 struct node *lr, struct node *step, struct node *clip, double decay, double momentum)
{
    return adafactor(g, w, grad, lr, step, clip, memory[ROW], memory[COL], NULL, memory[M],
                     (struct adafactor_attr){ 0.8, 1e-30, 1, 1e-3, 0.75 * momentum, 0.5 * decay, 2, true });
}

/* Weights after some steps: momentum counts from the second on, of SOAP, whose first moves nothing, from the third. */
static void train(builder *build, bool paced, double decay, double momentum, real out[VALUES])
{
    struct run r = run_new();
    struct graph *g = r.graph;
    struct shape shape = SHAPE(ROWS, COLS);
    struct node *w = graph_input(g, "w", DTYPE_REAL, shape), *grad = graph_input(g, "grad", DTYPE_REAL, shape),
                *memory[MEMORIES], *lr = graph_input(g, "lr", DTYPE_REAL, SHAPE(paced ? 3 : 1)),
                *step = graph_input(g, "step", DTYPE_REAL, SHAPE(1)),
                *clip = graph_input(g, "clip", DTYPE_REAL, SHAPE(2));
    for (int k = 0; k < MEMORIES; k++)
        memory[k] = graph_input(g, (char[]){ 'm', (char)('0' + k), 0 }, DTYPE_REAL, shape_of[k]);
    build(g, w, grad, memory, lr, step, clip, paced ? 1 : decay, paced ? 1 : momentum);
    run_start(&r, 1);
    for (int i = 0; i < VALUES; i++) run_reals(&r, w)[i] = (real)(i - 5) / 8;
    for (int k = 0; k < MEMORIES; k++)
        for (int64_t i = 0; i < shape_count(shape_of[k]); i++)
            run_reals(&r, memory[k])[i] = k == Q ? (real)(i % 4 + 1) / 8 : 0;
    run_fill(&r, clip, 1, 1);
    if (paced) run_fill(&r, lr, 0.01, decay, momentum);
    else run_fill(&r, lr, 0.01);
    for (int t = 1; t <= STEPS; t++) {
        run_fill(&r, step, t);
        for (int i = 0; i < VALUES; i++) run_reals(&r, grad)[i] = (real)((i * 7 * t) % 5 - 2) / 4;
        run_forward(&r);
    }
    memcpy(out, run_reals(&r, w), VALUES * sizeof *out);
    run_free(&r);
}

static void test_products(void **state)
{
    (void)state;
    static builder *const build[] = { of_adamw, of_lion, of_sgd, of_muon, of_dion, of_soap, of_adafactor };
    static const double factor[] = { 1, 0.5, 0 };
    for (int i = 0; i < COUNT(build); i++)
        for (int d = 0; d < COUNT(factor); d++)
            for (int m = 0; m < COUNT(factor); m++) {
                real paced[VALUES], want[VALUES], plain[VALUES];
                train(build[i], true, factor[d], factor[m], paced);
                train(build[i], false, factor[d], factor[m], want);
                train(build[i], false, 1, 1, plain);
                assert_memory_equal(paced, want, sizeof want);
                bool same = memcmp(paced, plain, sizeof plain) == 0;
                if (d + m == 0) assert_true(same);
                if (d > 0 || factor[m] == 0) assert_false(same);    /* half of a momentum may have the same sign */
            }
}

static void test_two_values_are_none(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *w = graph_input(r.graph, "w", DTYPE_REAL, SHAPE(2)),
                *clip = graph_input(r.graph, "clip", DTYPE_REAL, SHAPE(2));
    check_message(r.graph, lion(r.graph, w, w, w, w, clip, (struct lion_attr){ 0.9, 0.99, 0.1, 1 }),
                  "'lr' has 2 values");
    graph_free(r.graph);
    leaves_free(r.leaves);
}

static double control_at(const struct tiny *t, const char *name, int64_t step, int64_t steps)
{
    const struct control *c = &tiny_leaf(t, name)->control;
    return c->at(c->conf, c->scale, step, steps);
}

/* Decay to 0 over the run; Muon's momentum from 0.85 to 0.95 in 300 steps. */
static void test_schedules(void **state)
{
    (void)state;
    static const char *const train = TEXT({"steps": 1000, "optim": {"module": "muon", "momentum": 0.95},
        "decay_schedule": "linear", "momentum_schedule": {"module": "constant", "warmup": 300,
                                                          "warmup_from": 0.8947368421052632}});
    struct tiny t = tiny_new(NULL, train, MODE_TRAIN, 2, 6);
    static const struct { int step; double decay, momentum; } want[] = {
        { 0, 1, 0.85 + 0.1 / 300 }, { 149, 0.851, 0.9 }, { 299, 0.701, 0.95 }, { 500, 0.5, 0.95 }, { 999, 0.001, 0.95 },
    };
    for (int i = 0; i < COUNT(want); i++) {
        assert_float_equal(control_at(&t, "decay", want[i].step, 1000), want[i].decay, 1e-12);
        assert_float_equal(0.95 * control_at(&t, "momentum", want[i].step, 1000), want[i].momentum, 1e-12);
    }
    tiny_free(&t);
}

/* What does not change is no part of the graph; of what does, the first step of a warm-up from 0 has almost none. */
static void test_constant(void **state)
{
    (void)state;
    struct tiny usual = tiny_new(NULL, NULL, MODE_TRAIN, 2, 6),
                same = tiny_new(NULL, TEXT({"decay_schedule": {"module": "constant", "warmup": 5, "warmup_from": 1}}),
                                MODE_TRAIN, 2, 6),
                other = tiny_new(NULL, TEXT({"decay_schedule": "linear"}), MODE_TRAIN, 2, 6);
    assert_true(tiny_same(&usual, &same) && !tiny_same(&usual, &other));
    tiny_free(&usual);
    tiny_free(&same);
    tiny_free(&other);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const train[] = { TEXT({"optim": "schedule_free", "decay_schedule": "linear"}),
                                         TEXT({"optim": "schedule_free", "momentum_schedule": "linear"}) };
    for (int i = 0; i < COUNT(train); i++) {
        struct tiny t = { 0 };
        char why[256];
        struct problems problems = { 0 };
        json_t *model = tiny_json(&model_schema, tiny_base, "{}"), *json = tiny_json(&train_schema, "{}", train[i]);
        if (!tiny_load(&t, model, json, why)) fail_msg("%s", why);
        conf_agree(&t.model, &t.train, &problems);
        assert_int_equal(problems.n, 1);
        assert_string_equal(problems.problem[0].path, i ? "train.momentum_schedule" : "train.decay_schedule");
        assert_non_null(strstr(problems.problem[0].text, "decay and momentum of this optimizer stay as they are"));
        problems_free(&problems);
        arena_free(t.arena);
        json_decref(model);
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_two_values_are_none), cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_constant), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
