/* What each module promises: identities and invariants of single modules and of the whole stack. */
#include "tiny.h"

static void check_equal(const double *a, const double *b, int64_t n) { assert_memory_equal(a, b, (size_t)n * sizeof *a); }
static bool equal_rows(const double *a, const double *b, int64_t width, int row) { return memcmp(a + row * width, b + row * width, (size_t)width * sizeof *a) == 0; }

static void check_near(const double *a, const double *b, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= tolerance * fmax(1, fabs(a[i])))) fail_msg("value %lld: %.9g and %.9g", (long long)i, a[i], b[i]);
}

static double distance(const double *a, const double *b, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

/* Logits [T,V] of a whole sequence, malloc'd: the decoding graph with one chunk. */
static double *logits_of(struct tiny *t)
{
    tiny_forward(t);
    return tiny_read(t, t->logits);
}

static struct tiny decoder(const char *sets)
{
    struct tiny t = tiny_new(sets, NULL, MODE_DECODE, 2, 6);
    tiny_start(&t, 1);
    return t;
}

static int64_t logits_count(const struct tiny *t) { return (int64_t)t->tokens * t->model.vocab; }

/* Two models with the weights that they share, and what they say to the same tokens. */
struct pair { struct tiny a, b; double *x, *y; int64_t n; };

static struct pair pair_new(const char *a, const char *b)
{
    struct pair p = { decoder(a), decoder(b), NULL, NULL, 0 };
    p.n = logits_count(&p.a);
    return p;
}

static void pair_run(struct pair *p)
{
    free(p->x);
    free(p->y);
    p->x = logits_of(&p->a);
    p->y = logits_of(&p->b);
}

static void pair_free(struct pair *p)
{
    free(p->x);
    free(p->y);
    tiny_free(&p->a);
    tiny_free(&p->b);
}

static int other_token(const struct tiny *t, int id) { return (id + 1) % t->model.vocab; }

/* ---- the whole stack ---- */

/* B2, X4: a token changes nothing before it: logits of rows < j have the same bits. */
static void test_causality(void **state)
{
    (void)state;
    struct tiny t = decoder(tiny_welm);
    double *before = logits_of(&t);
    for (int j = 0; j < t.seq; j++) {
        int old = t.ids[j];
        t.ids[j] = other_token(&t, old);
        double *after = logits_of(&t);
        for (int row = 0; row < t.tokens; row++)
            assert_int_equal(equal_rows(before, after, t.model.vocab, row), row < j || row >= t.seq);
        t.ids[j] = old;
        free(after);
    }
    free(before);
    tiny_free(&t);
}

/* X4, M1b: depth 1 of row i reads tokens up to i + 1 and none further on. */
static void test_mtp_causality(void **state)
{
    (void)state;
    struct tiny t = tiny_new(tiny_welm, NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    struct node *trunk = tiny_find(&t, &op_cross_entropy, 0), *deeper = tiny_find(&t, &op_cross_entropy, trunk->id + 1);
    tiny_forward(&t);
    double *trunk_before = tiny_read(&t, trunk), *deeper_before = tiny_read(&t, deeper);
    for (int j = 0; j < t.seq; j++) {
        int old = t.ids[j];
        t.ids[j] = other_token(&t, old);
        tiny_forward(&t);
        double *trunk_after = tiny_read(&t, trunk), *deeper_after = tiny_read(&t, deeper);
        for (int row = 0; row < t.seq; row++) {
            assert_int_equal(trunk_before[row] == trunk_after[row], row < j);
            if (row < t.seq - 1) assert_int_equal(deeper_before[row] == deeper_after[row], row + 1 < j);
        }
        t.ids[j] = old;
        free(trunk_after);
        free(deeper_after);
    }
    free(trunk_before);
    free(deeper_before);
    tiny_free(&t);
}

/* E2e and the rest: what lies before a document's start does not exist for it. */
static void test_documents(void **state)
{
    (void)state;
    struct tiny t = decoder(tiny_welm);
    for (int i = 3; i < t.seq; i++) t.start[i] = 3;
    double *before = logits_of(&t);
    for (int i = 0; i < 3; i++) t.ids[i] = other_token(&t, t.ids[i]);
    double *after = logits_of(&t);
    for (int row = 0; row < t.seq; row++) assert_int_equal(equal_rows(before, after, t.model.vocab, row), row >= 3);
    free(before);
    free(after);
    tiny_free(&t);
}

/* A7, A15f, E2d: reading in chunks, through the caches, says what one pass says. */
static void test_chunks_equal_one_pass(void **state)
{
    (void)state;
    struct tiny whole = decoder(tiny_welm);
    double *all = logits_of(&whole);
    static const int chunk[] = { 3, 2, 1 };
    struct tiny part[3];
    int at = 0, v = whole.model.vocab;
    for (int c = 0; c < 3; at += chunk[c++]) {
        part[c] = tiny_new(tiny_welm, NULL, MODE_DECODE, 2, chunk[c]);
        tiny_start(&part[c], 1);
        if (c) tiny_copy(&part[c], &part[c - 1]);           /* the caches */
        part[c].pos = at;
        for (int b = 0; b < 2; b++)
            for (int s = 0; s < chunk[c]; s++) part[c].ids[b * chunk[c] + s] = whole.ids[b * whole.seq + at + s];
        double *some = logits_of(&part[c]);
        for (int b = 0; b < 2; b++)
            for (int s = 0; s < chunk[c]; s++)
                check_near(some + (b * chunk[c] + s) * v, all + (b * whole.seq + at + s) * v, v, 1e-5);
        free(some);
    }
    for (int c = 0; c < 3; c++) tiny_free(&part[c]);
    free(all);
    tiny_free(&whole);
}

/* I8: sequences of a batch do not know of each other. */
static void test_batch_order(void **state)
{
    (void)state;
    struct tiny t = decoder(tiny_welm);
    double *before = logits_of(&t);
    for (int i = 0; i < t.seq; i++) {
        int32_t swap = t.ids[i];
        t.ids[i] = t.ids[t.seq + i];
        t.ids[t.seq + i] = swap;
    }
    double *after = logits_of(&t);
    check_equal(before, after + logits_count(&t) / 2, logits_count(&t) / 2);
    check_equal(before + logits_count(&t) / 2, after, logits_count(&t) / 2);
    free(before);
    free(after);
    tiny_free(&t);
}

/* ---- residual ---- */

/* B3, N2, N4: with branches that write nothing, three blocks are none (pre, sandwich) or one norm (post, partial). */
static void test_silent_branches(void **state)
{
    (void)state;
    static const struct { const char *three, *one; double tolerance; } kind[] = {
        { TEXT({"residual": "pre"}), TEXT({"residual": "pre", "layers": 1}), 0 },
        { TEXT({"residual": "sandwich"}), TEXT({"residual": "sandwich", "layers": 1}), 0 },
        { TEXT({"residual": "post"}), TEXT({"residual": "post", "layers": 1}), 1e-5 },
        { TEXT({"residual": "partial_post"}), TEXT({"residual": "partial_post", "layers": 1}), 1e-5 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct pair p = pair_new(kind[i].three, kind[i].one);
        tiny_scale_all(&p.a, "out.weight", 0);
        tiny_scale_all(&p.a, "down.weight", 0);
        tiny_copy(&p.b, &p.a);
        pair_run(&p);
        check_near(p.x, p.y, p.n, kind[i].tolerance);
        pair_free(&p);
    }
}

/* N4: output gains of 0 silence a branch as well. */
static void test_sandwich_gain_zero(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"residual": "sandwich"}), TEXT({"residual": "pre", "layers": 1}));
    tiny_scale_all(&p.a, "norm_out.gain", 0);
    tiny_scale_all(&p.b, "out.weight", 0);
    tiny_scale_all(&p.b, "down.weight", 0);
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

static const char *const exact_norm = "\"norm.eps\": 1e-12";

/* How far the logits move when the weights at a path's end are scaled. */
static double moved_by_scaling(const char *sets, const char *suffix)
{
    char text[256];
    snprintf(text, sizeof text, "{%s, %s, \"head.tied\": false}", exact_norm, sets);
    struct tiny t = decoder(text);
    double *before = logits_of(&t);
    tiny_scale_all(&t, suffix, 3);
    double *after = logits_of(&t), most = distance(before, after, logits_count(&t));
    free(before);
    free(after);
    tiny_free(&t);
    return most;
}

/* N4b, N6a, N6d, A10b: what a norm hides, and what it must not hide. */
static void test_scales_that_norms_hide(void **state)
{
    (void)state;
    static const struct { const char *sets, *suffix; bool hidden; } scaled[] = {
        { "\"residual\": \"pre\"", "out.weight", false },
        { "\"residual\": \"sandwich\"", "out.weight", true },
        { "\"residual\": \"partial_post\"", "out.weight", true },
        { "\"residual\": {\"module\": \"partial_post\", \"output_norm\": false}", "out.weight", false },
        { "\"residual\": \"pre\"", "embed.weight", false },
        { "\"residual\": \"partial_post\"", "embed.weight", true },
        { "\"attention.qk_norm\": \"none\"", "k.weight", false },
        { "\"attention.qk_norm\": {\"module\": \"k\", \"eps\": 1e-12}", "k.weight", true },
        { "\"attention.qk_norm\": {\"module\": \"k\", \"eps\": 1e-12}", "q.weight", false },
        { "\"attention.qk_norm\": {\"module\": \"qk\", \"eps\": 1e-12}", "k.weight", true },
        { "\"attention.qk_norm\": {\"module\": \"qk\", \"eps\": 1e-12}", "q.weight", true },
    };
    for (int i = 0; i < COUNT(scaled); i++) {
        double most = moved_by_scaling(scaled[i].sets, scaled[i].suffix);
        if (scaled[i].hidden ? most > 2e-5 : most < 1e-3) fail_msg("%s: tripling %s moves logits by %g", scaled[i].sets, scaled[i].suffix, most);
    }
}

/* N6c: on rows of rms 1 the first norm does nothing, so partial post without output norm is pre. */
static void test_partial_post_on_normal_rows(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"layers": 1, "residual": {"module": "partial_post", "output_norm": false}, "norm.eps": 1e-12}),
                             TEXT({"layers": 1, "residual": "pre", "norm.eps": 1e-12}));
    real *w = tiny_weight(&p.a, "embed.weight");
    for (int r = 0; r < p.a.model.vocab; r++) {
        double s = 0;
        for (int i = 0; i < 8; i++) s += (double)w[8 * r + i] * w[8 * r + i];
        for (int i = 0; i < 8; i++) w[8 * r + i] = (real)(w[8 * r + i] / sqrt(s / 8));
    }
    tiny_copy(&p.b, &p.a);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* N6e: all layers listed as PreNorm is PreNorm, the same graph. */
