/* Norms by their formulas, and residuals around and beside others: published values, which settings are none, and what
   is whose. */
#include "model/building.h"
#include "run_graph.h"
#include "tiny_pair.h"

enum { D = 4 };

/* Modules of a configuration in a graph that runs node by node. */
struct bed { struct tiny conf; struct run r; struct building own; struct build b; };

static void bed_new(struct bed *s, const char *sets, int layers, int layer)
{
    char why[256];
    json_t *model = tiny_json(&model_schema, tiny_base, sets), *train = json_object();
    *s = (struct bed){ .r = run_new() };
    if (!tiny_load(&s->conf, model, train, why)) fail_msg("%s", why);
    json_decref(model);
    json_decref(train);
    s->b = (struct build){ .graph = s->r.graph, .arena = s->conf.arena, .mode = MODE_EVAL, .conf = &s->conf.model,
                           .batch = 1, .seq = 1, .tokens = 1, .width = D, .layers = layers, .layer = layer,
                           .blocks = layers, .branch_std = 1, .own = &s->own };
}

static void bed_free(struct bed *s)
{
    run_free(&s->r);
    arena_free(s->conf.arena);
}

static struct node *row(struct bed *s, const char *name)
{
    return graph_input(s->r.graph, name, DTYPE_REAL, SHAPE(1, D));
}

static void put(struct bed *s, const char *path, int n, const double *value)
{
    struct leaf *l = leaves_find(s->r.leaves, path);
    if (!l) fail_msg("no leaf '%s'", path);
    struct tensor t = run_value(&s->r, graph_leaf(s->r.graph, l));
    assert_int_equal(shape_count(t.shape), n);
    for (int i = 0; i < n; i++) reals(&t)[i] = (real)value[i];
}
#define PUT(s, path, ...) put(s, path, COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ })

/* ---- norms ---- */

static void test_layer_norm(void **state)
{
    (void)state;
    struct bed s;
    bed_new(&s, TEXT({"norm": {"module": "layer", "eps": 1e-12}}), 1, 0);
    struct node *x = row(&s, "x"), *y = build_norm(&s.b, "norm", x);
    run_start(&s.r, 1);
    run_fill(&s.r, x, 1, 2, 3, 6);
    PUT(&s, "norm.gain", 1, 1, 1, 2);
    PUT(&s, "norm.bias", 0, .5, 0, -1);
    run_forward(&s.r);
    double r = 1 / sqrt(14 / 4.0);                          /* of -2, -1, 0, 3 */
    assert_reals(run_reals(&s.r, y), 1e-6, -2 * r, .5 - r, 0, 6 * r - 1);
    bed_free(&s);
}

/* Of rows without a mean LayerNorm is RMSNorm. */
static void test_layer_norm_of_no_mean(void **state)
{
    (void)state;
    struct bed s;
    bed_new(&s, TEXT({"norm": {"module": "layer", "eps": 1e-3, "bias": false}}), 1, 0);
    struct node *x = row(&s, "x"), *gain = graph_input(s.r.graph, "gain", DTYPE_REAL, SHAPE(D)),
                *y = build_norm(&s.b, "norm", x), *rms = rmsnorm(s.r.graph, x, gain, 1e-3, false);
    assert_null(leaves_find(s.r.leaves, "norm.bias"));
    run_start(&s.r, 1);
    run_fill(&s.r, x, 1, -2, 3, -2);
    run_fill(&s.r, gain, 1, 2, 3, 4);
    PUT(&s, "norm.gain", 1, 2, 3, 4);
    run_forward(&s.r);
    double want[D];
    for (int i = 0; i < D; i++) want[i] = run_reals(&s.r, rms)[i];
    assert_near(run_reals(&s.r, y), D, want, 1e-6);
    bed_free(&s);
}

