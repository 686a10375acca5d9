/* Residuals of several streams, hyper and mhc: published values, what mixing keeps, when they are PreNorm, and what
   their weights are to others. */
#include "model/building.h"
#include "run_graph.h"
#include "tiny_pair.h"

/* ---- one sublayer ---- */

/* The residual of a configuration around tanh, on streams of T tokens, without the norm. */
struct site { struct tiny conf; struct run r; struct node *x, *next; };

static struct node *tanh_before_norm(struct build *b, const void *none, struct node *u)
{
    (void)none;
    return tanh_of(b->graph, u->in[0]);
}

static struct site site_new(const char *residual, int64_t tokens, int64_t n, int64_t d)
{
    struct site s = { .r = run_new() };
    char why[256];
    json_t *model = tiny_json(&model_schema, tiny_base, residual), *train = json_object();
    if (!tiny_load(&s.conf, model, train, why)) fail_msg("%s", why);
    json_decref(model);
    json_decref(train);
    struct building own = { 0 };
    struct build b = { .graph = s.r.graph, .arena = s.conf.arena, .mode = MODE_EVAL, .conf = &s.conf.model, .batch = 1,
                       .seq = tokens, .tokens = tokens, .width = d, .layers = 3, .layer = 1, .blocks = 3, .own = &own };
    s.x = graph_input(b.graph, "x", DTYPE_REAL, SHAPE(tokens, n, d));
    struct stream stream = { .x = s.x };
    struct pick pick = s.conf.model.residual.pick[0];
    pick.module->residual(&b, pick, &stream, (struct sublayer){ tanh_before_norm, NULL, "attention" });
    s.next = stream.x;
    run_start(&s.r, 1);
    return s;
}

static void site_free(struct site *s)
{
    run_free(&s->r);
    arena_free(s->conf.arena);
}

static struct tensor weight_of(struct site *s, const char *path)
{
    struct leaf *l = leaves_find(s->r.leaves, path);
    if (!l) fail_msg("no leaf '%s'", path);
    return run_value(&s->r, graph_leaf(s->r.graph, l));
}

static const real *made_by(struct site *s, const struct op *op)
{
    for (int i = 0; i < s->r.graph->n; i++)
        if (s->r.graph->node[i]->op == op) return run_reals(&s->r, s->r.graph->node[i]);
    fail_msg("nothing is made by %s", op->name);
    return NULL;
}

static void wave(struct tensor t, double size, double a, double b)
{
    for (int64_t i = 0; i < shape_count(t.shape); i++) reals(&t)[i] = (real)(size * sin(a * (double)i + b));
}

static void values(struct tensor t, int n, const double *value)
{
    assert_int_equal(shape_count(t.shape), n);
    for (int i = 0; i < n; i++) reals(&t)[i] = (real)value[i];
}
#define PUT(t, ...) values(t, COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ })

static void test_published_site(void **state)
{
    (void)state;
    struct site s = site_new(TEXT({"residual": {"module": "mhc", "streams": 2}}), 1, 2, 4);
    wave(run_value(&s.r, s.x), 1, .7, .3);
    wave(weight_of(&s, "streams.weight"), .5, .11, .2);
    PUT(weight_of(&s, "streams.read.offset"), 0, 0);
    PUT(weight_of(&s, "streams.write.offset"), 0, 0);
    PUT(weight_of(&s, "streams.mix.offset"), 3, 0, 0, 3);
    PUT(weight_of(&s, "streams.read.scale"), .01);
    PUT(weight_of(&s, "streams.write.scale"), .01);
    PUT(weight_of(&s, "streams.mix.scale"), .01);
    PUT(weight_of(&s, "norm.gain"), 1, 1, 1, 1);
    run_forward(&s.r);
    assert_reals(made_by(&s, &op_offset), 1e-6, .498643, .500479);
    assert_reals(made_by(&s, &op_scale), 1e-6, 1.003934, 1.004056);
    assert_reals(made_by(&s, &op_sinkhorn), 1e-6, .952795, .047199, .047204, .9528);
    assert_reals(made_by(&s, &op_mix_streams), 1e-6, .168169, .113372, .005254, -.105335);
    assert_reals(run_reals(&s.r, s.next), 1e-6, .45079, .886203, .903989, .496519, .220845, -.429911, -.879305,
                 -.915244);
    site_free(&s);
}

