/* Laws of latent attention: what is cached, what kv shares between layers, what decodes as it was trained, positions,
   QK-clip, and what is refused. Values: tests/grad_mla.c. */
#include "tiny_pair.h"

#define MLA(...) TEXT({"attention": {"module": "mla", "heads": 3, "nope_dim": 4, "rope_dim": 2, "value_dim": 5, \
                                     "kv_rank": 6, __VA_ARGS__}})
#define ONE_LAYER(rope) TEXT({"layers": 1, "attention": {"module": "mla", "heads": 3, "nope_dim": 4, \
                                                         "rope_dim": rope, "value_dim": 5, "kv_rank": 6}})
enum { LAYERS = 3, H = 3, N = 4, P = 2, M = 5, R = 6, D = 8 };

static int64_t count_below(const struct tiny *t, const char *prefix)
{
    int64_t n = 0;
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        if (l->kind == LEAF_WEIGHT && strncmp(l->path, prefix, strlen(prefix)) == 0) n += shape_count(l->decl.shape);
    }
    return n;
}

/* ---- what is cached ---- */

/* However many heads there are. Of layers that share latents the first has them, and what makes them; of a window it is
   the window's. */
static void test_caches(void **state)
{
    (void)state;
    static const struct { const char *sets; int caches; double share; } kind[] = {
        { MLA("q_rank": 0), 3, 1 }, { MLA("heads": 7), 3, 1 }, { MLA("kv": "cla"), 2, 1 },
        { MLA("kv": {"module": "cla", "share": 3}), 1, 1 }, { MLA("kv": {"module": "mirror", "pairs": [2, 0]}), 3, 1 },
        { MLA("mask": {"module": "window", "size": 3}), 3, 0.5 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_DECODE, 2, 1);
        struct cache_bytes bytes = model_cache_bytes(t.leaves, 2, 6, 2);
        int caches = 0;
        assert_int_equal(bytes.per_token, kind[i].caches * (R + P) * 2 * kind[i].share);
        assert_int_equal(bytes.fixed, 0);
        for (int k = 0; k < t.leaves->n; k++) {
            const struct leaf *l = t.leaves->leaf[k];
            if (l->kind != LEAF_BUFFER || l->decl.dtype == DTYPE_I32) continue;
            assert_int_equal(shape_last(l->decl.shape), R + P);
            assert_non_null(strstr(l->path, "attention.latent.cache"));
            caches++;
        }
        assert_int_equal(caches, kind[i].caches);
        tiny_free(&t);
    }
}

static void test_counts(void **state)
{
    (void)state;
    const int64_t queries = H * (N + P), latents = D * (R + P) + R, raised = H * (N + M) * R, out = H * M * D;
    struct tiny plain = tiny_new(MLA("q_rank": 0), NULL, MODE_TRAIN, 2, 6),
                ranked = tiny_new(MLA("q_rank": 5), NULL, MODE_TRAIN, 2, 6),
                shared = tiny_new(MLA("kv": "cla"), NULL, MODE_TRAIN, 2, 6);
    assert_int_equal(count_below(&plain, "layers.1.attention.") - D, D * queries + latents + raised + out);
    assert_int_equal(count_below(&ranked, "layers.1.attention.") - D, 5 * (D + 1 + queries) + latents + raised + out);
    assert_int_equal(count_below(&shared, "layers.0.attention.") - D, D * queries + latents + raised + out);
    assert_int_equal(count_below(&shared, "layers.1.attention.") - D, D * queries + raised + out);
    tiny_free(&plain);
    tiny_free(&ranked);
    tiny_free(&shared);
}

/* ---- decoding ---- */

/* A token at a time says what all at once do: what stands beside latents, and what kv makes of them. */
static void test_decoding(void **state)
{
    (void)state;
    static const char *const kind[] = {
        MLA("q_rank": 5), MLA("kv": "cla"), MLA("kv": {"module": "mirror", "pairs": [2, 0]}),
        MLA("kv": "cla", "mask": {"module": "window", "size": 3}, "sink": "token", "gate": "element"),
        MLA("rope_dim": 0, "mask": {"module": "chunk", "size": 4}, "softcap": 2, "sink": "head", "gate": "head"),
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny whole = decoder(kind[i]);
        decoded_alike(&whole, kind[i]);
        tiny_free(&whole);
    }
}