static void test_prenorm_layers(void **state)
{
    (void)state;
    struct tiny a = tiny_new(TEXT({"residual": {"module": "partial_post", "prenorm_layers": [0, 1, 2]}}), NULL, MODE_TRAIN, 2, 6);
    struct tiny b = tiny_new(TEXT({"residual": "pre"}), NULL, MODE_TRAIN, 2, 6);
    assert_true(tiny_same(&a, &b));
    tiny_free(&a);
    tiny_free(&b);
}

/* The output norm's gain starts where it is told to, whichever way the gain is kept. */
static void test_gain_init(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"residual": {"module": "partial_post", "gain_init": 0.25}}),
                             TEXT({"residual": {"module": "partial_post", "gain_init": 0.25}, "norm.zero_centred": true}));
    assert_true(tiny_weight(&p.a, "layers.0.attention.norm_out.gain")[0] == (real)0.25);
    assert_true(tiny_weight(&p.b, "layers.0.attention.norm_out.gain")[0] == (real)-0.75);
    assert_true(tiny_weight(&p.a, "layers.0.ffn.norm.gain")[0] == 1 && tiny_weight(&p.b, "layers.0.ffn.norm.gain")[0] == 0);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* Outputs of branches start narrower where nothing normalises them. */
static void test_initial_widths(void **state)
{
    (void)state;
    static const struct { const char *sets; double ratio; } kind[] = {
        { TEXT({"init": {"module": "normal"}}), 0.40824829046386302 },
        { TEXT({"init": {"module": "normal", "depth_scale": false}}), 1 },
        { TEXT({"init": {"module": "normal"}, "residual": "sandwich"}), 1 },
        { TEXT({"init": {"module": "normal"}, "residual": "post"}), 1 },
        { TEXT({"init": {"module": "normal"}, "residual": "partial_post"}), 1 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_EVAL, 2, 6);
        double std = tiny_leaf(&t, "layers.1.attention.q.weight")->init.std;
        assert_true(std == 0.02);
        assert_float_equal(tiny_leaf(&t, "layers.1.attention.out.weight")->init.std / std, kind[i].ratio, 1e-12);
        assert_float_equal(tiny_leaf(&t, "layers.1.ffn.experts.down.weight")->init.std / std, kind[i].ratio, 1e-12);
        tiny_free(&t);
    }
}