/* Dynamic hyper-connections by their formula. */
enum { T = 3, N = 3, D = 4 };
static void hyper_site(const real *x, const real *w, const double *scalar[5], double *next)
{
    for (int t = 0; t < T; t++, x += N * D, next += N * D) {
        double said[N][N + 2], u[D] = { 0 };
        for (int j = 0; j < N; j++) {
            double squares = 1e-6 * D;
            for (int d = 0; d < D; d++) squares += x[j * D + d] * x[j * D + d];
            for (int k = 0; k < N + 2; k++) {
                double sum = 0;
                for (int d = 0; d < D; d++) sum += w[k * D + d] * x[j * D + d] / sqrt(squares / D);
                said[j][k] = tanh(sum);
            }
            for (int d = 0; d < D; d++) u[d] += (scalar[0][j] + *scalar[3] * said[j][0]) * x[j * D + d];
        }
        for (int i = 0; i < N; i++)
            for (int d = 0; d < D; d++) {
                double sum = (scalar[2][i] + *scalar[4] * said[i][N + 1]) * tanh(u[d]);
                for (int j = 0; j < N; j++)
                    sum += (scalar[1][i * N + j] + *scalar[3] * said[j][1 + i]) * x[j * D + d];
                next[i * D + d] = sum;
            }
    }
}

static void test_dynamic_site(void **state)
{
    (void)state;
    static const double read[] = { .5, -.2, .7 }, mix[] = { 1, .2, -.3, .4, .9, 0, -.1, .6, 1.1 },
                        write[] = { 1, -.5, 2 }, alpha = .4, beta = -.8;
    const double *scalar[] = { read, mix, write, &alpha, &beta };
    double next[T * N * D];
    struct site s = site_new(TEXT({"residual": {"module": "hyper", "streams": 3}}), T, N, D);
    struct tensor x = run_value(&s.r, s.x), w = weight_of(&s, "streams.weight");
    wave(x, 1, .7, .3);
    wave(w, 1, .9, .2);
    values(weight_of(&s, "streams.read"), N, read);
    values(weight_of(&s, "streams.mix"), N * N, mix);
    values(weight_of(&s, "streams.write"), N, write);
    values(weight_of(&s, "streams.alpha"), 1, &alpha);
    values(weight_of(&s, "streams.beta"), 1, &beta);
    PUT(weight_of(&s, "norm.gain"), 1, 1, 1, 1);
    run_forward(&s.r);
    hyper_site(reals(&x), reals(&w), scalar, next);
    assert_near(run_reals(&s.r, s.next), T * N * D, next, 2e-6);
    site_free(&s);
}

/* ---- whole models ---- */

/* While streams are alike, and what is written to them is written once, all of this is PreNorm. */
static void test_begins_as_prenorm(void **state)
{
    (void)state;
    static const char *const kind[] = {
        "\"hyper\"", "{\"module\": \"hyper\", \"dynamic\": false}", "{\"module\": \"hyper\", \"streams\": 1}",
        "\"mhc\"", "{\"module\": \"mhc\", \"streams\": 1}", "{\"module\": \"mhc\", \"iterations\": 1}",
        "{\"module\": \"mhc\", \"iterations\": 0}", "{\"layers\": [\"mhc\", \"pre\", \"mhc\"]}",
        "{\"layers\": [\"mhc\", {\"module\": \"mhc\", \"streams\": 2}, \"hyper\"]}",
    };
    for (int i = 0; i < COUNT(kind); i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"norm.eps\": 1e-12, \"residual\": %s}", kind[i]);
        struct pair p = pair_new(text, TEXT({"norm.eps": 1e-12}));
        tiny_scale_all(&p.a, ".scale", 0);
        pair_run(&p);
        check_near(p.x, p.y, p.n, 2e-5);
        pair_free(&p);
    }
}

