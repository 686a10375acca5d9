/* What is made of queries, keys, values and heads around the core: norms, gates at five places, exclusive heads, value
   vectors, short convolutions, the token before. */
#include "op_check.h"
#include "tiny_pair.h"

#define HERE(CASE) \
    CASE(reject, golden, reject(g, real_in(g, 4, 2, 4), real_in(g, 4, 1, 4), NULL)) \
    CASE(reject, part, reject(g, real_in(g, 30, 4, 8), real_in(g, 30, 2, 8), real_in(g, 30, 4))) \
    CASE(reject, all, reject(g, real_in(g, 30, 4, 8), real_in(g, 30, 2, 8), NULL))
HERE(BENCH_BUILD)

/* ---- norms ---- */

/* A10b: what a norm does not see. */
static void test_norm_scales(void **state)
{
    (void)state;
    static const struct { const char *sets, *weight; bool unseen; } kind[] = {
        { TEXT({"attention.qk_norm": {"module": "qk", "eps": 1e-12}}), "attention.q.weight", true },
        { TEXT({"attention.qk_norm": {"module": "k", "eps": 1e-12}}), "attention.q.weight", false },
        { TEXT({"attention.qk_norm": {"module": "k", "eps": 1e-12}}), "attention.k.weight", true },
        { TEXT({"attention.qk_norm": {"module": "qk", "over": "all", "eps": 1e-12}}), "attention.q.weight", true },
        { TEXT({"attention.qk_norm": {"module": "qk", "eps": 1e-12}}), "attention.v.weight", false },
        { TEXT({"attention.qk_norm": {"module": "qk", "values": true, "eps": 1e-12}}), "attention.v.weight", true },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct pair p = pair_new(kind[i].sets, kind[i].sets);
        tiny_scale_all(&p.a, kind[i].weight, 3);
        pair_run(&p);
        if (kind[i].unseen) check_near(p.x, p.y, p.n, 1e-5);
        else assert_true(distance(p.x, p.y, p.n) > 1e-4);
        pair_free(&p);
    }
}

/* Of all heads together one may be larger than another; of one head alone they are the same. */
static void test_norm_of_all_heads(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        const char *sets = all ? TEXT({"attention.qk_norm": {"module": "qk", "over": "all", "eps": 1e-12}})
                               : TEXT({"attention.qk_norm": {"module": "qk", "eps": 1e-12}});
        struct pair p = pair_new(sets, sets);
        assert_int_equal(tiny_count(&p.a, "layers.0.attention.q_norm.gain"), all ? 8 : 4);
        real *q = tiny_weight(&p.a, "layers.1.attention.q.weight");
        for (int i = 0; i < 4 * 8; i++) q[i] *= 3;          /* of the first head */
        pair_run(&p);
        if (all) assert_true(distance(p.x, p.y, p.n) > 1e-4);
        else check_near(p.x, p.y, p.n, 1e-5);
        pair_free(&p);
    }
    struct pair one = pair_new(TEXT({"attention.heads": 1, "attention.qk_norm": {"module": "qk", "over": "all"}}),
                               TEXT({"attention.heads": 1, "attention.qk_norm": "qk"}));
    pair_run(&one);
    check_equal(one.x, one.y, one.n);
    pair_free(&one);
}

/* Without gains a norm and a rotation change places; what comes last is what attention reads. No gain is no centre. */
static void test_norm_behind(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.qk_norm": {"module": "qk", "gain": false, "behind": true}}),
                             TEXT({"attention.qk_norm": {"module": "qk", "gain": false}}));
    assert_ptr_equal(tiny_find(&p.a, &op_attention, 0)->in[0]->op, &op_rmsnorm);
    assert_ptr_equal(tiny_find(&p.b, &op_attention, 0)->in[0]->op, &op_rope);
    assert_null(leaves_find(p.a.leaves, "layers.0.attention.q_norm.gain"));
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
    tiny_refused(TEXT({"attention.qk_norm": {"module": "qk", "gain": false, "zero_centred": true}}),
                 "zero_centred = true: there are no gains, say gain = true");
}

/* ---- gates ---- */