/* ---- attention ---- */

/* A8b: more heads whose output columns are 0 are not there; the shared weights are drawn alike. */
static void test_wide_attention(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.heads": 4}), TEXT({"attention.heads": 2}));
    for (int l = 0; l < 3; l++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.attention.out.weight", l);
        real *wide = tiny_weight(&p.a, path), *narrow = tiny_weight(&p.b, path);
        for (int r = 0; r < 8; r++)
            for (int c = 0; c < 16; c++) wide[16 * r + c] = c < 8 ? narrow[8 * r + c] : 0;
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* A9: closed-form gates. Weights of 0 and mult 2 open every gate to 1. */
static void test_gate_of_one(void **state)
{
    (void)state;
    static const char *const gated[] = {
        TEXT({"attention.gate": {"module": "head", "mult": 2}}), TEXT({"attention.gate": {"module": "element", "mult": 2}}),
    };
    for (int i = 0; i < 2; i++) {
        struct pair p = pair_new(gated[i], "{}");
        tiny_scale_all(&p.a, "attention.gate.weight", 0);
        pair_run(&p);
        check_equal(p.x, p.y, p.n);
        pair_free(&p);
    }
}

/* A9b: an element gate whose columns are tied within each head is the head gate. */
static void test_tied_element_gate(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.gate": "head"}), TEXT({"attention.gate": "element"}));
    for (int l = 0; l < 3; l++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.attention.gate.weight", l);
        const real *head = tiny_weight(&p.a, path);
        real *element = tiny_weight(&p.b, path);
        for (int r = 0; r < 8; r++) memcpy(element + 8 * r, head + 8 * (r / 4), 8 * sizeof *element);
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* A9c: a gate driven far open is no gate; driven shut, attention writes nothing. One input of every row is held positive. */
static void test_gate_extremes(void **state)
{
    (void)state;
    for (int open = 0; open < 2; open++) {
        struct pair p = pair_new(TEXT({"layers": 1, "attention.gate": "head"}), TEXT({"layers": 1}));
        real *embed = tiny_weight(&p.a, "embed.weight"), *gate = tiny_weight(&p.a, "layers.0.attention.gate.weight");
        for (int r = 0; r < p.a.model.vocab; r++) embed[8 * r] = 1;
        for (int i = 0; i < 16; i++) gate[i] = i % 8 ? 0 : open ? 1e5f : -1e5f;
        tiny_copy(&p.b, &p.a);
        if (!open) tiny_scale(&p.b, "layers.0.attention.out.weight", 0);
        pair_run(&p);
        check_equal(p.x, p.y, p.n);
        pair_free(&p);
    }
}

/* A12: all of the head turning, the three ways of choosing a part are one; none turning is NoPE. */
static void test_whole_rope(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"position.where": "first"}), TEXT({"position.where": "last"}));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    p = pair_new(TEXT({"position.where": "proportional"}), TEXT({"position.where": "last"}));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    p = pair_new(TEXT({"position.where": "proportional", "position.fraction": 0.5}), TEXT({"position.where": "first", "position.fraction": 0.5}));
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-4);
    pair_free(&p);
}

/* A13: without positions the last row of one layer does not know the order of the others. */
static void test_no_position(void **state)
{
    (void)state;
    static const char *const kind[] = { TEXT({"layers": 1, "position": "none"}), TEXT({"layers": 1}) };
    for (int rope = 0; rope < 2; rope++) {
        struct tiny t = decoder(kind[rope]);
        for (int i = 0; i < 3; i++) t.ids[i] = i;
        double *before = logits_of(&t);
        t.ids[0] = 2;
        t.ids[2] = 0;
        double *after = logits_of(&t), most = distance(before + 5 * t.model.vocab, after + 5 * t.model.vocab, t.model.vocab);
        assert_true(rope ? most > 1e-4 : most < 1e-5);
        free(before);
        free(after);
        tiny_free(&t);
    }
}

