/* Monitors: what their ops give, that they change nothing of what they watch, and how they name it. */
#include "run_graph.h"
#include "tiny.h"

/* wave(shape, a, b): sin(a i + b) of the values in their order. */
static void fill_wave(const struct run *r, const struct node *n, double a, double b)
{
    for (int64_t i = 0; i < shape_count(n->shape); i++) run_reals(r, n)[i] = (real)sin(a * (double)i + b);
}

/* Golden: by iterations, from below. */
static void test_spectral(void **state)
{
    (void)state;
    static const double sigma[] = { 2.127893, 2.133726, 2.135314, 2.135742, 2.135857 };
    struct run r = run_new();
    struct node *w = graph_input(r.graph, "w", DTYPE_REAL, SHAPE(5, 3)), *after[6];
    for (int i = 0; i < 5; i++) after[i] = spectral(r.graph, w, i + 1);
    after[5] = spectral(r.graph, w, 40);
    struct node *rank = graph_result(r.graph, after[5], 1);
    run_start(&r, 2);
    fill_wave(&r, w, .7, .1);
    run_forward(&r);
    for (int i = 0; i < 5; i++) assert_reals(run_reals(&r, after[i]), 2e-6, sigma[i]);
    assert_reals(run_reals(&r, after[5]), 2e-6, 2.135899);
    assert_reals(run_reals(&r, rank), 5e-6, 1.518416);
    run_free(&r);
}

/* A matrix of zeros, one whose rows the start is at right angles to, and a multiple of the identity. */
static void test_spectral_edges(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *w = graph_input(r.graph, "w", DTYPE_REAL, SHAPE(3, 2, 2)), *s = spectral(r.graph, w, 10),
                *rank = graph_result(r.graph, s, 1);
    run_start(&r, 1);
    run_fill(&r, w, 0, 0, 0, 0, 1, -1, 2, -2, 3, 0, 0, 3);
    run_forward(&r);
    assert_reals(run_reals(&r, s), 1e-5, 0, sqrt(5), 3);     /* the second: its Frobenius norm is sqrt 10 */
    assert_reals(run_reals(&r, rank), 1e-5, 0, 2, 2);
    run_free(&r);
}

static void test_row_rms(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(3, 2)), *y = row_rms(r.graph, x);
    run_start(&r, 1);
    run_fill(&r, x, 3, 4, 0, 0, -1, 1);
    run_forward(&r);
    assert_reals(run_reals(&r, y), 1e-6, sqrt(12.5), 0, 1);
    run_free(&r);
}

enum { TOKENS = 7, HEADS = 4, GROUPS = 2, WIDTH = 3 };

/* What query t of head h gives its keys, without a sink. */
static double entropy_by_hand(const struct run *r, const struct attention *a, int t, int h)
{
    const real *q = run_reals(r, a->q) + (t * HEADS + h) * WIDTH;
    double z[TOKENS], sum = 0, mean = 0;
    int first = t > 3 ? 4 : 0;                              /* the second document */
    if (a->window && t - a->window + 1 > first) first = t - (int)a->window + 1;
    for (int s = first; s <= t; s++) {
        z[s] = 0;
        for (int c = 0; c < WIDTH; c++)
            z[s] += a->scale * (double)q[c] * (double)run_reals(r, a->k)[(s * GROUPS + h / 2) * WIDTH + c];
        if (a->rel && t - s < 2) z[s] += (double)run_reals(r, a->rel)[(t * HEADS + h) * 2 + t - s];
        if (a->softcap > 0) z[s] = a->softcap * tanh(z[s] / a->softcap);
        sum += exp(z[s]);
    }
    for (int s = first; s <= t; s++) mean += exp(z[s]) / sum * z[s];
    return log(sum) - mean;
}

