/* Optimizers and schedules: who is moved by what, how far, and when. */
#include "tiny_pair.h"
#include "graph/ops/update.h"

/* W1: who is moved by what, and what decays. */
static void test_optimizer_groups(void **state)
{
    (void)state;
    static const struct { const char *path; bool muon, decays; } want[] = {
        { "embed.weight", false, false }, { "embed.table0", false, false },
        { "embed.mix.weight", true, true }, { "layers.0.attention.norm.gain", false, false },
        { "layers.0.attention.q.weight", true, true }, { "layers.0.attention.k.weight", true, true },
        { "layers.0.attention.v.weight", true, true }, { "layers.0.attention.k_norm.gain", false, false },
        { "layers.0.attention.gate.weight", true, true }, { "layers.0.attention.out.weight", true, true },
        { "layers.0.attention.norm_out.gain", false, false }, { "layers.0.ffn.norm.gain", false, false },
        { "layers.0.ffn.router.weight", true, true }, { "layers.0.ffn.experts.gate.weight", true, true },
        { "layers.0.ffn.experts.up.weight", true, true }, { "layers.0.ffn.experts.down.weight", true, true },
        { "layers.0.ffn.shared.gate.weight", true, true }, { "mtp.0.project.weight", true, true },
        { "mtp.0.norm_e.gain", false, false }, { "mtp.0.norm_h.gain", false, false },
        { "mtp.0.norm.gain", false, false }, { "mtp.0.attention.q.weight", true, true },
        { "final_norm.gain", false, false }, { "head.weight", false, true },
    };
    static const struct { const char *train; bool muon, gains; } optim[] = {
        { TEXT({"optim": "adamw"}), false, false }, { TEXT({"optim": "muon"}), true, false },
        { TEXT({"optim": {"module": "adamw", "decay_gains": true}}), false, true },
        { TEXT({"optim": {"module": "muon", "decay_gains": true}}), true, true },
    };
    for (int o = 0; o < COUNT(optim); o++) {
        struct tiny t = tiny_new(tiny_welm, optim[o].train, MODE_TRAIN, 2, 6);
        int updates = 0, weights = 0;
        for (int i = 0; i < t.leaves->n; i++) weights += t.leaves->leaf[i]->kind == LEAF_WEIGHT;
        for (int i = 0; i < t.graph->n; i++) {
            const struct node *n = t.graph->node[i];
            if (n->op != &op_adamw && n->op != &op_muon) continue;
            updates++;
            for (int k = 0; k < COUNT(want); k++) {
                if (strcmp(want[k].path, n->in[0]->leaf->path) != 0) continue;
                bool muon = n->op == &op_muon;
                double decay = muon ? ((const struct muon_attr *)n->attr)->decay
                                    : ((const struct adamw_attr *)n->attr)->decay;
                bool decays = want[k].decays || (optim[o].gains && n->in[0]->leaf->role == ROLE_GAIN);
                if (muon != (optim[o].muon && want[k].muon) || decay != (decays ? 0.1 : 0))
                    fail_msg("%s: %s, decay %g", want[k].path, n->op->name, decay);
            }
        }
        for (int k = 0; k < COUNT(want); k++) tiny_leaf(&t, want[k].path);
        assert_int_equal(updates, weights);
        tiny_free(&t);
    }
}

/* The norm of a block's gradients is that of all its weights, of the blocks of multi-token prediction too. */
static void test_layer_grad_norm(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"head.mtp": {"module": "sequential", "depth": 2}}), NULL, MODE_TRAIN, 2, 6);
    static const char *const block[] = { "layers.0.", "layers.1.", "layers.2.", "mtp.0.", "mtp.1." };
    tiny_start(&t, 1);
    tiny_step(&t, 0);
    for (int layer = 0; layer < COUNT(block); layer++) {
        double norm, sum = 0;
        for (int i = 0; i < t.graph->n; i++) {
            const struct node *n = t.graph->node[i];
            if (!n->leaf || n->leaf->kind != LEAF_GRAD ||
                strncmp(n->leaf->of->path, block[layer], strlen(block[layer])) != 0)
                continue;
            double *grad = tiny_read(&t, n);
            for (int64_t k = 0; k < shape_count(n->shape); k++) sum += grad[k] * grad[k];
            free(grad);
        }
        tiny_metric(&t, "layer_grad_norm", layer, &norm);
        assert_true(norm > 0);
        assert_float_equal(norm, sqrt(sum), 1e-5 * norm);
    }
    tiny_free(&t);
}