/* A14: a window as long as the sequence is no window. */
static void test_wide_window(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.mask": {"module": "window", "size": 6}}), "{}");
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* A14b, A14c: how far a token reaches: size - 1 positions a layer. */
static void test_window_reach(void **state)
{
    (void)state;
    static const struct { const char *sets; int reach; } kind[] = {
        { TEXT({"layers": 1, "attention.mask": {"module": "window", "size": 1}}), 0 },
        { TEXT({"layers": 1, "attention.mask": {"module": "window", "size": 3}}), 2 },
        { TEXT({"layers": 2, "attention.mask": {"module": "window", "size": 2}}), 2 },
        { TEXT({"layers": 3, "attention.mask": {"module": "window", "size": 2}}), 3 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = decoder(kind[i].sets);
        double *before = logits_of(&t);
        t.ids[0] = other_token(&t, t.ids[0]);
        double *after = logits_of(&t);
        for (int row = 0; row < t.seq; row++) assert_int_equal(equal_rows(before, after, t.model.vocab, row), row > kind[i].reach);
        free(before);
        free(after);
        tiny_free(&t);
    }
}

/* The explicit pairs of a U are the U; with an MTP block, that block reads layer 0. */
static void test_mirror_pairs(void **state)
{
    (void)state;
    static const char *const kind[][2] = {
        { TEXT({"layers": 6, "attention.kv": "mirror"}), TEXT({"layers": 6, "attention.kv": {"module": "mirror", "pairs": [5, 0, 4, 1]}}) },
        { TEXT({"layers": 6, "head.mtp": "sequential", "attention.kv": "mirror"}),
          TEXT({"layers": 6, "head.mtp": "sequential", "attention.kv": {"module": "mirror", "pairs": [6, 0, 5, 1]}}) },
    };
    for (int i = 0; i < 2; i++) {
        struct tiny a = tiny_new(kind[i][0], NULL, MODE_TRAIN, 2, 6), b = tiny_new(kind[i][1], NULL, MODE_TRAIN, 2, 6);
        assert_true(tiny_same(&a, &b));
        tiny_free(&a);
        tiny_free(&b);
    }
}

/* A15c: the reader's keys and values come from the source's normalised input, its queries and gate from its own. */
static void test_mirror_edge(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.kv": "mirror", "attention.gate": "head"}), NULL, MODE_EVAL, 2, 6);
    const struct node *source = tiny_user(&t, "layers.0.attention.q.weight")->in[0], *own = tiny_user(&t, "layers.2.attention.q.weight")->in[0];
    assert_ptr_equal(tiny_user(&t, "layers.2.attention.k.weight")->in[0], source);
    assert_ptr_equal(tiny_user(&t, "layers.2.attention.v.weight")->in[0], source);
    assert_ptr_not_equal(own, source);
    assert_ptr_equal(tiny_user(&t, "layers.2.attention.gate.weight")->in[0], own);
    assert_ptr_equal(tiny_user(&t, "layers.1.attention.k.weight")->in[0], tiny_user(&t, "layers.1.attention.q.weight")->in[0]);
    tiny_free(&t);
}

/* A15e: with the source's projections a reader has the source's keys and values. */
static void test_mirror_with_equal_weights(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.kv": "mirror"}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    static const char *const name[] = { "k", "v" };
    for (int i = 0; i < 2; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "layers.0.attention.%s.weight", name[i]);
        snprintf(to, sizeof to, "layers.2.attention.%s.weight", name[i]);
        memcpy(tiny_weight(&t, to), tiny_weight(&t, from), (size_t)tiny_count(&t, to) * sizeof(real));
        tiny_forward(&t);
        double *x = tiny_read(&t, tiny_user(&t, from)), *y = tiny_read(&t, tiny_user(&t, to));
        check_equal(x, y, shape_count(tiny_user(&t, to)->shape));
        free(x);
        free(y);
    }
    tiny_free(&t);
}

static void check_refused(const char *model, const char *words)
{
    struct tiny t = { 0 };
    char why[256] = "";
    json_t *m = tiny_json(&model_schema, tiny_base, model), *train = json_object();
    bool legal = tiny_load(&t, m, train, why);
    if (legal || !strstr(why, words)) fail_msg("%s: expected '%s', got '%s'", model, words, legal ? "no mistake" : why);
    arena_free(t.arena);
    json_decref(m);
    json_decref(train);
}

static void test_rules(void **state)
{
    (void)state;
    check_refused(TEXT({"attention.kv_heads": 3}), "attention.kv_heads = 3: must divide heads = 2");
    check_refused(TEXT({"attention.head_dim": 5, "position": "none"}), "attention.head_dim = 5: must be even");
    check_refused(TEXT({"position.fraction": 0.25}), "position.fraction = 0.25 of a head of 4 is 1 dimensions");
    check_refused(TEXT({"layers": 2, "attention.kv": "mirror"}), "no thirds to mirror");
    check_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [2]}}), "pairs of reader and source");
    check_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [3, 0]}}), "3: the last layer is 2");
    check_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [1, 1]}}), "the source must be a shallower layer");
    check_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [2, 0, 2, 1]}}), "layer 2 reads twice");
    check_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [1, 0, 2, 1]}}), "layer 1 reads and is a source");
    check_refused(TEXT({"ffn.router.top_k": 5}), "ffn.router.top_k = 5: the model has only 4 experts");
    check_refused(TEXT({"ffn.router.top_k": 1, "ffn.router.normalize": "after"}), "the router would get no gradient");
    check_refused(TEXT({"ffn.router.normalize": "before"}), "softmax scores sum to 1 already");
    check_refused(TEXT({"ffn.router.score": "sigmoid", "ffn.balance": ["z_loss"]}), "normaliser of softmax scores");
    check_refused(TEXT({"residual": {"module": "partial_post", "prenorm_layers": [3]}}), "the model has only 3 layers");
}

/* ---- embedding ---- */

/* E2: with empty tables only the combination's factor is left. */
static void test_empty_tables(void **state)
{
    (void)state;
    static const struct { const char *combine; double scale; } kind[] = { { "welm", 0.5 }, { "paper", 0.2 } };
    for (int i = 0; i < 2; i++) {
        char sets[128], plain[64];
        snprintf(sets, sizeof sets, "{\"embed\": {\"module\": \"over_encoding\", \"rows\": 7, \"width\": 3, \"combine\": \"%s\"}}", kind[i].combine);
        snprintf(plain, sizeof plain, "{\"embed.scale\": %g}", kind[i].scale);
        struct pair p = pair_new(sets, plain);
        for (int k = 0; k < 4; k++) {
            char path[32];
            snprintf(path, sizeof path, "embed.table%d", k);
            tiny_scale(&p.a, path, 0);
        }
        pair_run(&p);
        check_equal(p.x, p.y, p.n);
        pair_free(&p);
    }
}

/* E2c: an n-gram of order 3 sees the token and two before it. */
static void test_ngram_reach(void **state)
{
    (void)state;
    struct tiny t = decoder(TEXT({"layers": 1, "attention.mask": {"module": "window", "size": 1},
        "embed": {"module": "over_encoding", "grams": [3], "rows": 1000, "width": 4}}));
    double *before = logits_of(&t);
    t.ids[1] = other_token(&t, t.ids[1]);
    double *after = logits_of(&t);
    for (int row = 0; row < t.seq; row++) assert_int_equal(equal_rows(before, after, t.model.vocab, row), row < 1 || row > 3);
    free(before);
    free(after);
    tiny_free(&t);
}

/* Rows of the tables are primes that do not divide the vocabulary, each another. */
static void test_table_rows(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"embed": {"module": "over_encoding", "rows": 8, "width": 3}}), NULL, MODE_EVAL, 2, 6);
    static const int64_t rows[] = { 13, 17, 19, 23 };       /* 11 is the vocabulary */
    for (int i = 0; i < 4; i++) {
        char path[32];
        snprintf(path, sizeof path, "embed.table%d", i);
        assert_int_equal(tiny_leaf(&t, path)->decl.shape.dim[0], rows[i]);
    }
    tiny_free(&t);
}