/* A9: weights of 0 and mult 2, or SiLU that is added, are no gate, wherever it stands. */
static void test_gates_of_one(void **state)
{
    (void)state;
    static const char *const gated[] = {
        TEXT({"attention.gate": {"module": "head", "mult": 2, "zero": true}}),
        TEXT({"attention.gate": {"module": "head", "mult": 2, "zero": true, "on": "values"}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2, "zero": true}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2, "zero": true, "on": "values"}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2, "zero": true, "on": "keys"}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2, "zero": true, "on": "queries"}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2, "zero": true, "on": "output"}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2, "zero": true, "shared": true}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2, "blind": true}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2, "blind": true, "shared": true}}),
        TEXT({"attention.gate": {"module": "element", "zero": true, "silu": true, "adds": true}}),
    };
    for (int i = 0; i < COUNT(gated); i++) {
        struct pair p = pair_new(gated[i], "{}");
        assert_false(tiny_same(&p.a, &p.b));
        pair_run(&p);
        check_equal(p.x, p.y, p.n);
        pair_free(&p);
    }
}

/* least + (mult - least) sigmoid, times what was there, in each of the places. */
static void test_places_of_gates(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"attention.gate": {"module": "element", "least": 0.5}}),
        TEXT({"attention.gate": {"module": "element", "least": 0.5, "on": "values"}}),
        TEXT({"attention.gate": {"module": "element", "least": 0.5, "on": "keys"}}),
        TEXT({"attention.gate": {"module": "element", "least": 0.5, "on": "queries"}}),
        TEXT({"attention.gate": {"module": "element", "least": 0.5, "on": "output"}}),
    };
    static const char *const made_by[] = { NULL, "v", "k", "q", "out" };
    for (int i = 0; i < COUNT(sets); i++) {
        struct tiny t = tiny_new(sets[i], NULL, MODE_EVAL, 2, 6);
        char path[64];
        tiny_start(&t, 1);
        tiny_forward(&t);
        struct node *z = tiny_user(&t, "layers.1.attention.gate.weight"), *product = tiny_find(&t, &op_mul, z->id),
                    *x = NULL;
        snprintf(path, sizeof path, "layers.1.attention.%s.weight", i ? made_by[i] : "out");
        x = tiny_user(&t, path);
        if (!i) x = tiny_find(&t, &op_attention, tiny_user(&t, "layers.1.attention.q.weight")->id);
        double *gate = tiny_read(&t, z), *before = tiny_read(&t, x), *after = tiny_read(&t, product);
        for (int64_t k = 0; k < shape_count(z->shape); k++)
            assert_float_equal(after[k], before[k] * (0.5 + 0.5 / (1 + exp(-gate[k]))), 1e-6);
        free(gate);
        free(before);
        free(after);
        tiny_free(&t);
    }
    tiny_refused(TEXT({"attention.gate": {"module": "element", "least": 0.5, "adds": true}}), "all passes");
    tiny_refused(TEXT({"attention.gate": {"module": "element", "least": 1}}), "must be below mult");
}

/* Shared gates are those whose rows are the same in each head; a head's gate of values is one whose rows are tied. */
static void test_tied_gates(void **state)
{
    (void)state;
    static const char *const kind[][2] = {
        { TEXT({"attention.gate": {"module": "element", "shared": true}}), TEXT({"attention.gate": "element"}) },
        { TEXT({"attention.gate": {"module": "head", "on": "values"}}),
          TEXT({"attention.gate": {"module": "element", "on": "values"}}) },
    };
    for (int values = 0; values < 2; values++) {
        struct pair p = pair_new(kind[values][0], kind[values][1]);
        for (int l = 0; l < 3; l++) {
            char path[64];
            snprintf(path, sizeof path, "layers.%d.attention.gate.weight", l);
            const real *few = tiny_weight(&p.a, path);
            real *all = tiny_weight(&p.b, path);
            for (int r = 0; r < (values ? 4 : 8); r++)
                memcpy(all + 8 * r, few + 8 * (values ? 0 : r % 4), 8 * sizeof *all);
        }
        pair_run(&p);
        check_near(p.x, p.y, p.n, 1e-6);
        pair_free(&p);
    }
}

/* ---- exclusive heads ---- */

static void test_reject_golden(void **state)
{
    (void)state;
    OPEN(b, reject, golden);
    const double plain[] = { -.101519, .168017, .253943, .062358, .271015, .209145, -.081281, -.282882 };
    for (int i = 0; i < 32; i++) tensor_set(&b.in[0], i, plain[i % 8]);
    for (int i = 0; i < 16; i++) tensor_set(&b.in[1], i, sin(1.1 * i + .3));
    bench_forward(&b);
    struct tensor row = { .data = reals(&b.out[0]) + 24, .shape = SHAPE(8), .format = FORMAT_REAL };
    see(&row, 8, (double[]){ -.107065, .161844, .253888, .068481, .035261, -.053302, -.083616, -.022554 }, 2e-6);
    bench_close(&b);
}

