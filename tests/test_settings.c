/* Settings of attention, routing and streams: where each comes to another, and what it promises. */
#include "tiny_pair.h"

/* ---- what says nothing at one end of its range ---- */

/* Models that say the same. `from`, `by`: weights of the first whose path ends so are scaled before, or moved. */
static void test_ends(void **state)
{
    (void)state;
    static const struct { const char *a, *b, *scaled; double by; } same[] = {
        { TEXT({"attention.kv": {"module": "cla", "share": 2}, "layers": 1}), TEXT({"layers": 1}), NULL, 0 },
        { TEXT({"attention.value": {"module": "residual", "own": 1, "first": 0}}), "{}", NULL, 0 },
        { TEXT({"attention.softcap": 1000}), "{}", NULL, 0 },
        { TEXT({"attention.mask": {"module": "chunk", "size": 6}}), "{}", NULL, 0 },
        { TEXT({"memory": {"module": "bigram", "rows": 7, "factor": 0}}), "{}", NULL, 0 },
        { TEXT({"ple": {"module": "gated", "width": 3}}), "{}", "ple.out.weight", 0 },
        { TEXT({"ffn.dispatch": "capacity"}), "{}", NULL, 0 },                /* nothing is dropped outside training */
        { TEXT({"ffn.router.noise": "gumbel"}), "{}", NULL, 0 },
        { TEXT({"ffn": {"module": "dense", "d_ff": 6, "activation": "reglu"}}),
          TEXT({"ffn": {"module": "dense", "d_ff": 6, "activation": "relu2"}}), NULL, 0 },
    };
    for (int i = 0; i < COUNT(same); i++) {
        struct pair p = pair_new(same[i].a, same[i].b);
        tiny_copy(&p.a, &p.b);
        if (same[i].scaled) tiny_scale_all(&p.a, same[i].scaled, same[i].by);
        for (int layer = 0; i == COUNT(same) - 1 && layer < 3; layer++) {   /* relu(x) x is relu(x)^2 */
            char up[64], gate[64];
            snprintf(up, sizeof up, "layers.%d.ffn.up.weight", layer);
            snprintf(gate, sizeof gate, "layers.%d.ffn.gate.weight", layer);
            memcpy(tiny_weight(&p.a, gate), tiny_weight(&p.a, up), (size_t)tiny_count(&p.a, up) * sizeof(real));
        }
        pair_run(&p);
        check_near(p.x, p.y, p.n, i == 2 ? 1e-4 : 1e-6);
        pair_free(&p);
    }
}

/* ---- sinks ---- */

/* A sink of a very low logit is none; one of a high logit takes all, and attention writes nothing. */
static void test_sinks(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.sink": "head"}), "{}");
    for (int low = 1; low >= 0; low--) {
        for (int layer = 0; layer < 3; layer++) {
            char path[64];
            snprintf(path, sizeof path, "layers.%d.attention.sink", layer);
            for (int h = 0; h < 2; h++) tiny_weight(&p.a, path)[h] = low ? -60 : 60;
        }
        if (!low) tiny_scale_all(&p.b, "attention.out.weight", 0);
        pair_run(&p);
        check_near(p.x, p.y, p.n, 1e-6);
    }
    pair_free(&p);
}

/* ---- what crosses layers ---- */

/* Readers have no keys of their own, and decoding no caches for them. */
static void test_shared_keys(void **state)
{
    (void)state;
    struct tiny t = decoder(TEXT({"attention.kv": {"module": "cla", "share": 2}}));
    assert_non_null(leaves_find(t.leaves, "layers.0.attention.k.weight"));
    assert_null(leaves_find(t.leaves, "layers.1.attention.k.weight"));
    assert_non_null(leaves_find(t.leaves, "layers.1.attention.q.weight"));
    assert_non_null(leaves_find(t.leaves, "layers.2.attention.k.weight"));
    struct tiny own = decoder("{}");
    size_t shared = model_cache_bytes(t.leaves, 2, t.model.seq, 4).per_token,
           all = model_cache_bytes(own.leaves, 2, own.model.seq, 4).per_token;
    assert_int_equal(3 * shared, 2 * all);
    tiny_free(&own);
    tiny_free(&t);
}

/* v_1 = v_0 where the own factor is 0: then its projection says nothing. */
static void test_first_values(void **state)
{
    (void)state;
    struct tiny t = decoder(TEXT({"attention.value": {"module": "residual", "own": 0, "first": 1}}));
    double *before = logits_of(&t);
    tiny_scale(&t, "layers.1.attention.v.weight", 3);
    double *after = logits_of(&t);
    check_equal(before, after, logits_count(&t));
    tiny_scale(&t, "layers.0.attention.v.weight", 3);
    free(after);
    after = logits_of(&t);
    assert_true(distance(before, after, logits_count(&t)) > 1e-3);
    free(before);
    free(after);
    tiny_free(&t);
}