static void test_dynamic_tanh(void **state)
{
    (void)state;
    struct bed s;
    bed_new(&s, TEXT({"norm": "dynamic_tanh"}), 1, 0);
    struct node *x = row(&s, "x"), *y = build_norm(&s.b, "norm", x);
    assert_true(leaves_find(s.r.leaves, "norm.alpha")->init.value == 0.5);
    run_start(&s.r, 1);
    run_fill(&s.r, x, -1, 0, .5, 100);
    PUT(&s, "norm.alpha", 2);
    PUT(&s, "norm.gain", 1, 1, 3, 2);
    PUT(&s, "norm.bias", 0, .25, 0, 1);
    run_forward(&s.r);
    assert_reals(run_reals(&s.r, y), 1e-6, tanh(-2), .25, 3 * tanh(1), 3);
    bed_free(&s);
}

/* ---- attention residuals ---- */

/* A sublayer that writes `context`, and hears what it reads. */
static struct node *heard[3];
static struct node *writes(struct build *b, const void *context, struct node *u)
{
    (void)b;
    for (int i = 0; i < COUNT(heard); i++) if (!heard[i]) { heard[i] = u->in[0]; break; }
    return (struct node *)context;
}

static struct stream through(struct bed *s, struct node *first, int n, struct node *const *written)
{
    struct pick p = s->conf.model.residual.pick[0];
    struct stream stream = { .x = first, .x0 = first };
    memset(heard, 0, sizeof heard);
    if (p.module->open) p.module->open(&s->b, p, &stream);
    for (int i = 0; i < n; i++) {
        build_enter(&s->b, "%d", i);
        p.module->residual(&s->b, p, &stream, (struct sublayer){ writes, written[i], "attention" });
        stream.sublayers++;
        build_leave(&s->b);
    }
    return stream;
}

static struct node *closed(struct bed *s, const struct stream *stream)
{
    struct pick p = s->conf.model.residual.pick[0];
    return p.module->close(&s->b, p, stream);
}

static double wave(double a, double b, int i) { return sin(a * i + b); }

static void test_published_depth(void **state)
{
    (void)state;
    struct bed s;
    bed_new(&s, TEXT({"residual": "attn_res"}), 1, 0);
    struct node *v[] = { row(&s, "v0"), row(&s, "v1"), row(&s, "v2") };
    struct stream stream = through(&s, v[0], 2, v + 1);
    struct node *y = closed(&s, &stream);
    assert_ptr_equal(heard[0], v[0]);                       /* one source is read as it is */
    run_start(&s.r, 1);
    for (int k = 0; k < 3; k++) {
        double value[D];
        for (int i = 0; i < D; i++) value[i] = wave(.7, .1, D * k + i);
        run_fill(&s.r, v[k], value[0], value[1], value[2], value[3]);
    }
    PUT(&s, "depth.gain", 1, 1, 1, 1);
    PUT(&s, "depth.weight", wave(.9, .2, 0), wave(.9, .2, 1), wave(.9, .2, 2), wave(.9, .2, 3));
    PUT(&s, "1.depth.gain", 1, 1, 1, 1);
    PUT(&s, "1.depth.weight", 0, 0, 0, 0);
    for (int i = 0; i < 2; i++) PUT(&s, i ? "1.norm.gain" : "0.norm.gain", 1, 1, 1, 1);
    run_forward(&s.r);
    assert_reals(run_reals(&s.r, y), 1e-5, -.063753, .554304, .911663, .840253);
    double mean[D];
    for (int i = 0; i < D; i++) mean[i] = (wave(.7, .1, i) + wave(.7, .1, D + i)) / 2;
    assert_near(run_reals(&s.r, heard[1]), D, mean, 1e-6);
    bed_free(&s);
}