/* With documents, a window, biases, a cap; and a sink is no key. */
static void test_entropy(void **state)
{
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *q = graph_input(g, "q", DTYPE_REAL, SHAPE(TOKENS, HEADS, WIDTH)),
                *k = graph_input(g, "k", DTYPE_REAL, SHAPE(TOKENS, GROUPS, WIDTH)),
                *rel = graph_input(g, "rel", DTYPE_REAL, SHAPE(TOKENS, HEADS, 2)),
                *sink = graph_input(g, "sink", DTYPE_REAL, SHAPE(HEADS)),
                *start = graph_input(g, "start", DTYPE_I32, SHAPE(1, TOKENS));
    struct attention plain = { .q = q, .k = k, .start = start, .scale = .7 }, bent = plain, sunk = plain;
    bent.rel = rel;
    bent.softcap = .9;
    bent.window = 3;
    sunk.sink = sink;
    struct node *of_plain = attention_entropy(g, plain), *of_bent = attention_entropy(g, bent),
                *of_sunk = attention_entropy(g, sunk);
    run_start(&r, 2);
    run_normal(&r, q, 1);
    run_normal(&r, k, 2);
    run_normal(&r, rel, 3);
    run_fill(&r, sink, 1, 2, 3, 4);
    run_fill(&r, start, 0, 0, 0, 0, 4, 4, 4);
    run_forward(&r);
    for (int t = 0; t < TOKENS; t++)
        for (int h = 0; h < HEADS; h++) {
            int at = t * HEADS + h;
            assert_float_equal(run_reals(&r, of_plain)[at], entropy_by_hand(&r, &plain, t, h), 1e-5);
            assert_float_equal(run_reals(&r, of_bent)[at], entropy_by_hand(&r, &bent, t, h), 1e-5);
            assert_true(run_reals(&r, of_sunk)[at] == run_reals(&r, of_plain)[at]);
        }
    run_free(&r);
}

/* What a node was made of makes it again; a graph that has failed has none to tell of. */
static void test_given(void **state)
{
    (void)state;
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    struct attention a = { .q = graph_input(g, "q", DTYPE_REAL, SHAPE(4, 2, 2)), .scale = .7, .window = 3, .chunk = 2,
                           .k = graph_input(g, "k", DTYPE_REAL, SHAPE(4, 1, 2)),
                           .v = graph_input(g, "v", DTYPE_REAL, SHAPE(4, 1, 5)),
                           .start = graph_input(g, "start", DTYPE_I32, SHAPE(1, 4)),
                           .sink = graph_input(g, "sink", DTYPE_REAL, SHAPE(2)),
                           .rel = graph_input(g, "rel", DTYPE_REAL, SHAPE(4, 2, 2)), .softcap = 5 },
                     named = { .q = a.q, .k = a.k, .values = 1, .start = a.start, .block = 2, .scale = 1,
                               .index = graph_input(g, "index", DTYPE_I32, SHAPE(4, 2)) };
    const struct attention made[] = { a, named };
    for (int i = 0; i < COUNT(made); i++) {
        struct node *n = attention(g, made[i]);
        struct attention given = attention_given(n);
        assert_false(g->failed);
        assert_memory_equal(&given, &made[i], sizeof given);
    }
    graph_fail(g, "planted");
    assert_null(attention_given(attention(g, a)).q);
    graph_free(g);
    leaves_free(leaves);
}

/* Keys that an index names; of equal keys the log of their number, of none 0. */
static void test_entropy_named(void **state)
{
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct attention a = { .q = graph_input(g, "q", DTYPE_REAL, SHAPE(4, 1, 2)), .scale = 1,
                           .k = graph_input(g, "k", DTYPE_REAL, SHAPE(4, 1, 2)),
                           .start = graph_input(g, "start", DTYPE_I32, SHAPE(1, 4)),
                           .index = graph_input(g, "index", DTYPE_I32, SHAPE(4, 3)) };
    struct node *entropy = attention_entropy(g, a);
    run_start(&r, 1);
    run_normal(&r, a.q, 1);
    run_fill(&r, a.k, 1, 1, 1, 1, 1, 1, 1, 1);
    run_fill(&r, a.start, 0, 0, 0, 0);
    run_fill(&r, a.index, -1, -1, 3, 0, 1, -1, 2, 1, 0, 3, 0, 0);        /* the last: one key twice is two */
    run_forward(&r);
    assert_reals(run_reals(&r, entropy), 1e-6, 0, log(2), log(3), log(3));
    run_free(&r);
}