/* What is left is at right angles to v, whose length is no matter; half of it is half way. */
static void test_reject_laws(void **state)
{
    (void)state;
    OPEN(all, reject, all);
    OPEN(longer, reject, all);
    OPEN(part, reject, part);
    for (int64_t i = 0; i < 30 * 16; i++) tensor_set(&longer.in[1], i, 4 * tensor_get(&all.in[1], i));
    for (int64_t i = 0; i < 30 * 4; i++) tensor_set(&part.in[2], i, i % 2 ? 0.5 : 0);
    bench_forward(&all), bench_forward(&longer), bench_forward(&part);
    for (int64_t h = 0; h < 120; h++) {
        double along = 0;
        for (int64_t i = 0; i < 8; i++) {
            double x = tensor_get(&all.in[0], h * 8 + i), z = tensor_get(&all.out[0], h * 8 + i);
            along += z * tensor_get(&all.in[1], h / 2 * 8 + i);
            assert_true(fabs(z - tensor_get(&longer.out[0], h * 8 + i)) < 1e-6);
            assert_true(fabs(tensor_get(&part.out[0], h * 8 + i) - (h % 2 ? (x + z) / 2 : x)) < 1e-6);
        }
        assert_true(fabs(along) < 1e-5);
    }
    bench_close(&all), bench_close(&longer), bench_close(&part);
}

/* A token that sees itself alone has nothing left: its logits are those of a layer whose attention writes nothing. */
static void test_exclusive(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.gate": "xsa", "attention.mask": {"module": "window", "size": 1}}), "{}");
    tiny_scale_all(&p.b, "attention.out.weight", 0);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
    p = pair_new(TEXT({"attention.gate": {"module": "xsa", "learned": true}}), "{}");      /* tanh 0 takes nothing */
    tiny_scale_all(&p.a, "attention.exclude.weight", 0);
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    p = pair_new(TEXT({"attention.gate": {"module": "xsa", "gate": {"module": "head", "mult": 2, "zero": true}}}),
                 TEXT({"attention.gate": "xsa"}));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* ---- values ---- */

static void test_value_vectors(void **state)
{
    (void)state;
    const char *sets = TEXT({"attention.value": {"module": "embed", "channels": 5}});
    struct pair p = pair_new(sets, "{}");
    tiny_scale_all(&p.a, "value.table", 0);
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    struct tiny t = decoder(sets);
    double *before = logits_of(&t);
    real *table = tiny_weight(&t, "layers.0.attention.value.table");
    for (int i = 0; i < 4; i++) table[4 * t.ids[2] + i] += 1;   /* reaches its token, and none before */
    int first = 0;
    while (t.ids[first] != t.ids[2]) first++;
    double *after = logits_of(&t);
    for (int row = 0; row < 6; row++)
        assert_int_equal(equal_rows(before, after, t.model.vocab, row), row < first);
    free(before);
    free(after);
    tiny_free(&t);
    t = tiny_new(TEXT({"attention.value": {"module": "embed", "channels": 8}, "attention.kv": "mirror"}), NULL,
                 MODE_EVAL, 2, 6);                          /* the table is that of the layer that reads */
    assert_non_null(leaves_find(t.leaves, "layers.2.attention.value.table"));
    tiny_free(&t);
    tiny_refused(TEXT({"attention.value": {"module": "embed", "channels": 9}}), "u has d_model = 8");
}

/* One layer with factors that sum to 1 is none; fixed factors are no weights. */
static void test_residual_values(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"layers": 1, "attention.value": {"module": "residual", "own": 0.25, "first": 0.75}}),
                             TEXT({"layers": 1}));
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
    p = pair_new(TEXT({"attention.value": {"module": "residual", "learned": false}}),
                 TEXT({"attention.value": "residual"}));
    assert_null(leaves_find(p.a.leaves, "layers.1.attention.value.own"));
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
    p = pair_new(TEXT({"attention.kv_heads": 2, "attention.value": {"module": "residual", "per_head": true}}),
                 TEXT({"attention.kv_heads": 2, "attention.value": "residual"}));
    assert_int_equal(tiny_count(&p.a, "layers.1.attention.value.own"), 2);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
    tiny_refused(TEXT({"attention.value": {"module": "residual", "learned": false, "per_head": true}}),
                 "per_head = true: factors of all heads begin alike, say learned = true");
}