/* The three lengths of a Muon step. */
static void test_muon_scale(void **state)
{
    (void)state;
    /* q is [16,8], experts.gate a stack of [6,8] */
    static const struct { const char *train; double q, gate; } kind[] = {
        { TEXT({"optim": {"module": "muon", "scale": "rms"}}), 0.8, 0.56568542494923806 },
        { TEXT({"optim": {"module": "muon", "scale": "spectral"}}), 1.4142135623730951, 0.86602540378443865 },
        { TEXT({"optim": {"module": "muon", "scale": "jordan"}}), 1.4142135623730951, 1 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(TEXT({"attention.heads": 4}), kind[i].train, MODE_TRAIN, 2, 6);
        for (int k = 0; k < t.graph->n; k++) {
            const struct node *n = t.graph->node[k];
            if (n->op != &op_muon) continue;
            double scale = ((const struct muon_attr *)n->attr)->scale;
            if (strcmp(n->in[0]->leaf->path, "layers.0.attention.q.weight") == 0)
                assert_float_equal(scale, kind[i].q, 1e-12);
            if (strcmp(n->in[0]->leaf->path, "layers.0.ffn.experts.gate.weight") == 0)
                assert_float_equal(scale, kind[i].gate, 1e-12);
        }
        tiny_free(&t);
    }
}

struct golden { int64_t step; double factor; };

static void check_schedule(const char *train, int64_t steps, const struct golden *want, int n)
{
    struct tiny t = tiny_new("{}", train, MODE_EVAL, 1, 2);
    const struct pick *s = &t.train.schedule;
    t.train.batch = 1;
    int64_t warmup = schedule_warmup(*s, &t.train, 8);
    for (int i = 0; i < n; i++)
        assert_float_equal(schedule_factor(*s, warmup, want[i].step, steps), want[i].factor, 1e-6);
    tiny_free(&t);
}

static void test_schedules(void **state)
{
    (void)state;
    /* The last step that is trained is one before the number of steps, where the curve ends. */
    static const struct golden constant[] = { { 0, 0.1 }, { 4, 0.5 }, { 9, 1 }, { 10, 1 }, { 99, 1 } };
    static const struct golden cosine[] = { { 0, 0.1 }, { 9, 1 }, { 10, 1 }, { 35, 0.868198 }, { 60, 0.55 },
                                            { 85, 0.231802 }, { 109, 0.100222 }, { 110, 0.1 } };
    static const struct golden roots[] = { { 0, 0.1 }, { 79, 1 }, { 80, 1 }, { 81, 0.776393 }, { 85, 0.5 },
                                           { 90, 0.292893 }, { 95, 0.133975 }, { 99, 0.025321 }, { 100, 0 } };
    static const struct golden linear[] = { { 0, 1 }, { 50, 1 }, { 51, 0.98 }, { 75, 0.5 }, { 99, 0.02 }, { 100, 0 } };
    static const struct golden line[] = { { 9, 1 }, { 10, 1 }, { 60, 0.5 }, { 109, 0.01 }, { 110, 0 } };
    static const struct golden inverse[] = { { 3, 0.25 }, { 15, 1 }, { 16, 1 }, { 64, 0.5 }, { 100, 0.4 } };
    static const struct golden falls[] = { { 79, 1 }, { 80, 0.316 }, { 89, 0.316 }, { 90, 0.099856 },
                                           { 99, 0.099856 } };
    static const struct golden cosine_tail[] = { { 50, 1 }, { 75, 0.5 }, { 100, 0 } };
    static const struct golden exponential[] = { { 50, 1 }, { 75, 0.5 }, { 100, 0.25 } };
    static const struct golden to_a_tenth[] = { { 80, 1 }, { 85, 0.55 }, { 100, 0.1 } };
    static const struct golden horizons[] = { { 22, 1 }, { 24, 0.4 }, { 25, 1 }, { 47, 1 }, { 49, 0.4 }, { 50, 1 },
                                              { 95, 1 }, { 99, 0.2 } };
    static const struct golden ramp[] = { { 0, 0.01 }, { 49, 0.5 }, { 98, 0.99 }, { 99, 1 } };
    check_schedule(TEXT({"schedule": {"module": "constant", "warmup": 10}}), 100, constant, COUNT(constant));
    check_schedule(TEXT({"schedule": {"module": "cosine", "warmup": 10}}), 110, cosine, COUNT(cosine));
    check_schedule(TEXT({"schedule": {"module": "wsd", "warmup": 10}}), 100, roots, COUNT(roots));
    check_schedule(TEXT({"schedule": {"module": "wsd", "decay": 0.5, "shape": "linear"}}), 100, linear, COUNT(linear));
    check_schedule(TEXT({"schedule": {"module": "linear", "warmup": 10}}), 110, line, COUNT(line));
    check_schedule(TEXT({"schedule": {"module": "inverse_sqrt", "warmup": 16}}), 100, inverse, COUNT(inverse));
    check_schedule(TEXT({"schedule": "step"}), 100, falls, COUNT(falls));
    check_schedule(TEXT({"schedule": {"module": "wsd", "decay": 0.5, "shape": "cosine"}}), 100, cosine_tail,
                   COUNT(cosine_tail));
    check_schedule(TEXT({"schedule": {"module": "wsd", "decay": 0.5, "shape": "exponential", "final": 0.25}}), 100,
                   exponential, COUNT(exponential));
    check_schedule(TEXT({"schedule": {"module": "wsd", "final": 0.1}}), 100, to_a_tenth, COUNT(to_a_tenth));
    check_schedule(TEXT({"schedule": "wsds"}), 100, horizons, COUNT(horizons));
    /* steps of 8 tokens: 79 are ten of them, begun */
    check_schedule(TEXT({"schedule": {"module": "constant", "warmup_tokens": 79}}), 100, constant, COUNT(constant));
    check_schedule(TEXT({"steps": 100, "schedule": {"module": "constant", "warmup": 100}}), 100, ramp, COUNT(ramp));
    check_schedule(TEXT({"steps": 100, "schedule": {"module": "cosine", "warmup": 100}}), 100, ramp, COUNT(ramp));
}

/* The rate that the optimizer reads is lr times the factor. */
static void test_rate(void **state)
{
    (void)state;
    struct tiny t = tiny_new("{}", TEXT({"optim.lr": 0.5, "schedule": {"module": "constant", "warmup": 4}}), MODE_TRAIN,
                             2, 6);
    tiny_start(&t, 1);
    tiny_step(&t, 0);
    assert_true(tiny_weight(&t, "lr")[0] == 0.125f);
    tiny_step(&t, 9);
    assert_true(tiny_weight(&t, "lr")[0] == 0.5f);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(optimizer_groups), RUN(layer_grad_norm), RUN(muon_scale), RUN(schedules), RUN(rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