static const char *const all = TEXT({"monitors": ["weights", "spectral", "stream", "attention", "ranks"]});

static bool same_weights(const struct tiny *a, const struct tiny *b)
{
    for (int i = 0; i < a->leaves->n; i++) {
        const struct leaf *l = a->leaves->leaf[i], *other = leaves_find(b->leaves, l->path);
        if (l->kind != LEAF_WEIGHT) continue;
        if (!other || memcmp(state_data(a->state, l), state_data(b->state, other), leaf_bytes(l)) != 0) return false;
    }
    return true;
}

/* Whoever watches, the same graphs but for metrics, and the same bits. */
static void test_changes_nothing(void **state)
{
    (void)state;
    struct tiny watched = tiny_new(NULL, all, MODE_TRAIN, 2, 6), alone = tiny_new(NULL, NULL, MODE_TRAIN, 2, 6);
    tiny_start(&watched, 1);
    tiny_start(&alone, 1);
    for (int step = 0; step < 4; step++) {
        tiny_step(&watched, step);
        tiny_step(&alone, step);
    }
    assert_true(same_weights(&watched, &alone));
    tiny_free(&watched);
    tiny_free(&alone);
}

/* Of each layer by the weight's name in it, and by expert. */
static void test_weights(void **state)
{
    (void)state;
    struct tiny t = tiny_new(NULL, TEXT({"monitors": ["weights"], "clip": 0}), MODE_TRAIN, 2, 6);
    double size, most, ratio, cosine, grad, of_expert[4], sum = 0, largest = 0, before = 0, change = 0, along = 0;
    tiny_start(&t, 1);
    int64_t n = tiny_count(&t, "layers.1.ffn.experts.up.weight");
    real *w = tiny_weight(&t, "layers.1.ffn.experts.up.weight"), *old = xmalloc((size_t)n * sizeof *old);
    memcpy(old, w, (size_t)n * sizeof *old);
    tiny_step(&t, 0);
    tiny_metric(&t, "weight_rms.ffn.experts.up", 1, &size);
    tiny_metric(&t, "weight_max.ffn.experts.up", 1, &most);
    tiny_metric(&t, "update_ratio.ffn.experts.up", 1, &ratio);
    tiny_metric(&t, "update_cosine.ffn.experts.up", 1, &cosine);
    tiny_metric(&t, "grad_rms.ffn.experts.up", 1, &grad);
    tiny_metric(&t, "expert_grad_rms.ffn.experts.up", 1, of_expert);
    for (int64_t i = 0; i < n; i++) {
        sum += (double)w[i] * (double)w[i];
        before += (double)old[i] * (double)old[i];
        change += pow((double)w[i] - (double)old[i], 2);
        along += ((double)w[i] - (double)old[i]) * (double)old[i];
        largest = fmax(largest, fabs((double)w[i]));
    }
    assert_float_equal(size, sqrt(sum / (double)n), 1e-6);
    assert_true(most == largest);
    assert_float_equal(ratio, sqrt(change / before), 1e-6);
    assert_float_equal(cosine, along / sqrt(change * before), 1e-6);
    sum = 0;
    for (int e = 0; e < 4; e++) sum += of_expert[e] * of_expert[e] / 4;
    assert_true(grad > 0);
    assert_float_equal(sqrt(sum), grad, 1e-6 * grad + 1e-12);
    free(old);
    tiny_free(&t);
}