/* ---- who chooses whom ---- */

/* Experts that choose have an even load; with as many as there are, they choose all, as top-k of all does. */
static void test_expert_choice(void **state)
{
    (void)state;
    double tokens[4], loss[2];
    struct tiny t = tiny_new(TEXT({"ffn.router.select": "expert_choice"}), NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    tiny_metric(&t, "expert_tokens", 1, tokens);
    for (int e = 0; e < 4; e++) assert_true(tokens[e] == 2 * 3);        /* 6 tokens, 2 a token, 4 experts */
    assert_int_equal(model_looks_ahead(&t.model), AHEAD_ALWAYS);
    tiny_free(&t);
    for (int i = 0; i < 2; i++) {
        t = tiny_new(i ? TEXT({"ffn.router": {"select": "expert_choice", "top_k": 4}}) : TEXT({"ffn.router.top_k": 4}),
                     NULL, MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        tiny_forward(&t);
        loss[i] = tiny_loss(&t, "lm");
        tiny_free(&t);
    }
    assert_float_equal(loss[0], loss[1], 1e-6);
}

/* What looks ahead is not sampled, and says why. */
static void test_nothing_to_sample(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router.select": "expert_choice"}), NULL, MODE_EVAL, 2, 6);
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    struct model_size size = { .batch = 1, .seq = 1, .context = 6 };
    model_build(g, t.arena, &t.model, NULL, MODE_DECODE, size);
    assert_true(g->failed);
    assert_non_null(strstr(g->err.text, "looks ahead"));
    graph_free(g);
    leaves_free(leaves);
    tiny_free(&t);
}

/* The same ids go to the same experts, whatever the weights are. */
static void test_hash(void **state)
{
    (void)state;
    double tokens[2][4];
    for (int seed = 0; seed < 2; seed++) {
        struct tiny t = tiny_new(TEXT({"ffn.router.select": "hash"}), NULL, MODE_TRAIN, 2, 6);
        tiny_start(&t, 1 + (uint64_t)seed);
        for (int i = 0; i < t.tokens; i++) t.ids[i] = i % 5;
        tiny_forward(&t);
        tiny_metric(&t, "expert_tokens", 1, tokens[seed]);
        tiny_free(&t);
    }
    assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
}

/* No expert computes more than it has room for; what was dropped and what was computed are all there is. */
static void test_capacity(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.dispatch": {"module": "capacity", "factor": 0.5}}), NULL, MODE_TRAIN, 2, 6);
    double tokens[4], dropped, sum = 0;
    tiny_start(&t, 1);
    tiny_forward(&t);
    tiny_metric(&t, "expert_tokens", 1, tokens);
    tiny_metric(&t, "drop_rate", 1, &dropped);
    for (int e = 0; e < 4; e++) {
        assert_true(tokens[e] <= 2 * 2);                    /* of each sequence ceil(0.5 * 2 * 6 / 4) */
        sum += tokens[e];
    }
    assert_true(dropped > 0);
    assert_float_equal(sum, (1 - dropped) * 24, 1e-5);
    tiny_free(&t);
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
    (void)state;
    static const struct { const char *sets, *words; } refused[] = {
        { TEXT({"attention.kv": "cla", "attention.qk_clip": 1}), "has none to scale" },
        { TEXT({"attention.qk_norm": "qk", "attention.qk_clip": 1}), "undoes what it scales" },
        { TEXT({"attention": {"layers": [{"kv": "cla", "heads": 2, "kv_heads": 1, "head_dim": 4},
                                         {"kv": "cla", "heads": 2, "kv_heads": 2, "head_dim": 4}, {}]}}),
          "other heads" },
        { TEXT({"attention": {"layers": [
              {"kv": "cla", "heads": 2, "kv_heads": 1, "head_dim": 4, "mask": {"module": "window", "size": 2}},
              {"kv": "cla", "heads": 2, "kv_heads": 1, "head_dim": 4}, {}]}}), "looks further back" },
        { TEXT({"ffn.router.select": "hash", "ffn.balance": ["bias"]}), "does not choose by it" },
        { TEXT({"ple": "gated", "residual": "mhc"}), "the gate reads one" },
        { TEXT({"order": [0, 1, 1]}), "layer 2 is not in it" },
        { TEXT({"order": [0, 1, 2, 3]}), "the last layer is 2" },
    };
    for (int i = 0; i < COUNT(refused); i++) tiny_refused(refused[i].sets, refused[i].words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(ends), RUN(sinks), RUN(shared_keys), RUN(first_values), RUN(expert_choice), RUN(nothing_to_sample),
        RUN(hash), RUN(capacity), RUN(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