/* A layer that has it alone mixes in what the first layer made, though that one has it not. */
static void test_sparse_residual_values(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention": {"layers": [
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4,
         "value": {"module": "residual", "own": 0, "first": 1, "learned": false}}]}}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *first = tiny_user(&t, "layers.0.attention.v.weight"),
                *last = tiny_user(&t, "layers.2.attention.v.weight");
    double *x = tiny_read(&t, first), *y = tiny_read(&t, tiny_find(&t, &op_attention, last->id)->in[2]);
    check_equal(x, y, shape_count(first->shape));
    free(x);
    free(y);
    tiny_free(&t);
}

/* Layers behind the first have no values of their own, and of caches only those of keys; it is a residual of the first
   values alone. */
static void test_first_values(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.value": "first"}),
                             TEXT({"attention.value": {"module": "residual", "own": 0, "first": 1, "learned": false}}));
    assert_non_null(leaves_find(p.a.leaves, "layers.0.attention.v.weight"));
    for (int l = 1; l < 3; l++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.attention.v.weight", l);
        assert_null(leaves_find(p.a.leaves, path));
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    size_t keys = model_cache_bytes(p.a.leaves, 2, p.a.model.seq, 4).per_token,
           all = model_cache_bytes(p.b.leaves, 2, p.b.model.seq, 4).per_token;
    assert_int_equal(6 * keys, 4 * all);
    decoded_alike(&p.a, TEXT({"attention.value": "first"}));
    pair_free(&p);
    tiny_refused(TEXT({"attention": {"layers": [
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "mask": {"module": "window", "size": 2}},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "value": "first"},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4}]}}),
        "layer 1 keeps all of the past, layer 0, the first, a window of 2: ");
    tiny_refused(TEXT({"attention": {"layers": [
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "mask": {"module": "chunk", "size": 2}},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "value": "first",
         "mask": {"module": "window", "size": 2}},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "mask": {"module": "chunk", "size": 2}}]}}),
        "layer 1 keeps a window of 2 of the past, layer 0, the first, chunks of 2: ");
}

/* ---- short convolutions ---- */

/* Taps of 0 are none. */
static void test_no_taps(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"conv": {"module": "short", "zero": true, "queries": true, "reads_attention": true,
                                         "reads_ffn": true, "written": true}}), "{}");
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    p = pair_new(TEXT({"ffn": {"module": "dense", "d_ff": 6},
                       "conv": {"module": "short", "zero": true, "hidden": true, "keys": false, "values": false}}),
                 TEXT({"ffn": {"module": "dense", "d_ff": 6}}));
    assert_int_equal(tiny_count(&p.a, "layers.2.ffn.gate.conv"), 6 * 4);
    assert_null(leaves_find(p.a.leaves, "layers.0.attention.k.conv"));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* Where each stands: what its convolution reads and who reads its sum. */
