/* Mixture of attention heads: what it is beside plain attention, and that two routers of one layer do not meet. */
#include "tiny_pair.h"
#include "train/metrics.h"
#include "graph/ops/products.h"
#include "graph/ops/routing.h"

/* Weights of expert e of each layer of `from` become those of the plain model. */
static void copy_expert(const struct tiny *to, const struct tiny *from, int e)
{
    static const char *const name[] = { "q.weight", "out.weight", "q.bias" };
    for (int layer = 0; layer < to->model.layers; layer++)
        for (int i = 0; i < COUNT(name); i++) {
            char path[96], expert[96];
            snprintf(path, sizeof path, "layers.%d.attention.%s", layer, name[i]);
            snprintf(expert, sizeof expert, "layers.%d.attention.experts.%s", layer, name[i]);
            if (!leaves_find(to->leaves, path)) continue;
            int64_t n = tiny_count(to, path);
            memcpy(tiny_weight(to, path), tiny_weight(from, expert) + e * n, (size_t)n * sizeof(real));
        }
}

/* Biases begin at 0. */
static void shake(const struct tiny *t, const char *name)
{
    for (int layer = 0; layer < t->model.layers; layer++) {
        char path[96];
        snprintf(path, sizeof path, "layers.%d.attention.%s", layer, name);
        for (int64_t i = 0; leaves_find(t->leaves, path) && i < tiny_count(t, path); i++)
            tiny_weight(t, path)[i] = (real)(0.3 * sin((double)(7 * i + layer)));
    }
}

/* With nothing to choose it is plain attention, to the bit, whatever else attention has. */
static void test_one_expert(void **state)
{
    (void)state;
    static const char *const with[] = {
        "", ", \"attention.gate\": \"head\"", ", \"attention.qk_norm\": \"qk\"", ", \"attention.sink\": \"token\"",
        ", \"attention.bias\": \"all\"", ", \"attention.kv\": \"mirror\"", ", \"attention.value\": \"residual\"",
        ", \"attention.heads\": 6, \"attention.kv_heads\": 3",
        ", \"attention.mask\": {\"module\": \"window\", \"size\": 3}",
    };
    for (int i = 0; i < COUNT(with); i++) {
        char sets[2][400];
        snprintf(sets[0], sizeof sets[0], "{\"attention.experts\": {\"module\": \"routed\", \"n\": 1, \"router\": "
                 "{\"top_k\": 1}}%s}", with[i]);
        snprintf(sets[1], sizeof sets[1], "{%s}", with[i] + (*with[i] ? 2 : 0));
        struct pair p = pair_new(sets[0], sets[1]);
        shake(&p.a, "experts.q.bias");
        shake(&p.a, "out.bias");
        tiny_copy(&p.b, &p.a);
        copy_expert(&p.b, &p.a, 0);
        pair_run(&p);
        check_equal(p.x, p.y, p.n);
        pair_free(&p);
    }
}

#define ALIKE(n) TEXT({"attention.heads": 4, "attention.kv_heads": 2, "attention.experts": \
                       {"module": "routed", "n": n, "router": {"top_k": n}}})

/* Experts that are alike, with gates of 1 / K: as one. */
static void test_experts_alike(void **state)
{
    (void)state;
    static const char *const kind[] = { ALIKE(2), ALIKE(3) };
    for (int i = 0; i < COUNT(kind); i++) {
        struct pair p = pair_new(kind[i], TEXT({"attention.heads": 4, "attention.kv_heads": 2}));
        copy_expert(&p.b, &p.a, 0);
        tiny_scale_all(&p.a, "attention.router.weight", 0);
        for (int layer = 0; layer < 3; layer++)
            for (int out = 0; out < 2; out++) {
                char path[96];
                snprintf(path, sizeof path, "layers.%d.attention.experts.%s.weight", layer, out ? "out" : "q");
                int64_t n = tiny_count(&p.a, path) / (i + 2);
                for (int e = 1; e < i + 2; e++)
                    memcpy(tiny_weight(&p.a, path) + e * n, tiny_weight(&p.a, path), (size_t)n * sizeof(real));
            }
        pair_run(&p);
        check_near(p.x, p.y, p.n, 1e-5);
        pair_free(&p);
    }
}