/* Vectors of tokens that do not occur have gradients of 0, and no others. Without targets nothing moves. */
static void test_nothing_there(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"head.tied": false}), TEXT({"monitors": ["weights"]}), MODE_TRAIN, 2, 6);
    double zeros, none, ratio, cosine;
    tiny_start(&t, 1);
    for (int i = 0; i < t.tokens; i++) t.ids[i] = i % 3;
    tiny_step(&t, 0);
    tiny_metric(&t, "grad_zeros.embed", -1, &zeros);
    tiny_metric(&t, "grad_zeros.head", -1, &none);
    assert_float_equal(zeros, 8. / 11, 1e-6);
    assert_true(none == 0);
    for (int i = 0; i < t.tokens; i++) t.weight[i] = 0;
    tiny_step(&t, 1);
    tiny_metric(&t, "grad_zeros.head", -1, &zeros);
    tiny_metric(&t, "update_ratio.head", -1, &ratio);
    tiny_metric(&t, "update_cosine.head", -1, &cosine);
    assert_true(zeros == 1 && ratio == 0 && cosine == 0);
    tiny_free(&t);
}

/* A pattern chooses, and one that names nothing is refused. */
static void test_patterns(void **state)
{
    (void)state;
    struct tiny t = tiny_new(NULL, TEXT({"monitors": [{"module": "weights", "match": "attention.[qk]"}]}), MODE_TRAIN,
                             2, 6);
    int found = 0;
    for (int i = 0; i < t.graph->n_probes; i++) found += strncmp(t.graph->probe[i].name, "weight_rms.", 11) == 0;
    assert_int_equal(found, 2 * 3);
    tiny_free(&t);
    json_t *model = tiny_json(&model_schema, tiny_base, NULL),
           *train = tiny_json(&train_schema, "{}", TEXT({"monitors": [{"module": "spectral", "match": "atention.*"}]}));
    char why[256];
    t = (struct tiny){ 0 };
    assert_true(tiny_load(&t, model, train, why));
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    model_build(g, t.arena, &t.model, &t.train, MODE_EVAL, (struct model_size){ .batch = 2, .seq = 6 });
    assert_true(g->failed);
    if (!strstr(g->err.text, "train.monitors.spectral: match names no weight: 'atention.*'; "))
        fail_msg("%s", g->err.text);
    graph_free(g);
    leaves_free(leaves);
    arena_free(t.arena);
    json_decref(train);
    train = tiny_json(&train_schema, "{}", TEXT({"monitors": [{"module": "spectral", "match": 3}]}));
    assert_false(tiny_load(&t, model, train, why));
    assert_string_equal(why, "train.monitors.spectral.match = 3: must be a text");
    arena_free(t.arena);
    json_decref(model);
    json_decref(train);
}

/* A layer that writes nothing leaves the stream as it is: cosine 1. Its values are those of the stream. */
static void test_stream(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 2}), TEXT({"monitors": ["stream"]}), MODE_EVAL, 2, 6);
    double same, other, kurtosis, most, rank, fourth = 0, second = 0, largest = 0;
    tiny_start(&t, 1);
    tiny_scale(&t, "layers.0.attention.out.weight", 0);
    tiny_scale(&t, "layers.0.ffn.experts.down.weight", 0);
    tiny_forward(&t);
    tiny_metric(&t, "layer_stream_similarity", 0, &same);
    tiny_metric(&t, "layer_stream_similarity", 1, &other);
    tiny_metric(&t, "layer_stream_kurtosis", 0, &kurtosis);
    tiny_metric(&t, "layer_stream_max", 0, &most);
    tiny_metric(&t, "layer_stream_rank", 0, &rank);
    assert_float_equal(same, 1, 1e-5);
    assert_true(other < 0.999 && other > -1);
    const real *e = tiny_weight(&t, "embed.weight");
    for (int i = 0; i < t.tokens; i++)
        for (int c = 0; c < 8; c++) {
            double x = (double)e[t.ids[i] * 8 + c];
            fourth += pow(x, 4) / (t.tokens * 8);
            second += x * x / (t.tokens * 8);
            largest = fmax(largest, fabs(x));
        }
    assert_float_equal(kurtosis, fourth / (second * second), 1e-4);
    assert_float_equal(most, largest, 1e-5);
    assert_true(rank >= 1 && rank <= 8);
    tiny_free(&t);
}

