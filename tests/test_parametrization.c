/* Parametrizations: what a width does to initial values, logits, rates, eps and decay, by what a weight reads; that at
   the base nothing changes; which optimizers have no rule. */
#include "tiny_pair.h"
#include "graph/ops/update.h"

#define MUP(base) "\"parametrization\": {\"module\": \"mup\", \"base_d_model\": " #base "}"
static const char *const wide = "{\"d_model\": 32, \"ffn.d_ff\": 24, \"head.tied\": false, " MUP(8) "}",
                  *const wide_standard = TEXT({"d_model": 32, "ffn.d_ff": 24, "head.tied": false});

static const char *const optimizers[] = {
    TEXT({"optim": "adamw"}), TEXT({"optim": "lion"}), TEXT({"optim": "sgd"}), TEXT({"optim": "schedule_free"}),
    TEXT({"optim": {"module": "muon", "scale": "spectral", "router": "adamw"}}),
};

/* At the base the graph is the same, and so are the bits. */
static void test_base(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(optimizers); i++) {
        struct tiny t[2] = { tiny_new(NULL, optimizers[i], MODE_TRAIN, 2, 6),
                             tiny_new("{" MUP(8) "}", optimizers[i], MODE_TRAIN, 2, 6) };
        assert_true(tiny_same(&t[0], &t[1]));
        for (int k = 0; k < 2; k++) {
            tiny_start(&t[k], 1);
            for (int step = 0; step < 3; step++) tiny_step(&t[k], step);
        }
        for (int l = 0; l < t[0].leaves->n; l++) {
            const struct leaf *w = t[0].leaves->leaf[l];
            if (w->kind != LEAF_WEIGHT) continue;
            assert_memory_equal(state_data(t[0].state, w), tiny_weight(&t[1], w->path),
                                (size_t)shape_count(w->decl.shape) * sizeof(real));
        }
        for (int k = 0; k < 2; k++) tiny_free(&t[k]);
    }
}

static const struct adamw_attr *adamw_of(const struct tiny *t, const char *path)
{
    for (int i = 0; i < t->graph->n; i++) {
        const struct node *n = t->graph->node[i];
        if (n->op == &op_adamw && n->in[0]->leaf && strcmp(n->in[0]->leaf->path, path) == 0) return n->attr;
    }
    fail_msg("AdamW does not move '%s'", path);
    return NULL;
}

/* Four times as wide as the base, feed-forwards too. */
static void test_adamw(void **state)
{
    (void)state;
    static const struct { const char *path; double init, rate, decay; } of[] = {
        { "embed.weight", 1, 1, 0 },
        { "head.weight", 1, 1, 0.1 },
        { "final_norm.gain", 0, 1, 0 },
        { "layers.0.attention.q.weight", 0.5, 0.25, 0.4 },
        { "layers.1.attention.out.weight", 0.5, 0.25, 0.4 },
        { "layers.1.ffn.experts.up.weight", 0.5, 0.25, 0.4 },
        { "layers.2.ffn.experts.down.weight", 0.5, 0.25, 0.4 },
        { "layers.2.ffn.router.weight", 1, 1, 0.1 },
    };
    static const char *const train = TEXT({"optim": {"module": "adamw", "decay": 0.1, "eps": 1e-6}});
    struct tiny t = tiny_new(wide, train, MODE_TRAIN, 2, 6);
    for (int i = 0; i < COUNT(of); i++) {
        const struct adamw_attr *a = adamw_of(&t, of[i].path);
        double std = tiny_leaf(&t, of[i].path)->init.std;
        if (std != 0.3 * of[i].init || a->rate != of[i].rate || a->decay != of[i].decay || a->eps != 1e-6 / 4)
            fail_msg("%s: std %g, rate %g, decay %g, eps %g", of[i].path, std, a->rate, a->decay, a->eps);
    }
    tiny_free(&t);
}

/* A feed-forward that stays as wide as in the base reads no more there. */
static void test_narrow_ffn(void **state)
{
    (void)state;
    static const char *const narrow = TEXT({"d_model": 32, "parametrization": {"module": "mup", "base_d_model": 8,
                                                                              "base_d_ff": 6}});
    struct tiny t = tiny_new(narrow, NULL, MODE_TRAIN, 2, 6);
    assert_true(adamw_of(&t, "layers.0.ffn.experts.down.weight")->rate == 1);
    assert_true(tiny_leaf(&t, "layers.0.ffn.experts.down.weight")->init.std == 0.3);
    assert_true(adamw_of(&t, "layers.0.ffn.experts.up.weight")->rate == 0.25);
    tiny_free(&t);
}