/* E2f: a row that no n-gram hits gets no gradient. */
static void test_rows_not_hit(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"embed": {"module": "over_encoding", "rows": 100, "width": 3}}), NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    plan_backward(t.plan, 0);
    struct node *lookup = tiny_user(&t, "embed.table0");
    double *hit = tiny_read(&t, lookup->in[1]), *grad = tiny_read(&t, lookup->in[0]);
    assert_true(plan_read_grad(t.plan, lookup->in[0], grad));
    int64_t rows = lookup->in[0]->shape.dim[0], touched = 0;
    for (int64_t r = 0; r < rows; r++) {
        bool is_hit = false, moved = grad[3 * r] != 0 || grad[3 * r + 1] != 0 || grad[3 * r + 2] != 0;
        for (int i = 0; i < t.tokens; i++) is_hit |= (int64_t)hit[i] == r;
        if (moved) assert_true(is_hit);
        touched += moved;
    }
    assert_true(touched > 5 && touched <= t.tokens);
    free(hit);
    free(grad);
    tiny_free(&t);
}

/* ---- multi-token prediction ---- */

static double *gradient_of(const char *sets, const char *path, int64_t *n)
{
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    plan_backward(t.plan, 0);
    const struct node *leaf = NULL;
    for (int i = 0; i < t.graph->n && !leaf; i++)
        if (t.graph->node[i]->leaf && t.graph->node[i]->region == REGION_MICRO && strcmp(t.graph->node[i]->leaf->path, path) == 0) leaf = t.graph->node[i];
    assert_non_null(leaf);
    *n = shape_count(leaf->shape);
    double *g = xmalloc((size_t)*n * sizeof *g);
    assert_true(plan_read_grad(t.plan, leaf, g));
    tiny_free(&t);
    return g;
}

/* M1, M1d: a weight of 0 leaves the trunk's gradients alone; the shared head's gradient is linear in the weight. */
static void test_mtp_weight(void **state)
{
    (void)state;
    static const char *const path[] = { "layers.1.attention.q.weight", "embed.weight", "head.weight" };
    for (int i = 0; i < COUNT(path); i++) {
        int64_t n;
        double *none = gradient_of(TEXT({"head.tied": false}), path[i], &n);
        double *zero = gradient_of(TEXT({"head.tied": false, "head.mtp": {"module": "sequential", "weight": 0}}), path[i], &n);
        double *some = gradient_of(TEXT({"head.tied": false, "head.mtp": {"module": "sequential", "weight": 0.3}}), path[i], &n);
        double *more = gradient_of(TEXT({"head.tied": false, "head.mtp": {"module": "sequential", "weight": 1}}), path[i], &n);
        check_near(none, zero, n, 1e-6);
        assert_true(distance(none, more, n) > 1e-4);
        for (int64_t k = 0; k < n; k++) more[k] = none[k] + 0.3 * (more[k] - none[k]);
        check_near(some, more, n, 1e-5);
        free(none);
        free(zero);
        free(some);
        free(more);
    }
}

/* M1c: tokens 0..5: rows 0..3 of depth 1 count, with inputs 1..4 and targets 2..5. */
static void test_mtp_shift(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"head.mtp": "sequential"}), NULL, MODE_EVAL, 1, 6);
    tiny_start(&t, 1);
    for (int i = 0; i < 6; i++) {
        t.ids[i] = i;
        t.target[i] = i < 5 ? i + 1 : 0;
    }
    tiny_forward(&t);
    struct node *trunk = tiny_find(&t, &op_cross_entropy, 0), *deeper = tiny_find(&t, &op_cross_entropy, trunk->id + 1);
    struct node *ids = tiny_find(&t, &op_shift, 0), *mean = tiny_find(&t, &op_weighted_mean, deeper->id);
    double *in = tiny_read(&t, ids), *target = tiny_read(&t, deeper->in[2]), *counts = tiny_read(&t, mean->in[1]);
    for (int i = 0; i < 6; i++) assert_true(counts[i] == (i < 4));
    for (int i = 0; i < 4; i++) assert_true(in[i] == i + 1 && target[i] == i + 2);
    free(in);
    free(target);
    free(counts);
    tiny_free(&t);
}

/* The embedding that depth 1 reads for a token is the trunk's for that token, n-gram history and all. */
static void test_mtp_reads_over_encoding(void **state)
{
    (void)state;
    struct tiny t = tiny_new(tiny_welm, NULL, MODE_EVAL, 1, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    int first = 0;
    while (t.graph->node[first]->op != &op_embed || t.graph->node[first]->in[0]->leaf->role != ROLE_TABLE) first++;
    const struct leaf *table = t.graph->node[first]->in[0]->leaf;
    int second = first + 1;
    while (t.graph->node[second]->op != &op_embed || t.graph->node[second]->in[0]->leaf != table) second++;
    double *now = tiny_read(&t, t.graph->node[first]), *ahead = tiny_read(&t, t.graph->node[second]);
    int64_t width = shape_last(t.graph->node[first]->shape);
    check_equal(now + width, ahead, 5 * width);
    free(now);
    free(ahead);
    tiny_free(&t);
}

/* ---- experts ---- */

/* I1: one expert with a gate of 1 is the dense feed-forward. */
static void test_one_expert(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.experts": 1, "ffn.router.top_k": 1, "ffn.router.normalize": "after", "ffn.router.score": "sigmoid"}), TEXT({"ffn": {"module": "swiglu", "d_ff": 6}}));
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            static const char *const name[] = { "gate", "up", "down" };
            char from[64], to[64];
            snprintf(from, sizeof from, "layers.%d.ffn.experts.%s.weight", l, name[i]);
            snprintf(to, sizeof to, "layers.%d.ffn.%s.weight", l, name[i]);
            memcpy(tiny_weight(&p.b, to), tiny_weight(&p.a, from), (size_t)tiny_count(&p.b, to) * sizeof(real));
        }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* What a token's experts should give, in double: the router's stages and the experts written out. */
struct reference { int experts, k, width, hidden; bool sigmoid; int normalize; double scale; const real *router, *bias, *gate, *up, *down; };

static double product(const real *w, const double *x, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++) s += (double)w[i] * x[i];
    return s;
}