/* One stream with factors of its own: what is written is scaled, what is read is normalised anyhow. */
static void test_one_stream(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"norm.eps": 1e-12, "residual": {"module": "hyper", "streams": 1, "dynamic": false}}),
                             TEXT({"norm.eps": 1e-12}));
    tiny_scale_all(&p.a, "streams.write", 0.7);
    tiny_scale_all(&p.a, "streams.read", 3);
    tiny_scale_all(&p.b, "out.weight", 0.7);
    tiny_scale_all(&p.b, "down.weight", 0.7);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 2e-5);
    tiny_scale_all(&p.a, "streams.mix", 0.5);
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-3);
    pair_free(&p);
}

/* A model of mhc whose scores depend on tokens. */
static struct tiny told(const char *sets, enum mode mode)
{
    struct tiny t = tiny_new(sets, NULL, mode, 2, 6);
    tiny_start(&t, 1);
    tiny_scale_all(&t, "streams.weight", 3);
    tiny_scale_all(&t, ".scale", 15);
    return t;
}

/* Rows and columns of what mixes sum to 1: the streams' sum changes by what is written alone. */
static void test_sum_of_streams(void **state)
{
    (void)state;
    enum { STREAMS = 4, WIDTH = 8 };
    struct tiny t = told(TEXT({"residual": {"module": "mhc", "iterations": 100}}), MODE_EVAL);
    int sites = 0;
    tiny_forward(&t);
    for (int i = 0; i < t.graph->n; i++) {
        const struct node *next = t.graph->node[i], *kept = next->n_in ? next->in[0] : NULL;
        if (next->op != &op_add || kept->op != &op_mix_streams || next->shape.rank != 3) continue;
        double *x = tiny_read(&t, kept->in[0]), *m = tiny_read(&t, kept->in[1]), *y = tiny_read(&t, next->in[1]->in[0]),
               *by = tiny_read(&t, next->in[1]->in[1]), *z = tiny_read(&t, next);
        double uneven = 0;
        for (int r = 0; r < t.tokens; r++) {
            double written = 0;
            for (int k = 0; k < STREAMS; k++) written += by[r * STREAMS + k];
            for (int d = 0; d < WIDTH; d++) {
                double sum = -written * y[r * WIDTH + d];
                for (int k = 0; k < STREAMS; k++)
                    sum += z[(r * STREAMS + k) * WIDTH + d] - x[(r * STREAMS + k) * WIDTH + d];
                assert_true(fabs(sum) < 1e-4);
            }
            for (int k = 0; k < STREAMS; k++) {
                double row = 0;
                for (int j = 0; j < STREAMS; j++) row += m[(r * STREAMS + k) * STREAMS + j];
                assert_float_equal(row, 1, 1e-4);
                uneven = fmax(uneven, fabs(m[r * STREAMS * STREAMS + k] - m[k]));
            }
        }
        assert_true(uneven > 0.02);
        sites++;
        free(x);
        free(m);
        free(y);
        free(by);
        free(z);
    }
    assert_int_equal(sites, 6);
    tiny_free(&t);
}

/* Before tokens have a say streams are read by 1/n, written to by 1, and stay what they are for the most part. Sinkhorn
   adds eps five times to what it divides. */