/* Blocks: sources are what `embed` gave, finished sums, and the sum since. */
static void test_blocks_of_sublayers(void **state)
{
    (void)state;
    struct bed s;
    bed_new(&s, TEXT({"residual": {"module": "attn_res", "block": 2}}), 2, 0);
    struct node *v[] = { row(&s, "v0"), row(&s, "v1"), row(&s, "v2"), row(&s, "v3") };
    struct stream stream = through(&s, v[0], 3, v + 1);
    struct node *y = closed(&s, &stream);                   /* of v0, v1 + v2, v3 */
    static const char *const depth[] = { "1.depth", "2.depth", "depth" };
    run_start(&s.r, 1);
    for (int k = 0; k < 4; k++) run_fill(&s.r, v[k], k + 1, 10 * k, -k, .5 * k);
    for (int i = 0; i < 3; i++) {
        char path[32];
        snprintf(path, sizeof path, "%s.gain", depth[i]);
        PUT(&s, path, 1, 1, 1, 1);
        snprintf(path, sizeof path, "%s.weight", depth[i]);
        PUT(&s, path, 0, 0, 0, 0);
        snprintf(path, sizeof path, "%d.norm.gain", i);
        PUT(&s, path, 1, 1, 1, 1);
    }
    run_forward(&s.r);
    assert_reals(run_reals(&s.r, heard[1]), 1e-6, 1.5, 5, -.5, .25);                            /* v0, v1 */
    assert_reals(run_reals(&s.r, heard[2]), 1e-6, 3, 15, -1.5, .75);                            /* v0, v1 + v2 */
    assert_reals(run_reals(&s.r, y), 1e-6, 10 / 3.0, 20, -2, 1);
    bed_free(&s);
}

/* ---- what is none, and what is another ---- */

static bool same_graph(const char *a, const char *b)
{
    struct tiny x = tiny_new(a, NULL, MODE_TRAIN, 2, 6), y = tiny_new(b, NULL, MODE_TRAIN, 2, 6);
    bool same = tiny_same(&x, &y);
    tiny_free(&x);
    tiny_free(&y);
    return same;
}

static void test_settings_that_are_none(void **state)
{
    (void)state;
    assert_true(same_graph(TEXT({"residual": {"module": "pre", "scale": 1.0}}), "{}"));
    assert_true(same_graph(TEXT({"layers": 1, "residual": {"module": "pre", "norm_by_depth": true}}),
                           TEXT({"layers": 1})));
    assert_true(same_graph(TEXT({"layers": 4, "residual": {"module": "pre", "scale": 3.0, "by_depth": true}}),
                           TEXT({"layers": 4, "residual": {"module": "pre", "scale": 1.5}})));
    assert_true(same_graph(TEXT({"residual": {"module": "lambdas", "x0": false}}), "{}"));
    assert_true(same_graph(TEXT({"residual": {"module": "lambdas", "x0": false, "residual": "sandwich"}}),
                           TEXT({"residual": "sandwich"})));
    assert_false(same_graph(TEXT({"residual": {"module": "lambdas"}}), "{}"));
}

/* Two configurations whose weights are the same but for factors say the same. */
static void check_alike(const char *a, const char *b, const char *suffix, double by, double tolerance)
{
    struct pair p = pair_new(a, b);
    tiny_copy(&p.b, &p.a);
    if (suffix) tiny_scale_all(&p.b, suffix, by);
    pair_run(&p);
    check_near(p.x, p.y, p.n, tolerance);
    pair_free(&p);
}

static void test_factors_begin_as_none(void **state)
{
    (void)state;
    static const char *const none[] = {
        TEXT({"residual": "lambdas"}), TEXT({"residual": {"module": "lambdas", "unet": true, "unet_init": 0.0}}),
        TEXT({"residual": {"module": "lambdas", "backout": true, "backout_init": 0.0}}),
    };
    for (int i = 0; i < COUNT(none); i++) check_alike(none[i], "{}", NULL, 1, 0);
    struct pair p = pair_new(TEXT({"residual": {"module": "lambdas", "x0_init": 0.5}}), "{}");
    tiny_copy(&p.b, &p.a);
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-2);
    pair_free(&p);
}

/* Layers that share a stream share what it keeps. */
static void test_one_stream(void **state)
{
    (void)state;
    tiny_refused(TEXT({"residual": {"layers": ["lambdas", {"module": "lambdas", "x0": false}, "lambdas"]}}),
                 "x0 = true: layer 1 says false");
    tiny_refused(TEXT({"residual": {"layers": [{"module": "lambdas", "backout": true}, "lambdas", "lambdas"]}}),
                 "backout = true: layer 1 says false");
}