/* A token gets what plain attention would make of each of its experts' matrices, times the gates. */
static void test_sum_of_experts(void **state)
{
    enum { EXPERTS = 4, K = 3, WIDTH = 8 };
    (void)state;
    struct tiny t = decoder(TEXT({"layers": 1, "attention.heads": 6, "attention.kv_heads": 2, "attention.experts":
                                  {"module": "routed", "n": 4, "router": {"top_k": 3, "normalize": "after"}}}));
    tiny_forward(&t);
    struct node *sum = tiny_find(&t, &op_combine, 0);
    double *given = tiny_read(&t, sum), *gate = tiny_read(&t, sum->in[3]),
           *index = tiny_read(&t, tiny_find(&t, &op_dispatch, 0)->in[0]);
    double want[12 * WIDTH] = { 0 };
    for (int e = 0; e < EXPERTS; e++) {
        struct tiny one = decoder(TEXT({"layers": 1, "attention.heads": 6, "attention.kv_heads": 2}));
        copy_expert(&one, &t, e);
        tiny_forward(&one);
        double *y = tiny_read(&one, tiny_user(&one, "layers.0.attention.out.weight"));
        for (int token = 0; token < t.tokens; token++)
            for (int j = 0; j < K; j++)
                for (int i = 0; index[K * token + j] == e && i < WIDTH; i++)
                    want[WIDTH * token + i] += gate[K * token + j] * y[WIDTH * token + i];
        free(y);
        tiny_free(&one);
    }
    check_near(given, want, 12 * WIDTH, 1e-5);
    assert_true(distance(given, given + WIDTH, WIDTH) > 1e-3);
    free(given);
    free(gate);
    free(index);
    tiny_free(&t);
}

/* Who is chosen changes queries, and no key or value. */
static void test_keys_are_shared(void **state)
{
    (void)state;
    struct tiny t = decoder(TEXT({"layers": 1, "attention.experts": "routed"}));
    double *before[3];
    tiny_forward(&t);
    struct node *attention = tiny_find(&t, &op_attention, 0);
    for (int i = 0; i < 3; i++) before[i] = tiny_read(&t, attention->in[i]);
    tiny_scale_all(&t, "attention.router.weight", -3);
    tiny_forward(&t);
    for (int i = 0; i < 3; i++) {
        double *after = tiny_read(&t, attention->in[i]);
        int64_t n = shape_count(attention->in[i]->shape);
        if (i > 0) check_equal(before[i], after, n);
        else assert_true(distance(before[i], after, n) > 1e-2);
        free(before[i]);
        free(after);
    }
    tiny_free(&t);
}

static void test_decoding(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"attention.heads": 4, "attention.kv_heads": 2, "attention.experts":
        {"module": "routed", "n": 5, "router": {"top_k": 3, "score": "sigmoid"}, "balance": ["bias"]}});
    struct tiny whole = decoder(sets);
    decoded_alike(&whole, sets);
    tiny_free(&whole);
}

/* What is kept of a token and what it costs: caches are those of plain attention; a token uses K of the projections. */
static void test_sizes(void **state)
{
    (void)state;
    static const char *const kind[] = {
        "{}", TEXT({"attention.experts": {"module": "routed", "n": 2, "router": {"top_k": 1}}}),
        TEXT({"attention.experts": {"module": "routed", "n": 8, "router": {"top_k": 4}}}),
    };
    struct counts count[3];
    size_t bytes[3];
    for (int i = 0; i < 3; i++) {
        struct tiny t = decoder(kind[i]);
        bytes[i] = model_cache_bytes(t.leaves, 2, t.model.seq, 4).per_token;
        count[i] = model_count(t.leaves);
        tiny_free(&t);
    }
    assert_true(bytes[0] > 0 && bytes[0] == bytes[1] && bytes[0] == bytes[2]);
    int layers = 3, projections = 2 * 8 * 8, router = 8;    /* q and out, 8 x 8 each; a row an expert */
    assert_int_equal(count[1].total - count[0].total, layers * (projections + 2 * router));
    assert_int_equal(count[1].active - count[0].active, layers * 2 * router);
    assert_int_equal(count[2].total - count[0].total, layers * (7 * projections + 8 * router));
    assert_int_equal(count[2].active - count[0].active, layers * (3 * projections + 8 * router));
}

static const char *const both = TEXT({
    "layers": 2, "ffn.experts": 6, "ffn.router": {"score": "sigmoid", "top_k": 3},
    "ffn.balance": ["switch_aux", "bias"],
    "attention.experts": {"module": "routed", "n": 4, "router": {"score": "sigmoid", "top_k": 2},
                          "balance": [{"module": "switch_aux", "alpha": 0.5}, {"module": "bias", "gamma": 0.5}],
                          "dispatch": {"module": "capacity", "factor": 1}}
});

/* Two routers in a layer: each has its counts, its losses, its weights and its bias. */
static void test_two_routers(void **state)
{
    (void)state;
    struct tiny t = tiny_new(both, NULL, MODE_TRAIN, 2, 6);
    double tokens[6], range[2], sum = 0;
    tiny_start(&t, 1);
    tiny_step(&t, 0);
    tiny_metric(&t, "expert_tokens", 1, tokens);
    for (int e = 0; e < 6; e++) sum += tokens[e];
    assert_true(sum == 12 * 3);
    tiny_metric(&t, "attention_expert_tokens", 1, tokens);
    for (int e = 0; e < 4; e++) sum -= tokens[e];
    assert_true(sum > 12 && sum < 36);                      /* some of 24 found no room */
    tiny_metric(&t, "attention_drop_rate", 1, range);
    assert_true(range[0] > 0);
    assert_true(tiny_loss(&t, "aux") != tiny_loss(&t, "attention_aux"));
    tiny_step(&t, 1);
    tiny_metric(&t, "router_bias_range", 0, &range[0]);
    tiny_metric(&t, "attention_router_bias_range", 0, &range[1]);
    assert_true(range[0] < 0.01 && range[1] > 0.1);
    assert_int_equal(tiny_count(&t, "layers.0.attention.router.bias"), 4);
    assert_int_equal(tiny_count(&t, "layers.0.ffn.router.bias"), 6);
    tiny_leaf(&t, "layers.1.attention.router.weight");
    tiny_leaf(&t, "layers.1.attention.experts.out.weight");
    for (int i = 0; i < t.graph->n_probes; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(t.graph->probe[i].name, t.graph->probe[k].name) == 0 && t.graph->probe[i].layer >= 0)
                assert_int_not_equal(t.graph->probe[i].layer, t.graph->probe[k].layer);
    tiny_free(&t);
}