/* Initial values of schemes that go by widths themselves are those of the base, too. */
static void test_init(void **state)
{
    (void)state;
    static const struct { const char *init, *path; double std; } of[] = {
        { "\"fan\"", "layers.0.attention.q.weight", 0.17677669529663687 },         /* 1 / sqrt(32) */
        { "\"fan\"", "head.weight", 0.35355339059327379 },                         /* 1 / sqrt(8) */
        { "\"fan\"", "layers.0.ffn.router.weight", 0.35355339059327379 },
        { "{\"module\": \"fan\", \"fan\": \"both\"}", "layers.0.attention.q.weight", 0.17677669529663687 * 2 / 2 },
        { "\"llama\"", "head.weight", 0.35355339059327379 },
        { "\"llama\"", "layers.0.attention.q.weight", 0.01 },
    };
    for (int i = 0; i < COUNT(of); i++) {
        char sets[256];
        snprintf(sets, sizeof sets, "{\"d_model\": 32, \"ffn.d_ff\": 24, \"head.tied\": false, "
                 "\"attention.heads\": 8, \"init\": %s, " MUP(8) "}", of[i].init);
        struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 2, 6);
        assert_float_equal(tiny_leaf(&t, of[i].path)->init.std, of[i].std, 1e-12);
        tiny_free(&t);
    }
}