/* What a branch writes, scaled, is what narrower weights write. */
static void test_scaled_branches(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"residual": {"module": "pre", "scale": 0.5}}), "{}");
    tiny_copy(&p.b, &p.a);
    tiny_scale_all(&p.b, "out.weight", 0.5);
    tiny_scale_all(&p.b, "down.weight", 0.5);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* N7b: LayerNorm scaling is gains that are as much smaller. */
static void test_scaled_norms(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"residual": {"module": "pre", "norm_by_depth": true}}), "{}");
    tiny_copy(&p.b, &p.a);
    for (int layer = 0; layer < 3; layer++)
        for (int part = 0; part < 2; part++) {
            char path[64];
            snprintf(path, sizeof path, "layers.%d.%s.norm.gain", layer, part ? "ffn" : "attention");
            tiny_scale(&p.b, path, 1 / sqrt(layer + 1));
        }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* A norm of alpha x + f(x) is one of x + f(x) / alpha; weights that branches write by are narrower, others are not. */
static void test_deepnorm(void **state)
{
    (void)state;
    double alpha = pow(6, 0.25), beta = pow(24, -0.25);
    struct pair p = pair_new(TEXT({"residual": {"module": "post", "deep": true}, "norm.eps": 1e-12}),
                             TEXT({"residual": "post", "norm.eps": 1e-12}));
    static const struct { const char *path; bool narrow; } weight[] = {
        { "layers.0.attention.v.weight", true }, { "layers.2.attention.out.weight", true },
        { "layers.1.ffn.experts.up.weight", true }, { "layers.1.ffn.experts.gate.weight", true },
        { "layers.1.ffn.experts.down.weight", true },
        { "layers.0.attention.q.weight", false }, { "layers.0.attention.k.weight", false },
        { "layers.0.ffn.router.weight", false }, { "embed.weight", false },
    };
    for (int i = 0; i < COUNT(weight); i++) {
        double got = tiny_leaf(&p.a, weight[i].path)->init.std, plain = tiny_leaf(&p.b, weight[i].path)->init.std;
        if (!(fabs(got - (weight[i].narrow ? beta : 1) * plain) < 1e-9))
            fail_msg("%s: %g of %g", weight[i].path, got, plain);
    }
    tiny_copy(&p.b, &p.a);
    tiny_scale_all(&p.b, "out.weight", 1 / alpha);
    tiny_scale_all(&p.b, "down.weight", 1 / alpha);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 2e-5);
    pair_free(&p);
}

/* Blocks of the second half get what those of the first left: of four the last two, of three the last. */
static void test_skips(void **state)
{
    (void)state;
    for (int layers = 3; layers <= 4; layers++) {
        char sets[160], path[64];
        snprintf(sets, sizeof sets, "{\"layers\": %d, \"residual\": {\"module\": \"lambdas\", \"unet\": true}}",
                 layers);
        struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 2, 6);
        for (int layer = 0; layer < layers; layer++) {
            snprintf(path, sizeof path, "layers.%d.attention.lambda_skip", layer);
            assert_true((leaves_find(t.leaves, path) != NULL) == (layer >= 2));
        }
        tiny_free(&t);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    tiny_refused(TEXT({"residual": {"module": "lambdas", "residual": "mhc"}}), "keeps several streams");
    tiny_refused(TEXT({"residual": {"module": "lambdas", "residual": "lambdas"}}), "its own ways");
    tiny_refused(TEXT({"residual": {"module": "lambdas", "residual": "attn_res"}}), "its own ways");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_norm), cmocka_unit_test(test_layer_norm_of_no_mean),
        cmocka_unit_test(test_dynamic_tanh), cmocka_unit_test(test_published_depth),
        cmocka_unit_test(test_blocks_of_sublayers), cmocka_unit_test(test_settings_that_are_none),
        cmocka_unit_test(test_factors_begin_as_none), cmocka_unit_test(test_one_stream),
        cmocka_unit_test(test_scaled_branches),
        cmocka_unit_test(test_scaled_norms), cmocka_unit_test(test_deepnorm), cmocka_unit_test(test_skips),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