static void reference_token(const struct reference *r, const double *u, double *y)
{
    double score[16], sum = 0, most = -1e30, chosen = 0, gate[16];
    bool taken[16] = { 0 };
    for (int e = 0; e < r->experts; e++) most = fmax(most, score[e] = product(r->router + e * r->width, u, r->width));
    for (int e = 0; e < r->experts; e++) sum += score[e] = r->sigmoid ? 1 / (1 + exp(-score[e])) : exp(score[e] - most);
    for (int e = 0; e < r->experts; e++) if (!r->sigmoid || r->normalize == 1) score[e] /= sum;
    for (int i = 0; i < r->width; i++) y[i] = 0;
    int index[16];
    for (int j = 0; j < r->k; j++) {
        int best = -1;
        for (int e = 0; e < r->experts; e++)
            if (!taken[e] && (best < 0 || score[e] + (r->bias ? (double)r->bias[e] : 0) > score[best] + (r->bias ? (double)r->bias[best] : 0))) best = e;
        taken[index[j] = best] = true;
        chosen += gate[j] = score[best];
    }
    for (int j = 0; j < r->k; j++) {
        double inner[16], g = gate[j] * r->scale / (r->normalize == 2 ? chosen : 1);
        for (int f = 0; f < r->hidden; f++) {
            int64_t row = (int64_t)(index[j] * r->hidden + f) * r->width;
            double a = product(r->gate + row, u, r->width);
            inner[f] = a / (1 + exp(-a)) * product(r->up + row, u, r->width);
        }
        for (int i = 0; i < r->width; i++) y[i] += g * product(r->down + (int64_t)(index[j] * r->width + i) * r->hidden, inner, r->hidden);
    }
}

/* I2, I4 and the published routers: each setting against the formula, token by token. */
static void test_routers(void **state)
{
    (void)state;
    static const struct { const char *sets; struct reference want; } kind[] = {
        { TEXT({"ffn.router": {}}), { 4, 2, 8, 6, false, 0, 1, NULL, NULL, NULL, NULL, NULL } },
        { TEXT({"ffn.router": {"normalize": "after"}}), { 4, 2, 8, 6, false, 2, 1, NULL, NULL, NULL, NULL, NULL } },
        { TEXT({"ffn.router": {"top_k": 4, "scale": 16}}), { 4, 4, 8, 6, false, 0, 16, NULL, NULL, NULL, NULL, NULL } },
        { TEXT({"ffn.router": {"score": "sigmoid"}}), { 4, 2, 8, 6, true, 0, 1, NULL, NULL, NULL, NULL, NULL } },
        { TEXT({"ffn.router": {"score": "sigmoid", "normalize": "before"}}), { 4, 2, 8, 6, true, 1, 1, NULL, NULL, NULL, NULL, NULL } },
        { TEXT({"ffn.router": {"score": "sigmoid", "normalize": "after", "scale": 2.5}, "ffn.balance": ["bias"]}), { 4, 2, 8, 6, true, 2, 2.5, NULL, NULL, NULL, NULL, NULL } },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_EVAL, 2, 6);
        struct reference r = kind[i].want;
        tiny_start(&t, 1);
        r.router = tiny_weight(&t, "layers.1.ffn.router.weight");
        r.gate = tiny_weight(&t, "layers.1.ffn.experts.gate.weight");
        r.up = tiny_weight(&t, "layers.1.ffn.experts.up.weight");
        r.down = tiny_weight(&t, "layers.1.ffn.experts.down.weight");
        if (leaves_find(t.leaves, "layers.1.ffn.router.bias")) {
            real *bias = tiny_weight(&t, "layers.1.ffn.router.bias");
            for (int e = 0; e < 4; e++) bias[e] = (real)(0.2 * e);
            r.bias = bias;
        }
        tiny_forward(&t);
        struct node *router = tiny_user(&t, "layers.1.ffn.router.weight");
        double *u = tiny_read(&t, router->in[0]), *y = tiny_read(&t, tiny_find(&t, &op_combine, router->id));
        for (int token = 0; token < t.tokens; token++) {
            double want[8];
            reference_token(&r, u + 8 * token, want);
            check_near(y + 8 * token, want, 8, 1e-5);
        }
        free(u);
        free(y);
        tiny_free(&t);
    }
}

/* I3: experts that are all alike, with gates that sum to 1, are one dense feed-forward whatever the routing. */
static void test_equal_experts(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.router.normalize": "after"}), TEXT({"ffn": {"module": "swiglu", "d_ff": 6}}));
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            static const char *const name[] = { "gate", "up", "down" };
            char from[64], to[64];
            snprintf(from, sizeof from, "layers.%d.ffn.%s.weight", l, name[i]);
            snprintf(to, sizeof to, "layers.%d.ffn.experts.%s.weight", l, name[i]);
            int64_t n = tiny_count(&p.b, from);
            for (int e = 0; e < 4; e++) memcpy(tiny_weight(&p.a, to) + e * n, tiny_weight(&p.b, from), (size_t)n * sizeof(real));
        }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* I5: two shared experts are one dense feed-forward of twice the width beside the routed ones. */
static void test_shared_experts(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.shared": {"module": "dense", "n": 2}}), TEXT({"ffn": {"module": "swiglu", "d_ff": 12}}));
    tiny_scale_all(&p.a, "experts.down.weight", 0);
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            static const char *const name[] = { "gate", "up", "down" };
            char from[64], to[64];
            snprintf(from, sizeof from, "layers.%d.ffn.%s.weight", l, name[i]);
            snprintf(to, sizeof to, "layers.%d.ffn.shared.%s.weight", l, name[i]);
            assert_int_equal(tiny_count(&p.a, to), tiny_count(&p.b, from));
            memcpy(tiny_weight(&p.a, to), tiny_weight(&p.b, from), (size_t)tiny_count(&p.a, to) * sizeof(real));
        }
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* I7: experts have no names. */
static void test_expert_order(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance": ["bias"]});
    struct pair p = pair_new(sets, sets);
    static const int to[] = { 2, 0, 3, 1 };
    static const char *const path[] = { "layers.0.ffn.router.weight", "layers.0.ffn.router.bias", "layers.0.ffn.experts.gate.weight",
                                        "layers.0.ffn.experts.up.weight", "layers.0.ffn.experts.down.weight" };
    for (int e = 0; e < 4; e++) tiny_weight(&p.a, path[1])[e] = (real)(0.05 * e);
    for (int i = 0; i < COUNT(path); i++) {
        size_t n = (size_t)tiny_count(&p.a, path[i]) / 4;
        for (int e = 0; e < 4; e++) memcpy(tiny_weight(&p.b, path[i]) + (size_t)to[e] * n, tiny_weight(&p.a, path[i]) + (size_t)e * n, n * sizeof(real));
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* ---- balance ---- */

/* Equal logits: the balance loss is 1 a layer, the z-loss is (ln E)^2, and neither pulls the router. */
static void test_losses_of_equal_logits(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.balance": ["switch_aux", "z_loss"]}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_scale_all(&t, "router.weight", 0);
    tiny_forward(&t);
    assert_float_equal(tiny_loss(&t, "aux"), 3, 1e-5);
    assert_float_equal(tiny_loss(&t, "z"), 3 * log(4) * log(4), 1e-5);
    double tokens[4];
    tiny_metric(&t, "expert_tokens", 0, tokens);            /* ties go to the lower index */
    assert_true(tokens[0] == 12 && tokens[1] == 12 && tokens[2] == 0 && tokens[3] == 0);
    tiny_free(&t);
}

/* The losses enter the objective with their weights. */
static void test_objective(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"head.mtp": {"module": "sequential", "depth": 2, "weight": 0.5},
        "ffn.balance": [{"module": "switch_aux", "alpha": 0.25}, {"module": "z_loss", "coef": 0.125}]}), NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    double objective;
    tiny_metric(&t, "objective", -1, &objective);
    assert_float_equal(objective, tiny_loss(&t, "lm") + 0.25 * tiny_loss(&t, "mtp") + 0.25 * tiny_loss(&t, "aux") + 0.125 * tiny_loss(&t, "z"), 1e-5);
    tiny_free(&t);
}