static void test_first_mixture(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"residual": "mhc"}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_scale_all(&t, ".scale", 0);
    tiny_forward(&t);
    double *mix = tiny_read(&t, tiny_find(&t, &op_sinkhorn, 0)), *read = tiny_read(&t, tiny_find(&t, &op_offset, 0)),
           *write = tiny_read(&t, tiny_find(&t, &op_scale, 0)), on = exp(3) / (exp(3) + 3), off = (1 - on) / 3;
    for (int k = 0; k < 16; k++) assert_true(fabs(mix[k] - (k % 5 ? off : on)) < 5e-6);
    for (int k = 0; k < 4; k++) {
        assert_float_equal(read[k], 0.25, 2e-6);
        assert_float_equal(write[k], 1, 1e-6);
    }
    free(mix);
    free(read);
    free(write);
    tiny_free(&t);
}

/* Row i of the new matrix is row from[i] of the old; columns in blocks of `block` likewise. */
static void permute(struct tiny *t, const char *path, const int *rows, const int *columns, int n_columns, int block)
{
    struct leaf *l = tiny_leaf(t, path);
    int64_t count = shape_count(l->decl.shape), width = n_columns * block;
    real *w = state_data(t->state, l), *old = xmalloc((size_t)count * sizeof *old);
    memcpy(old, w, (size_t)count * sizeof *old);
    for (int64_t i = 0; i < count; i++)
        w[i] = old[rows[i / width] * width + columns[i % width / block] * block + i % width % block];
    free(old);
}

/* Streams have no names: renumbered with all that speaks of them they say the same. */
static void test_streams_have_no_order(void **state)
{
    (void)state;
    enum { WIDTH = 8 };
    static const int rotation[] = { 1, 2, 0 }, one[] = { 0 };
    int rows[15];                                           /* of read, write, mix */
    for (int i = 0; i < 3; i++) {
        rows[i] = rotation[i];
        rows[3 + i] = 3 + rotation[i];
        for (int j = 0; j < 3; j++) rows[6 + 3 * i + j] = 6 + 3 * rotation[i] + rotation[j];
    }
    struct tiny a = told(TEXT({"residual": {"module": "mhc", "streams": 3}}), MODE_DECODE),
                b = told(TEXT({"residual": {"module": "mhc", "streams": 3}}), MODE_DECODE);
    for (int i = 0; i < b.leaves->n; i++) {
        const char *path = b.leaves->leaf[i]->path, *name = strstr(path, "streams.");
        if (!name || b.leaves->leaf[i]->kind != LEAF_WEIGHT) continue;
        if (strcmp(name, "streams.weight") == 0) permute(&b, path, rows, rotation, 3, WIDTH);
        else if (strcmp(name, "streams.mix.offset") == 0) {
            for (int k = 0; k < 9; k++) tiny_weight(&b, path)[k] = tiny_weight(&a, path)[k] += (real)(0.3 * k);
            permute(&b, path, rotation, rotation, 3, 1);
        } else if (strstr(name, "offset")) permute(&b, path, one, rotation, 3, 1);
    }
    double *x = logits_of(&a), *y = logits_of(&b);
    check_near(x, y, logits_count(&a), 2e-5);
    free(x);
    free(y);
    tiny_free(&a);
    tiny_free(&b);
}

/* ---- their weights ---- */

static bool is_of_streams(const char *path) { return strstr(path, "streams.") != NULL; }

/* Scores are REAL; AdamW moves what makes them, without decay. */
static void test_roles(void **state)
{
    (void)state;
    static const char *const residual[] = { TEXT({"residual": "mhc"}), TEXT({"residual": "hyper"}) };
    for (int i = 0; i < COUNT(residual); i++) {
        struct tiny t = tiny_new(residual[i], TEXT({"optim": {"module": "muon", "decay_gains": true}}), MODE_TRAIN, 2,
                                 6);
        int moved = 0, products = 0;
        for (int k = 0; k < t.graph->n; k++) {
            const struct node *n = t.graph->node[k];
            if (n->op == &op_matmul && n->in[1]->leaf && is_of_streams(n->in[1]->leaf->path)) {
                assert_int_equal(n->dtype, DTYPE_REAL);
                products++;
            }
            if ((n->op != &op_adamw && n->op != &op_muon) || !is_of_streams(n->in[0]->leaf->path)) continue;
            assert_ptr_equal(n->op, &op_adamw);
            assert_true(((const struct adamw_attr *)n->attr)->decay == 0);
            moved++;
        }
        assert_int_equal(products, i ? 6 : 7);
        assert_int_equal(moved, i ? 6 * 6 : 6 * 7 + 3);
        tiny_free(&t);
    }
}