static double moved(const char *model, const char *train, const char *path)
{
    struct tiny t = tiny_new(model, train, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    int64_t n = tiny_count(&t, path);
    double *before = xmalloc((size_t)n * sizeof *before), sum = 0;
    for (int64_t i = 0; i < n; i++) before[i] = (double)tiny_weight(&t, path)[i];
    tiny_step(&t, 0);
    for (int64_t i = 0; i < n; i++) sum += pow((double)tiny_weight(&t, path)[i] - before[i], 2);
    free(before);
    tiny_free(&t);
    return sqrt(sum);
}

/* Lion moves as AdamW does; Muon moves hidden matrices as it would, and the rest as AdamW. */
static void test_others(void **state)
{
    (void)state;
    static const char *const lion = TEXT({"optim": {"module": "lion", "lr": 0.01, "decay": 0}, "schedule": "constant"}),
                      *const muon = TEXT({"optim": {"module": "muon", "lr": 0.01, "decay": 0, "scale": "spectral",
                                                    "router": "adamw"}, "schedule": "constant"}),
                      *const q = "layers.0.attention.q.weight", *const router = "layers.0.ffn.router.weight";
    assert_float_equal(moved(wide, lion, q), moved(wide_standard, lion, q) / 4, 1e-6);
    assert_float_equal(moved(wide, lion, router), moved(wide_standard, lion, router), 1e-6);
    assert_float_equal(moved(wide, muon, router), moved(wide_standard, muon, router), 1e-4);
    struct tiny t = tiny_new(wide, muon, MODE_TRAIN, 2, 6);
    for (int i = 0; i < t.graph->n; i++) {
        const struct node *n = t.graph->node[i];
        if (n->op != &op_muon) continue;
        struct shape s = n->in[0]->shape;
        double rows = (double)s.dim[s.rank - 2], columns = (double)s.dim[s.rank - 1];
        assert_true(((const struct muon_attr *)n->attr)->scale == sqrt(rows / columns));
    }
    tiny_free(&t);
}

/* Gradients are as many times smaller as the model is wider: of a step of SGD nothing else is left. */
static void test_sgd(void **state)
{
    (void)state;
    static const struct { const char *path; double rate; } of[] = {
        { "embed.weight", 4 }, { "head.weight", 4 }, { "layers.0.attention.q.weight", 1 },
        { "layers.0.ffn.router.weight", 4 }, { "final_norm.gain", 4 },
    };
    struct tiny t = tiny_new(wide, TEXT({"optim": {"module": "sgd", "decay": 0.1}}), MODE_TRAIN, 2, 6);
    for (int i = 0; i < COUNT(of); i++)
        for (int k = 0; k < t.graph->n; k++) {
            const struct node *n = t.graph->node[k];
            if (n->op != &op_sgd || strcmp(n->in[0]->leaf->path, of[i].path) != 0) continue;
            const struct sgd_attr *a = n->attr;
            assert_true(a->rate == of[i].rate);
            assert_true(a->decay == 0 || a->decay * a->rate == 0.1);
        }
    tiny_free(&t);
}

static const char *const dense = TEXT({"d_model": 32, "ffn": {"module": "dense", "d_ff": 24}}),
                  *const dense_mup = "{\"d_model\": 32, \"ffn\": {\"module\": \"dense\", \"d_ff\": 24}, " MUP(8) "}";

/* Of the same weights a tied head says a quarter, with a cap too: that comes after. */
static void test_head(void **state)
{
    (void)state;
    struct pair p = pair_new(dense, dense_mup);
    tiny_copy(&p.b, &p.a);
    pair_run(&p);
    for (int64_t i = 0; i < p.n; i++) assert_true(p.y[i] == p.x[i] / 4);
    pair_free(&p);
}

/* As does a router, whatever it makes of its logits. */
static void test_router(void **state)
{
    (void)state;
    static const char *const scores[] = { "softmax", "sigmoid", "sqrt_softplus", "relu" };
    for (int i = 0; i < COUNT(scores); i++) {
        double most[2];
        struct tiny t[2];
        for (int k = 0; k < 2; k++) {
            char sets[512];
            snprintf(sets, sizeof sets, "{\"layers\": 1, \"d_model\": 32, \"ffn.router.score\": \"%s\"%s}", scores[i],
                     k ? ", " MUP(8) : "");
            t[k] = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
            tiny_start(&t[k], 1);
            if (k) tiny_copy(&t[1], &t[0]);
            tiny_forward(&t[k]);
            tiny_metric(&t[k], "router_logit_max", 0, &most[k]);
        }
        assert_true(most[1] == most[0] / 4);
        for (int k = 0; k < 2; k++) tiny_free(&t[k]);
    }
}

/* What is as wide in every model is as in the base. */
static void test_same(void **state)
{
    (void)state;
    static const struct { const char *sets, *path; enum weight_reads reads; } of[] = {
        { TEXT({"ffn.router.logits": {"module": "mlp", "hidden": 4}}), "layers.0.ffn.router.weight", READS_SAME },
        { TEXT({"ffn.router.logits": {"module": "mlp", "hidden": 4}}), "layers.0.ffn.router.hidden.weight",
          READS_STREAM },
        { TEXT({"ffn.router.logits": "cosine"}), "layers.0.ffn.router.weight", READS_SAME },
        { TEXT({"ffn.router.logits": "cosine"}), "layers.0.ffn.router.projection.weight", READS_STREAM },
        { TEXT({"ffn.router.logits": "running_mean"}), "layers.0.ffn.router.weight", READS_OUT },
        { TEXT({"embed": {"module": "over_encoding", "rows": 7, "width": 3}}), "embed.mix.weight", READS_SAME },
        { TEXT({"embed.rank": 4}), "embed.project.weight", READS_SAME },
        { TEXT({"head.mtp": "sequential"}), "mtp.0.project.weight", READS_STREAM },
        { TEXT({"attention.gate": {"module": "element", "rank": 2}}), "layers.0.attention.gate.weight", READS_SAME },
        { TEXT({"attention.gate": {"module": "element", "rank": 2}}), "layers.0.attention.gate_down.weight",
          READS_STREAM },
    };
    for (int i = 0; i < COUNT(of); i++) {
        struct tiny t = tiny_new(of[i].sets, NULL, MODE_EVAL, 2, 6);
        if (tiny_leaf(&t, of[i].path)->reads != of[i].reads)
            fail_msg("%s: %s reads %d", of[i].sets, of[i].path, (int)tiny_leaf(&t, of[i].path)->reads);
        tiny_free(&t);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct { const char *train, *words; } of[] = {
        { TEXT({"optim": "adafactor"}), "adafactor: no rule is known" },
        { TEXT({"optim": "normalized_momentum"}), "normalized_momentum: no rule is known" },
        { TEXT({"optim": {"module": "adamw", "sphere": true}}), "one is of adamw without sphere" },
        { TEXT({"optim": "muon"}), "one is of muon with scale = \"spectral\"" },
        { TEXT({"optim": "lion", "constraint": "unit_norm"}), "unit_norm: sets how large weights are" },
    };
    for (int i = 0; i < COUNT(of); i++) {
        struct tiny t = { 0 };
        char why[256];
        struct problems problems = { 0 };
        json_t *model = tiny_json(&model_schema, tiny_base, "{" MUP(4) "}"),
               *train = tiny_json(&train_schema, "{}", of[i].train);
        if (!tiny_load(&t, model, train, why)) fail_msg("%s", why);
        conf_agree(&t.model, &t.train, &problems);
        if (problems.n != 1 || !strstr(problems.problem[0].text, of[i].words))
            fail_msg("%s: %s", of[i].train, problems.n ? problems.problem[0].text : "not refused");
        problems_free(&problems);
        arena_free(t.arena);
        json_decref(model);
        json_decref(train);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(base), RUN(adamw), RUN(narrow_ffn), RUN(init), RUN(others), RUN(sgd),
                                        RUN(head), RUN(router), RUN(same), RUN(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