/* A bias that is equal for all experts changes nothing; one that changes the choice leaves the gate the unbiased score. */
static void test_bias_moves_the_choice_only(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance": ["bias"]});
    struct pair p = pair_new(sets, sets);
    real *bias = tiny_weight(&p.a, "layers.0.ffn.router.bias");
    for (int e = 0; e < 4; e++) bias[e] = 0.5f;
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    bias[3] = 100;
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-4 && distance(p.x, p.y, p.n) < 10);
    pair_free(&p);
}

/* One step moves each bias by gamma towards the mean count; evaluation moves nothing. */
static void test_bias_step(void **state)
{
    (void)state;
    static const char *const kind[] = { TEXT({"ffn.router.score": "sigmoid", "ffn.balance": [{"module": "bias", "gamma": 0.01}]}),
                                        TEXT({"ffn.router.score": "sigmoid", "ffn.balance": [{"module": "bias", "gamma": 0.01, "centred": true}]}) };
    for (int centred = 0; centred < 2; centred++) {
        struct tiny t = tiny_new(kind[centred], TEXT({"optim.lr": 0}), MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        tiny_step(&t, 0);
        double tokens[4], step[4], mean = 0;
        tiny_metric(&t, "expert_tokens", 2, tokens);
        for (int e = 0; e < 4; e++) mean += (step[e] = 0.01 * ((6 > tokens[e]) - (6 < tokens[e]))) / 4;
        const real *bias = tiny_weight(&t, "layers.2.ffn.router.bias");
        for (int e = 0; e < 4; e++) assert_float_equal(bias[e], step[e] - (centred ? mean : 0), 1e-8);
        tiny_free(&t);
    }
    struct tiny eval = tiny_new(kind[0], NULL, MODE_EVAL, 2, 6);
    tiny_start(&eval, 1);
    tiny_forward(&eval);
    for (int e = 0; e < 4; e++) assert_true(tiny_weight(&eval, "layers.2.ffn.router.bias")[e] == 0);
    tiny_free(&eval);
}

/* With every weight standing still, the bias alone evens the load of a skewed router. */
static void test_bias_balances(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.router": {"score": "sigmoid", "top_k": 1}, "ffn.balance": [{"module": "bias", "gamma": 0.01}]}),
                             TEXT({"optim.lr": 0}), MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    real *embed = tiny_weight(&t, "embed.weight"), *router = tiny_weight(&t, "layers.0.ffn.router.weight");
    for (int r = 0; r < t.model.vocab; r++) embed[8 * r] = 1;
    router[0] += 2;                                         /* everybody likes expert 0 */
    tiny_scale(&t, "layers.0.attention.out.weight", 0);
    double tokens[4], last = 12;
    tiny_step(&t, 0);
    tiny_metric(&t, "expert_tokens", 0, tokens);
    assert_true(tokens[0] == 12);
    for (int step = 1; step < 100; step++) {
        tiny_step(&t, step);
        tiny_metric(&t, "expert_tokens", 0, tokens);
        last = fmax(fmax(tokens[0], tokens[1]), fmax(tokens[2], tokens[3]));
    }
    assert_true(last <= 5);
    tiny_free(&t);
}

/* ---- optimizers ---- */

/* W1: who is moved by what, and what decays. */
static void test_optimizer_groups(void **state)
{
    (void)state;
    static const struct { const char *path; bool muon, decays; } want[] = {
        { "embed.weight", false, false }, { "embed.table0", false, false }, { "embed.mix.weight", true, true },
        { "layers.0.attention.norm.gain", false, false }, { "layers.0.attention.q.weight", true, true }, { "layers.0.attention.k.weight", true, true },
        { "layers.0.attention.v.weight", true, true }, { "layers.0.attention.k_norm.gain", false, false }, { "layers.0.attention.gate.weight", true, true },
        { "layers.0.attention.out.weight", true, true }, { "layers.0.attention.norm_out.gain", false, false }, { "layers.0.ffn.norm.gain", false, false },
        { "layers.0.ffn.router.weight", true, true }, { "layers.0.ffn.experts.gate.weight", true, true }, { "layers.0.ffn.experts.up.weight", true, true },
        { "layers.0.ffn.experts.down.weight", true, true }, { "layers.0.ffn.shared.gate.weight", true, true }, { "mtp.0.project.weight", true, true },
        { "mtp.0.norm_e.gain", false, false }, { "mtp.0.norm_h.gain", false, false }, { "mtp.0.norm.gain", false, false },
        { "mtp.0.attention.q.weight", true, true }, { "final_norm.gain", false, false }, { "head.weight", false, true },
    };
    static const char *const optim[] = { TEXT({"optim": "adamw"}), TEXT({"optim": "muon"}) };
    for (int with_muon = 0; with_muon < 2; with_muon++) {
        struct tiny t = tiny_new(tiny_welm, optim[with_muon], MODE_TRAIN, 2, 6);
        int updates = 0, weights = 0;
        for (int i = 0; i < t.leaves->n; i++) weights += t.leaves->leaf[i]->kind == LEAF_WEIGHT;
        for (int i = 0; i < t.graph->n; i++) {
            const struct node *n = t.graph->node[i];
            if (n->op != &op_adamw && n->op != &op_muon) continue;
            updates++;
            for (int k = 0; k < COUNT(want); k++) {
                if (strcmp(want[k].path, n->in[0]->leaf->path) != 0) continue;
                double decay = n->op == &op_muon ? ((const struct muon_attr *)n->attr)->decay : ((const struct adamw_attr *)n->attr)->decay;
                if ((n->op == &op_muon) != (with_muon && want[k].muon) || decay != (want[k].decays ? 0.1 : 0)) fail_msg("%s: %s, decay %g", want[k].path, n->op->name, decay);
            }
        }
        for (int k = 0; k < COUNT(want); k++) tiny_leaf(&t, want[k].path);
        assert_int_equal(updates, weights);
        tiny_free(&t);
    }
}

/* The three lengths of a Muon step. */
static void test_muon_scale(void **state)
{
    (void)state;
    static const struct { const char *train; double q, down; } kind[] = {       /* q is [16,8], experts.down a stack of [8,6] */
        { TEXT({"optim": {"module": "muon", "scale": "rms"}}), 0.2 * 4, 0.2 * 2.8284271247461903 },
        { TEXT({"optim": {"module": "muon", "scale": "spectral"}}), 1.4142135623730951, 1.1547005383792515 },
        { TEXT({"optim": {"module": "muon", "scale": "jordan"}}), 1.4142135623730951, 1.1547005383792515 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(TEXT({"attention.heads": 4}), kind[i].train, MODE_TRAIN, 2, 6);
        for (int k = 0; k < t.graph->n; k++) {
            const struct node *n = t.graph->node[k];
            if (n->op != &op_muon) continue;
            double scale = ((const struct muon_attr *)n->attr)->scale;
            if (strcmp(n->in[0]->leaf->path, "layers.0.attention.q.weight") == 0) assert_float_equal(scale, kind[i].q, 1e-12);
            if (strcmp(n->in[0]->leaf->path, "layers.0.ffn.experts.down.weight") == 0) assert_float_equal(scale, kind[i].down, 1e-12);
        }
        tiny_free(&t);
    }
}

/* X3, small: both optimizers bring the whole stack down on one batch. */
static void test_learns_one_batch(void **state)
{
    (void)state;
    static const char *const train[] = { TEXT({"optim": {"module": "adamw", "lr": 0.01}, "schedule": "constant"}),
                                         TEXT({"optim": {"module": "muon", "lr": 0.02}, "schedule": "constant"}) };
    for (int i = 0; i < 2; i++) {
        struct tiny t = tiny_new(tiny_welm, train[i], MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        for (int step = 0; step < 300; step++) tiny_step(&t, step);
        double loss = tiny_loss(&t, "lm");
        if (!(loss < 0.05)) fail_msg("%s: loss %g after 300 steps", train[i], loss);
        tiny_free(&t);
    }
}

/* ---- schedules ---- */

struct golden { int64_t step; double factor; };

static void check_schedule(const char *train, int64_t steps, const struct golden *want, int n)
{
    struct tiny t = tiny_new("{}", train, MODE_EVAL, 1, 2);
    const struct pick *s = &t.train.schedule;
    for (int i = 0; i < n; i++) assert_float_equal(s->module->schedule(s->conf, want[i].step, steps), want[i].factor, 1e-6);
    tiny_free(&t);
}

static void test_schedules(void **state)
{
    (void)state;
    static const struct golden constant[] = { { 0, 0.1 }, { 4, 0.5 }, { 9, 1 }, { 10, 1 }, { 99, 1 } };
    static const struct golden cosine[] = { { 0, 0.1 }, { 9, 1 }, { 10, 1 }, { 35, 0.868198 }, { 60, 0.55 }, { 85, 0.231802 }, { 110, 0.1 } };
    static const struct golden roots[] = { { 0, 0.1 }, { 79, 1 }, { 80, 1 }, { 85, 0.5 }, { 90, 0.292893 }, { 95, 0.133975 }, { 100, 0 } };
    static const struct golden linear[] = { { 0, 1 }, { 50, 1 }, { 75, 0.5 }, { 100, 0 } };
    check_schedule(TEXT({"schedule": {"module": "constant", "warmup": 10}}), 100, constant, COUNT(constant));
    check_schedule(TEXT({"schedule": {"module": "cosine", "warmup": 10}}), 110, cosine, COUNT(cosine));
    check_schedule(TEXT({"schedule": {"module": "wsd", "warmup": 10}}), 100, roots, COUNT(roots));
    check_schedule(TEXT({"schedule": {"module": "wsd", "decay": 0.5, "shape": "linear"}}), 100, linear, COUNT(linear));
}

/* The rate that the optimizer reads is lr times the factor. */
static void test_rate(void **state)
{
    (void)state;
    struct tiny t = tiny_new("{}", TEXT({"optim": {"module": "adamw", "lr": 0.5}, "schedule": {"module": "constant", "warmup": 4}}), MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_step(&t, 0);
    assert_true(tiny_weight(&t, "lr")[0] == 0.125f);
    tiny_step(&t, 9);
    assert_true(tiny_weight(&t, "lr")[0] == 0.5f);
    tiny_free(&t);
}

#define RUN(name) cmocka_unit_test(test_##name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(causality), RUN(mtp_causality), RUN(documents), RUN(chunks_equal_one_pass), RUN(batch_order),
        RUN(silent_branches), RUN(sandwich_gain_zero), RUN(scales_that_norms_hide), RUN(partial_post_on_normal_rows), RUN(prenorm_layers),
        RUN(gain_init), RUN(initial_widths), RUN(wide_attention), RUN(gate_of_one), RUN(tied_element_gate), RUN(gate_extremes), RUN(whole_rope),
        RUN(no_position), RUN(wide_window), RUN(window_reach), RUN(mirror_pairs), RUN(mirror_edge), RUN(mirror_with_equal_weights), RUN(rules),
        RUN(empty_tables), RUN(ngram_reach), RUN(table_rows), RUN(rows_not_hit), RUN(mtp_weight), RUN(mtp_shift), RUN(mtp_reads_over_encoding),
        RUN(one_expert), RUN(routers), RUN(equal_experts), RUN(shared_experts), RUN(expert_order),
        RUN(losses_of_equal_logits), RUN(objective), RUN(bias_moves_the_choice_only), RUN(bias_step), RUN(bias_balances),
        RUN(optimizer_groups), RUN(muon_scale), RUN(learns_one_batch), RUN(schedules), RUN(rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