/* Each stream ends with weights of its own, under the last layer in it. */
static void test_streams_end_by_themselves(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"residual": {"layers": ["mhc", "pre", "mhc"]}, "head.mtp": "sequential"}), NULL,
                             MODE_TRAIN, 2, 6);
    assert_int_equal(tiny_leaf(&t, "layers.0.close.streams.weight")->layer, 0);
    assert_int_equal(tiny_leaf(&t, "layers.2.close.streams.weight")->layer, 2);
    assert_int_equal(tiny_leaf(&t, "mtp.0.close.streams.weight")->layer, 3);
    assert_null(leaves_find(t.leaves, "layers.1.attention.streams.weight"));
    tiny_free(&t);
    t = tiny_new(TEXT({"residual": "mhc"}), NULL, MODE_TRAIN, 2, 6);
    assert_null(leaves_find(t.leaves, "layers.0.close.streams.weight"));
    tiny_leaf(&t, "layers.2.close.streams.weight");
    tiny_free(&t);
}

/* Layers read different streams at first, or none would ever differ. */
static void test_layers_read_in_turn(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"residual": {"module": "hyper", "streams": 2}, "head.mtp": "sequential"}), NULL,
                             MODE_TRAIN, 2, 6);
    static const char *const layer[] = { "layers.0", "layers.1", "layers.2", "mtp.0" };
    tiny_start(&t, 1);
    for (int i = 0; i < COUNT(layer); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s.ffn.streams.read", layer[i]);
        const real *read = tiny_weight(&t, path);
        assert_true(read[i % 2] == 1 && read[1 - i % 2] == 0);
    }
    for (int step = 0; step < 3; step++) tiny_step(&t, step);
    const real *mix = tiny_weight(&t, "layers.1.ffn.streams.mix");
    assert_true(mix[0] != mix[3]);
    tiny_free(&t);
}

/* What is computed again for backward has the same bits. */
static void test_recompute(void **state)
{
    (void)state;
    static const char *const residual[] = { TEXT({"residual": "mhc"}), TEXT({"residual": "hyper"}) };
    for (int i = 0; i < COUNT(residual); i++) {
        struct tiny t[2];
        for (int k = 0; k < 2; k++) {
            t[k] = tiny_new(residual[i], NULL, MODE_TRAIN, 2, 6);
            t[k].graph->keep = false;
            enum recompute again = k ? RECOMPUTE_SELECTIVE : RECOMPUTE_NONE;
            tiny_start_on(&t[k], (struct plan_how){ &backend_cpu, PRECISION_FP32, again }, 1);
            for (int step = 0; step < 3; step++) tiny_step(&t[k], step);
        }
        assert_true(plan_bytes(t[1].plan, NULL) < plan_bytes(t[0].plan, NULL));
        for (int k = 0; k < t[0].leaves->n; k++) {
            const struct leaf *l = t[0].leaves->leaf[k];
            if (l->kind != LEAF_WEIGHT) continue;
            assert_memory_equal(state_data(t[0].state, l), tiny_weight(&t[1], l->path), leaf_bytes(l));
        }
        tiny_free(&t[0]);
        tiny_free(&t[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(published_site), RUN(dynamic_site), RUN(begins_as_prenorm), RUN(one_stream), RUN(sum_of_streams),
        RUN(first_mixture), RUN(streams_have_no_order), RUN(roles), RUN(streams_end_by_themselves),
        RUN(layers_read_in_turn), RUN(recompute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