/* What fills up a batch, and a batch of nothing else, does not count. */
static void test_fill_is_not_seen(void **state)
{
    (void)state;
    static const char *const names[] = { "layer_stream_similarity", "layer_stream_kurtosis", "layer_stream_max",
                                         "layer_stream_rank" };
    struct tiny one = tiny_new(TEXT({"layers": 2}), TEXT({"monitors": ["stream"]}), MODE_EVAL, 1, 6),
                two = tiny_new(TEXT({"layers": 2}), TEXT({"monitors": ["stream"]}), MODE_EVAL, 2, 6);
    tiny_start(&one, 1);
    tiny_start(&two, 1);
    for (int i = 0; i < 6; i++) two.ids[i] = one.ids[i];
    for (int i = 6; i < 12; i++) two.present[i] = two.weight[i] = 0;
    tiny_forward(&one);
    tiny_forward(&two);
    for (int n = 0; n < COUNT(names); n++)
        for (int layer = 0; layer < 2; layer++) {
            double alone, filled;
            tiny_metric(&one, names[n], layer, &alone);
            tiny_metric(&two, names[n], layer, &filled);
            if (!(fabs(alone - filled) <= 1e-5 * fabs(alone)))
                fail_msg("%s: %g, filled up %g", names[n], alone, filled);
        }
    tiny_free(&one);
    tiny_free(&two);
}

/* Every kind of attention is watched; who has none, in linear time, is passed over. */
static void test_all_attentions(void **state)
{
    (void)state;
    static const struct { const char *sets; int heads; } kind[] = {
        { TEXT({"layers": 1, "attention.sink": "token", "attention.softcap": 2}), 2 },
        { TEXT({"layers": 1, "attention": {"module": "mla", "heads": 2, "nope_dim": 4, "value_dim": 4, "kv_rank": 4,
                                           "rope_dim": 2}}), 2 },
        { TEXT({"layers": 1, "attention.keys": {"module": "dsa", "top_k": 2}}), 2 },
        { TEXT({"layers": 1, "attention.keys": {"module": "moba", "size": 2, "blocks": 2}}), 2 },
        { TEXT({"layers": 1, "attention": {"module": "compressed", "heads": 2, "head_dim": 4, "groups": 1,
                                           "pool": 2, "window": 2}}), 2 },
        { TEXT({"layers": 1, "attention": {"module": "gated_delta", "heads": 2, "value_heads": 2, "key_dim": 4,
                                           "value_dim": 4}}), 0 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, all, MODE_EVAL, 2, 6);
        int found = 0;
        tiny_start(&t, 1);
        tiny_forward(&t);
        for (int p = 0; p < t.graph->n_probes; p++) {
            if (strcmp(t.graph->probe[p].name, "head_attn_entropy") != 0) continue;
            double *entropy = tiny_probe(&t, p);
            found = (int)probe_count(&t.graph->probe[p]);
            for (int h = 0; h < found; h++) assert_true(entropy[h] > 0 && entropy[h] < log(6));
            free(entropy);
        }
        assert_int_equal(found, kind[i].heads);
        tiny_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spectral), cmocka_unit_test(test_spectral_edges), cmocka_unit_test(test_row_rms),
        cmocka_unit_test(test_entropy), cmocka_unit_test(test_entropy_named), cmocka_unit_test(test_given),
        cmocka_unit_test(test_changes_nothing), cmocka_unit_test(test_weights), cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_patterns), cmocka_unit_test(test_stream), cmocka_unit_test(test_fill_is_not_seen),
        cmocka_unit_test(test_all_attentions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