/* Rules that layers share are shared among routers of one kind: each has its own lambda, moved by its own scores. */
static void test_shared_rules(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({
        "ffn.router": {"score": "relu", "top_k": 4, "select": {"module": "top_k", "most": 4}}, "ffn.balance": ["l1"],
        "attention.experts": {"module": "routed", "n": 6, "balance": ["l1"],
                              "router": {"score": "relu", "top_k": 1, "select": {"module": "top_k", "most": 6}}}
    }), NULL, MODE_TRAIN, 2, 6);
    double lambda[2];
    tiny_start(&t, 1);
    for (int step = 0; step < 3; step++) tiny_step(&t, step);
    assert_true(tiny_loss(&t, "l1") != tiny_loss(&t, "attention_l1"));
    tiny_leaf(&t, "layers.0.attention.router.lambda");
    tiny_leaf(&t, "layers.0.ffn.router.lambda");
    for (int layer = 0; layer < 3; layer++) {
        tiny_metric(&t, "router_lambda", layer, &lambda[0]);
        tiny_metric(&t, "attention_router_lambda", layer, &lambda[1]);
        assert_true(lambda[0] > 0 && lambda[0] < lambda[1]);    /* half have a score: fewer than 4, more than 1 */
    }
    tiny_free(&t);
}

/* As data sets both are of experts, and one may have more than the other. */
static void test_dimensions(void **state)
{
    (void)state;
    struct tiny t = tiny_new(both, NULL, MODE_TRAIN, 2, 6);
    struct metrics *m = metrics_new(t.graph, STORE_TRAIN, 2, NULL, 0);
    int seen = 0;
    for (int i = 0; i < metrics_count(m); i++) {
        const struct series *s = &metrics_series(m)[i];
        if (!strstr(s->name, "expert_tokens") && !strstr(s->name, "router_bias")) continue;
        if (strstr(s->name, "range")) continue;
        assert_string_equal(s->dim_name[1], "expert");
        assert_int_equal(s->dim[1], 6);
        seen++;
    }
    assert_int_equal(seen, 4);
    metrics_free(m);
    tiny_free(&t);
}

/* What is computed again for backward is the same to the bit, rows of experts and their way back too; also the bits of
   bf16. */
static void test_recompute(void **state)
{
    (void)state;
    for (enum precision precision = PRECISION_FP32; precision <= PRECISION_BF16; precision++) {
        struct tiny t[2];
        for (int i = 0; i < 2; i++) {
            t[i] = tiny_new(both, NULL, MODE_TRAIN, 2, 6);
            t[i].graph->keep = false;
            struct plan_how how = { &backend_cpu, precision, i ? RECOMPUTE_SELECTIVE : RECOMPUTE_NONE };
            tiny_start_on(&t[i], how, 1);
            for (int step = 0; step < 3; step++) tiny_step(&t[i], step);
        }
        for (int i = 0; i < t[0].leaves->n; i++) {
            const struct leaf *l = t[0].leaves->leaf[i];
            if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
            const real *x = state_data(t[0].state, l), *y = tiny_weight(&t[1], l->path);
            for (int64_t k = 0; k < shape_count(l->decl.shape); k++) assert_true(isfinite(x[k]) && x[k] == y[k]);
        }
        tiny_free(&t[0]);
        tiny_free(&t[1]);
    }
}

static void test_refused(void **state)
{
    (void)state;
    tiny_refused(TEXT({"attention.experts": {"module": "routed", "router": {"top_k": 9}}}),
                 "attention.experts.router.top_k = 9: the model has only 8 experts");
    tiny_refused(TEXT({"attention.experts": "routed", "attention.qk_clip": 10}),
                 "attention.qk_clip = 10: with experts = routed");
    tiny_refused(TEXT({"attention.experts": {"module": "routed", "router": {"revise": {"module": "tiles",
                       "round": "up"}}}}), "attention.experts.router.revise = adds experts");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(one_expert), RUN(experts_alike), RUN(sum_of_experts), RUN(keys_are_shared), RUN(decoding), RUN(sizes),
        RUN(two_routers), RUN(shared_rules), RUN(dimensions), RUN(recompute), RUN(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
