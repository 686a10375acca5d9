/* Choices that are kept and imposed: a step's choices do not depend on how it was cut, a model that gets its own is
   itself, bit for bit, and one that gets another's has its loads.

       test_replay          on the CPU
       test_replay cuda     on the GPU */
#include "tiny.h"

static struct plan_how how = { &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE };

enum { SEQUENCES = 4, SEQ = 6, STEPS = 3, EXPERTS = 4, MOST = 2 };          /* MOST: choices of a token */

static const char *const mtp =
    TEXT({"head.mtp": "sequential", "ffn.balance": [{"module": "switch_aux", "alpha": 0.5}]});
static const char *const replayed =
    TEXT({"head.mtp": "sequential", "ffn.balance": [{"module": "switch_aux", "alpha": 0.5}],
          "ffn.router.select": "replayed"});
static const char *const other =
    TEXT({"head.mtp": "sequential", "ffn.balance": [{"module": "switch_aux", "alpha": 0.5}],
          "ffn.router.select": "replayed", "norm": {"module": "rms", "eps": 0.01}});
static const char *const train = TEXT({"batch": 4, "record": true, "optim": {"module": "adamw", "lr": 0.01}});

/* A model that takes a step in so many pieces. */
struct run { struct tiny t; int pieces; };

static struct run run_new(const char *sets, int pieces)
{
    struct run r = { tiny_new(sets, train, MODE_TRAIN, SEQUENCES / pieces, SEQ), pieces };
    tiny_start_on(&r.t, how, 3);
    return r;
}

/* Of the layers, blocks of multi-token prediction included; what a step left behind. */
enum { LAYERS = 4 };
struct seen { double loss, load[LAYERS][EXPERTS], choice[LAYERS][SEQUENCES * SEQ * MOST]; };

static int tokens_of(int layer) { return SEQ - (layer == LAYERS - 1); }

/* Choices of the piece `micro` of a step, from what another run said of the whole. */
static void impose(struct run *r, const struct seen *from, int micro)
{
    for (int layer = 0; layer < LAYERS; layer++) {
        int32_t value[SEQUENCES * SEQ * MOST];
        int n = r->t.batch * tokens_of(layer) * MOST;
        char path[32];
        snprintf(path, sizeof path, "router_choices.%d", layer);
        for (int i = 0; i < n; i++) value[i] = (int32_t)from->choice[layer][micro * n + i];
        state_put(r->t.state, tiny_leaf(&r->t, path), value);
    }
}

static void put(struct run *r, const struct tiny *whole, int micro, const struct seen *from)
{
    size_t n = (size_t)r->t.tokens, at = n * (size_t)micro;
    memcpy(r->t.ids, whole->ids + at, n * sizeof *r->t.ids);
    memcpy(r->t.target, whole->target + at, n * sizeof *r->t.target);
    memcpy(r->t.weight, whole->weight + at, n * sizeof *r->t.weight);
    r->t.place[0] = r->t.batch * micro;
    tiny_put(&r->t);
    if (from) impose(r, from, micro);
}

static struct seen step_of(struct run *r, const struct tiny *whole, int step, const struct seen *from)
{
    struct seen s;
    plan_begin(r->t.plan, step, 1000, r->pieces);
    for (int micro = 0; r->pieces > 1 && micro < r->pieces; micro++) {
        put(r, whole, micro, from);
        plan_ahead(r->t.plan, micro);
    }
    for (int micro = 0; micro < r->pieces; micro++) {
        put(r, whole, micro, from);
        plan_forward(r->t.plan, micro);
        plan_backward(r->t.plan, micro);
    }
    plan_update(r->t.plan);
    s.loss = tiny_loss(&r->t, "lm");
    for (int layer = 0; layer < LAYERS; layer++) {
        tiny_metric(&r->t, "expert_tokens", layer, s.load[layer]);
        tiny_metric(&r->t, "router_choices", layer, s.choice[layer]);
    }
    return s;
}

static int choices_in(int layer) { return SEQUENCES * tokens_of(layer) * MOST; }

static void check_choices(const struct seen *want, const struct seen *got)
{
    for (int layer = 0; layer < LAYERS; layer++) {
        assert_memory_equal(got->load[layer], want->load[layer], sizeof want->load[layer]);
        assert_memory_equal(got->choice[layer], want->choice[layer], (size_t)choices_in(layer) * sizeof(double));
    }
}

static struct tiny batch_of_all(void)
{
    struct tiny whole = tiny_new(mtp, train, MODE_TRAIN, SEQUENCES, SEQ);
    tiny_start_on(&whole, how, 3);
    return whole;
}

/* Choices are whole numbers whose loads are those of the step, in the order of its tokens, however it is cut. */
static void test_record(void **state)
{
    (void)state;
    struct tiny whole = batch_of_all();
    struct seen one = { 0 };
    for (int pieces = 1; pieces <= SEQUENCES; pieces *= 2) {
        struct run r = run_new(mtp, pieces);
        struct seen s = step_of(&r, &whole, 0, NULL);
        if (pieces == 1) one = s;
        check_choices(&one, &s);
        for (int layer = 0; layer < LAYERS; layer++)
            for (int e = 0; e < EXPERTS; e++) {
                double n = 0;
                for (int i = 0; i < choices_in(layer); i++) n += s.choice[layer][i] == e;
                assert_true(n == s.load[layer][e]);
            }
        tiny_free(&r.t);
    }
    tiny_free(&whole);
}

/* Step by step, each with what the step before left of the weights. */
static void test_own(void **state)
{
    (void)state;
    struct tiny whole = batch_of_all();
    for (int pieces = 1; pieces <= 2; pieces++) {
        struct run own = run_new(mtp, pieces), same = run_new(replayed, pieces), changed = run_new(other, pieces),
                   cut = run_new(replayed, SEQUENCES);
        for (int i = 0; i < STEPS; i++) {
            struct seen want = step_of(&own, &whole, i, NULL), got = step_of(&same, &whole, i, &want),
                        differs = step_of(&changed, &whole, i, &want), parts = step_of(&cut, &whole, i, &want);
            check_choices(&want, &got);
            check_choices(&want, &differs);
            check_choices(&want, &parts);
            assert_true(got.loss == want.loss && differs.loss != want.loss);
            assert_true(i > 0 || fabs(parts.loss - want.loss) < 1e-6);      /* the balance loss is of a piece */
        }
        tiny_free(&own.t);
        tiny_free(&same.t);
        tiny_free(&changed.t);
        tiny_free(&cut.t);
    }
    tiny_free(&whole);
}

/* A layer has one router whose choices are known. */
static void test_names(void **state)
{
    (void)state;
    struct tiny t = tiny_new(replayed, train, MODE_EVAL, 2, SEQ);
    for (int layer = 0; layer < LAYERS; layer++) {
        char path[32];
        snprintf(path, sizeof path, "router_choices.%d", layer);
        const struct leaf *l = tiny_leaf(&t, path);
        assert_int_equal(inputs_choices_layer(l), layer);
        assert_true(shape_equal(l->decl.shape, SHAPE(2 * tokens_of(layer), MOST)));
    }
    assert_int_equal(inputs_choices_layer(tiny_leaf(&t, "ids")), -1);
    tiny_free(&t);
}

int main(int n, char **name)
{
    how.backend = tiny_backend(n, name);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record), cmocka_unit_test(test_own), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