/* A layer reads the latents of the one that shares them, and makes keys and values of its own of them. */
static void test_shared_latents(void **state)
{
    (void)state;
    struct tiny t = decoder(MLA("kv": "cla"));
    assert_null(leaves_find(t.leaves, "layers.1.attention.kv_down.weight"));
    double *before = logits_of(&t);
    tiny_scale(&t, "layers.1.attention.k_up.weight", -1);
    double *after = logits_of(&t);
    assert_true(distance(before, after, logits_count(&t)) > 1e-4);
    free(before);
    free(after);
    tiny_free(&t);
}

/* ---- positions ---- */

/* Without a rotary part the past is a set: its order changes nothing of a single layer. */
static void test_order(void **state)
{
    (void)state;
    static const char *const kind[] = { ONE_LAYER(0), ONE_LAYER(2) };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = decoder(kind[i]);
        int v = t.model.vocab;
        for (int k = 0; k < t.seq; k++) t.ids[k] = (k * 3 + 1) % v;     /* no two alike */
        double *before = logits_of(&t);
        int32_t first = t.ids[0];
        for (int k = 0; k < 3; k++) t.ids[k] = t.ids[k + 1];
        t.ids[3] = first;
        double *after = logits_of(&t), moved = distance(before + 5 * v, after + 5 * v, v);
        if (i == 0) assert_true(moved < 1e-6);
        else assert_true(moved > 1e-4);
        assert_true(distance(before + 2 * v, after + 2 * v, v) > 1e-4);
        free(before);
        free(after);
        tiny_free(&t);
    }
    struct tiny a = decoder(MLA("rope_dim": 0)),
                b = decoder(TEXT({"position": "none", "attention": {"module": "mla", "heads": 3, "nope_dim": 4,
                                                                    "rope_dim": 0, "value_dim": 5, "kv_rank": 6}}));
    assert_true(tiny_same(&a, &b));
    tiny_free(&a);
    tiny_free(&b);
}

/* ---- QK-clip ---- */

/* Weights that do not move but for it: the largest score of the first layer, of the same batch, becomes the limit. */
static void clips(int rope)
{
    char sets[256];
    double before, after, clipped;
    struct tiny t;
    static const char *const still = TEXT({"optim": {"module": "adamw", "lr": 0}});
    for (double limit = 0;; limit = before / 4) {
        snprintf(sets, sizeof sets, "{\"attention\": {\"module\": \"mla\", \"heads\": 3, \"nope_dim\": 4, "
                 "\"rope_dim\": %d, \"value_dim\": 5, \"kv_rank\": 6, \"qk_clip\": %.17g}}", rope, limit);
        t = tiny_new(sets, still, MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        if (limit > 0) break;
        tiny_step(&t, 0);
        tiny_metric(&t, "layer_attn_logit_max", 0, &before);
        tiny_free(&t);
    }
    assert_true(before > 0);
    tiny_step(&t, 0);
    tiny_metric(&t, "layer_clipped_heads", 0, &clipped);
    assert_true(clipped > 0);
    tiny_step(&t, 1);
    tiny_metric(&t, "layer_attn_logit_max", 0, &after);
    if (fabs(after - before / 4) > 1e-5 * before)
        fail_msg("rope_dim = %d: largest score %g, limit %g, then %g", rope, before, before / 4, after);
    tiny_free(&t);
}

static void test_clip(void **state)
{
    (void)state;
    clips(2);
    clips(0);
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
    (void)state;
    tiny_refused(MLA("rope_dim": 3), "1 of a head of 3 is 3 dimensions: they rotate in pairs");
    tiny_refused(MLA("kv_rank": 1024), "kv_rank = 1024, and rope_dim = 2: what is cached is at most 1024 wide");
    tiny_refused(MLA("nope_dim": 1024), "attention.nope_dim = 1024, and rope_dim = 2: keys are at most 1024 wide");
    tiny_refused(MLA("qk_norm": "k"), "qk_norm");           /* keys that are normed cannot be absorbed */
    tiny_refused(MLA("value": "residual"), "value");        /* nor values that others are mixed into */
    tiny_refused(TEXT({"attention": {"layers": [{"module": "mla", "kv": "cla"},
                                                {"module": "mla", "kv_rank": 32, "kv": "cla"}, "mla"]}}),
                 "layer 1 reads keys of layer 0, which have other heads");
    tiny_refused(TEXT({"attention": {"layers": [{"module": "mla", "kv": "cla"}, {"module": "gqa", "kv": "cla"},
                                                "mla"]}}),
                 "layer 1 reads keys of layer 0, which have other heads");
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(caches), RUN(counts), RUN(decoding), RUN(shared_latents), RUN(order),
                                        RUN(clip), RUN(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