static void test_places_of_convolutions(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"conv": {"module": "short", "queries": true, "reads_attention": true,
                                            "reads_ffn": true, "written": true}}), NULL, MODE_EVAL, 1, 6);
    static const struct { const char *taps, *reads; } projected[] = {
        { "layers.0.attention.q.conv", "layers.0.attention.q.weight" },
        { "layers.0.attention.k.conv", "layers.0.attention.k.weight" },
        { "layers.0.attention.v.conv", "layers.0.attention.v.weight" },
        { "layers.0.attention.written.conv", "layers.0.attention.out.weight" },
    };
    for (int i = 0; i < COUNT(projected); i++)
        assert_ptr_equal(tiny_user(&t, projected[i].taps)->in[0], tiny_user(&t, projected[i].reads));
    struct node *sum = tiny_user(&t, "layers.0.attention.q.weight")->in[0], *router = NULL;
    assert_ptr_equal(sum->in[1], tiny_user(&t, "layers.0.attention.in.conv"));
    router = tiny_user(&t, "layers.0.ffn.router.weight")->in[0];
    assert_ptr_equal(router->in[1], tiny_user(&t, "layers.0.ffn.in.conv"));
    assert_ptr_equal(sum->in[0], tiny_user(&t, "layers.0.attention.in.conv")->in[0]);
    tiny_start(&t, 1);
    for (int i = 4; i < 6; i++) t.start[i] = 4;
    tiny_forward(&t);
    const real *taps = tiny_weight(&t, "layers.0.attention.k.conv");           /* [4,4] */
    struct node *conv = tiny_user(&t, projected[1].taps);
    double *x = tiny_read(&t, conv->in[0]), *y = tiny_read(&t, conv);
    for (int at = 0; at < 24; at++) {
        double want = 0;
        for (int j = 0; j <= (at / 4 < 4 ? at / 4 : at / 4 - 4) && j < 4; j++)
            want += taps[at % 4 * 4 + 3 - j] * x[at - 4 * j];
        assert_float_equal(y[at], want, 1e-6);
    }
    free(x);
    free(y);
    tiny_free(&t);
    tiny_refused(TEXT({"conv": "short", "attention": {"module": "gated_delta", "heads": 1, "value_heads": 1}}),
                 "has none that are convolved here");
    tiny_refused(TEXT({"conv": {"module": "short", "hidden": true}}), "are no neighbours");
    tiny_refused(TEXT({"conv": {"module": "short", "queries": true}, "attention.experts": "routed"}),
                 "experts make those");
}

/* ---- the token before ---- */

/* x + factor sigmoid(x W) x', and nothing from before the document. */
static void test_smear(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"memory": {"layers": [{"module": "smear", "channels": 5}, "none", "none"]}}), "{}");
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    struct tiny t = tiny_new(TEXT({"memory": {"layers": [{"module": "smear", "channels": 5, "factor": 0.5}, "none",
                                                         "none"]}}), NULL, MODE_EVAL, 1, 6);
    tiny_start(&t, 1);
    for (int i = 4; i < 6; i++) t.start[i] = 4;
    tiny_forward(&t);
    const real *w = tiny_weight(&t, "layers.0.memory.gate.weight");
    struct node *stream = tiny_find(&t, &op_add, 0);
    double *x = tiny_read(&t, stream->in[0]), *y = tiny_read(&t, stream);
    for (int at = 0; at < 6; at++) {
        double z = 0;
        for (int i = 0; i < 5; i++) z += w[i] * x[at * 8 + i];
        for (int i = 0; i < 8; i++) {
            double last = at == 0 || at == 4 ? 0 : x[(at - 1) * 8 + i];
            assert_float_equal(y[at * 8 + i], x[at * 8 + i] + 0.5 / (1 + exp(-z)) * last, 1e-6);
        }
    }
    free(x);
    free(y);
    tiny_free(&t);
}

/* ---- decoding ---- */

/* All of it at once, a token at a time. */
static void test_decoding(void **state)
{
    (void)state;
    static const char *const all[] = {
        TEXT({"conv": {"module": "short", "queries": true, "reads_attention": true, "reads_ffn": true, "written": true},
              "memory": {"module": "smear", "channels": 5, "factor": 0.5},
              "attention.qk_norm": {"module": "qk", "over": "all", "values": true},
              "attention.gate": {"module": "xsa", "learned": true, "gate": {"module": "element", "on": "output"}},
              "attention.temperature": {"module": "log", "length": 2, "rate": 0.5},
              "attention.value": {"module": "embed", "channels": 5},
              "position": {"module": "rope", "stretch": "yarn", "pairs": "neighbours", "temperature": "scores"}}),
        TEXT({"position": {"module": "relative", "features": 3, "extent": 4}, "attention.value": "first",
              "attention.gate": {"module": "element", "on": "keys"},
              "attention.temperature": {"module": "log", "length": 2, "rate": 0.5, "rises": "evenly"}}),
    };
    for (int i = 0; i < COUNT(all); i++) {
        struct tiny t = decoder(all[i]);
        decoded_alike(&t, all[i]);
        tiny_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(norm_scales), RUN(norm_of_all_heads), RUN(norm_behind), RUN(gates_of_one), RUN(places_of_gates),
        RUN(tied_gates), RUN(reject_golden), RUN(reject_laws), RUN(exclusive), RUN(value_vectors), RUN(residual_values),
        RUN(sparse_residual_values), RUN(first_values), RUN(no_taps), RUN(places_of_convolutions), RUN(smear),
        RUN(decoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
