/* Modules that choose the keys attention looks at: what is dense, what is local, who learns from what, what is kept. */
#include "tiny_pair.h"
#include "graph/ops/products.h"

#define ALL_OF_DSA TEXT({"attention.keys": {"module": "dsa", "top_k": 6, "heads": 2, "dim": 4, "dense": 0}})
#define DSA(...) "{\"attention.keys\": {\"module\": \"dsa\", \"top_k\": 3, \"heads\": 2, \"dim\": 4, " #__VA_ARGS__ "}}"
#define MOBA(size, blocks) "{\"attention.keys\": {\"module\": \"moba\", \"size\": " #size ", \"blocks\": " #blocks "}}"

/* Two models say the same to the same tokens, as near as rounding allows, or do not. */
static void check_same(const char *a, const char *b, bool same)
{
    struct pair p = pair_new(a, b);
    pair_run(&p);
    if (same) check_near(p.x, p.y, p.n, 2e-6);
    else assert_true(distance(p.x, p.y, p.n) > 1e-4);
    pair_free(&p);
}

static void test_all_keys_are_dense(void **state)
{
    (void)state;
    check_same("{}", ALL_OF_DSA, true);
    check_same("{}", DSA("dense": 0), false);
    check_same("{}", MOBA(2, 3), true);
    check_same("{}", MOBA(1, 6), true);
    check_same("{}", MOBA(7, 1), true);
    check_same("{}", MOBA(2, 2), false);
}

/* Its own block alone: chunks. */
static void test_one_block_is_a_chunk(void **state)
{
    (void)state;
    check_same(TEXT({"attention.mask": {"module": "chunk", "size": 2}}), MOBA(2, 1), true);
    check_same(TEXT({"attention.mask": {"module": "chunk", "size": 3}}), MOBA(3, 1), true);
}

/* `all` is what there was: the same graph. */
static void test_all_is_nothing(void **state)
{
    (void)state;
    struct tiny plain = tiny_new("{}", NULL, MODE_TRAIN, 2, 6),
                named = tiny_new(TEXT({"attention.keys": "all"}), NULL, MODE_TRAIN, 2, 6);
    assert_true(tiny_same(&plain, &named));
    tiny_free(&plain);
    tiny_free(&named);
}

static bool is_indexer(const struct leaf *l) { return strstr(l->path, ".index."); }

/* Of the indexer's loss nobody learns but the indexer, and the indexer of nothing else. */
static void test_who_learns(void **state)
{
    (void)state;
    struct tiny once = tiny_new(DSA("dense": 0, "weight": 0.5), NULL, MODE_TRAIN, 2, 6),
                more = tiny_new(DSA("dense": 0, "weight": 2), NULL, MODE_TRAIN, 2, 6);
    struct tiny *both[] = { &once, &more };
    int indexers = 0, others = 0;
    for (int i = 0; i < 2; i++) {
        tiny_start(both[i], 1);
        tiny_forward(both[i]);
        plan_backward(both[i]->plan, 0);
    }
    for (int i = 0; i < once.graph->n; i++) {
        const struct node *n = once.graph->node[i], *other = more.graph->node[i];
        if (!n->leaf || n->leaf->kind != LEAF_WEIGHT || n->region != REGION_MICRO) continue;
        int64_t count = shape_count(n->shape);
        double *x = xmalloc((size_t)count * sizeof *x), *y = xmalloc((size_t)count * sizeof *y), most = 0;
        assert_true(plan_read_grad(once.plan, n, x) && plan_read_grad(more.plan, other, y));
        for (int64_t k = 0; k < count; k++) most = fmax(most, fabs(x[k]));
        if (is_indexer(n->leaf)) {
            indexers++;
            assert_true(most > 0);
            for (int64_t k = 0; k < count; k++) assert_true(fabs(4 * x[k] - y[k]) <= 1e-5 * most);
        } else {
            others++;
            check_equal(x, y, count);
        }
        free(x);
        free(y);
    }
    assert_int_equal(indexers, 3 * 5);
    assert_true(others > 10);
    tiny_free(&once);
    tiny_free(&more);
}

/* How many keys the last token of the first sequence looks at. */
static int looked_at(struct tiny *t)
{
    struct node *index = graph_result(t->graph, tiny_find(t, &op_index_topk, 0), 1);
    int64_t chosen = shape_last(index->shape);
    double *key = tiny_read(t, index);
    int n = 0;
    for (int64_t e = 0; e < chosen; e++) n += key[5 * chosen + e] >= 0;
    free(key);
    return n;
}

static void test_dense_phase(void **state)
{
    (void)state;
    struct tiny t = tiny_new(DSA("dense": 0.25), NULL, MODE_TRAIN, 2, 6),
                dense = tiny_new("{}", NULL, MODE_TRAIN, 2, 6),
                none = tiny_new(DSA("dense": 0), NULL, MODE_TRAIN, 2, 6);
    struct tiny *all[] = { &t, &dense, &none };
    for (int i = 0; i < 3; i++) tiny_start(all[i], 1);
    for (int i = 0; i < 3; i++) tiny_put(all[i]);
    static const int step[] = { 0, 24, 25, 99 };
    for (int i = 0; i < COUNT(step); i++) {
        for (int k = 0; k < 3; k++) {
            plan_begin(all[k]->plan, step[i], 100, 1);
            plan_forward(all[k]->plan, 0);
        }
        assert_int_equal(looked_at(&t), step[i] < 25 ? 6 : 3);
        assert_true(fabs(tiny_loss(&t, "lm") - tiny_loss(step[i] < 25 ? &dense : &none, "lm")) < 1e-5);
    }
    assert_int_equal(shape_last(tiny_find(&t, &op_index_topk, 0)->shape), 6);
    assert_int_equal(shape_last(tiny_find(&none, &op_index_topk, 0)->shape), 3);
    for (int i = 0; i < 3; i++) tiny_free(all[i]);
}

/* The scores of the first layer by their definition: LayerNorm on keys, positions on both, the largest first. */
static void test_indexer(void **state)
{
    (void)state;
    enum { S = 6, D = 8, J = 2, N = 4 };
    struct tiny t = tiny_new(DSA("dense": 0), NULL, MODE_EVAL, 1, S);
    tiny_start(&t, 1);
    for (int n = 0; n < N; n++) {
        tiny_weight(&t, "layers.0.attention.index.k_norm.gain")[n] = (real)(1 + 0.2 * n);
        tiny_weight(&t, "layers.0.attention.index.k_norm.bias")[n] = (real)(0.3 - 0.2 * n);
    }
    tiny_forward(&t);
    double *u = tiny_read(&t, tiny_user(&t, "layers.0.attention.q.weight")->in[0]), q[S][J][N], k[S][N], w[S][J];
    const real *wq = tiny_weight(&t, "layers.0.attention.index.q.weight"),
               *wk = tiny_weight(&t, "layers.0.attention.index.k.weight"),
               *ww = tiny_weight(&t, "layers.0.attention.index.w.weight"),
               *gain = tiny_weight(&t, "layers.0.attention.index.k_norm.gain"),
               *bias = tiny_weight(&t, "layers.0.attention.index.k_norm.bias");
    for (int s = 0; s < S; s++) {
        double mean = 0, square = 0;
        for (int n = 0; n < N; n++) {
            k[s][n] = 0;
            for (int d = 0; d < D; d++) k[s][n] += u[s * D + d] * wk[n * D + d];
            mean += k[s][n] / N;
        }
        for (int n = 0; n < N; n++) square += (k[s][n] - mean) * (k[s][n] - mean) / N;
        for (int n = 0; n < N; n++) k[s][n] = (k[s][n] - mean) / sqrt(square + 1e-6) * gain[n] + bias[n];
        for (int j = 0; j < J; j++) {
            w[s][j] = 0;
            for (int d = 0; d < D; d++) w[s][j] += u[s * D + d] * ww[j * D + d] / sqrt(J * N);
            for (int n = 0; n < N; n++) {
                q[s][j][n] = 0;
                for (int d = 0; d < D; d++) q[s][j][n] += u[s * D + d] * wq[(j * N + n) * D + d];
            }
        }
        for (int r = 0; r < J + 1; r++) {                   /* pairs (i, i + N/2) */
            double *x = r < J ? q[s][r] : k[s];
            for (int i = 0; i < N / 2; i++) {
                double angle = s * pow(10000, -2.0 * i / N), a = x[i], b = x[i + N / 2];
                x[i] = a * cos(angle) - b * sin(angle);
                x[i + N / 2] = b * cos(angle) + a * sin(angle);
            }
        }
    }
    struct node *index = graph_result(t.graph, tiny_find(&t, &op_index_topk, 0), 1);
    double *key = tiny_read(&t, index), last = INFINITY;
    int chosen = (int)shape_last(index->shape);
    for (int e = 0; e < chosen; e++) {
        double best = -INFINITY;
        int at = -1;
        for (int s = 0; s < S; s++) {
            double score = 0;
            for (int j = 0; j < J; j++) {
                double z = 0;
                for (int n = 0; n < N; n++) z += q[S - 1][j][n] * k[s][n];
                score += w[S - 1][j] * fmax(z, 0);
            }
            if (score < last && score > best) best = score, at = s;
        }
        assert_int_equal((int)key[(S - 1) * chosen + e], at);
        last = best;
    }
    free(u);
    free(key);
    tiny_free(&t);
}

/* What the chosen keys hold of the softmax over all of them: everything where they are all. */
static void test_share_of_mass(void **state)
{
    (void)state;
    static const char *const sets[] = { ALL_OF_DSA, MOBA(2, 3), DSA("dense": 0), MOBA(2, 2) };
    for (int i = 0; i < COUNT(sets); i++) {
        struct tiny t = tiny_new(sets[i], NULL, MODE_EVAL, 2, 6);
        double held;
        tiny_start(&t, 1);
        tiny_forward(&t);
        tiny_metric(&t, "layer_keys_mass", 1, &held);
        if (i < 2) assert_true(fabs(held - 1) < 1e-6);
        else assert_true(held > 0.3 && held < 0.999);
        tiny_free(&t);
    }
    /* tokens of layer 0 by hand: rows of the whole softmax, of which three are chosen */
    struct tiny t = tiny_new(DSA("dense": 0), NULL, MODE_EVAL, 1, 6);
    double sum = 0, held;
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *some = tiny_find(&t, &op_attention, 0), *whole = tiny_find(&t, &op_attention, some->id + 1),
                *q = some->in[0], *k = some->in[1];
    assert_int_equal(shape_last(whole->in[7]->shape), 6);
    double *qs = tiny_read(&t, q), *ks = tiny_read(&t, k), *key = tiny_read(&t, some->in[7]);
    for (int i = 0; i < 6; i++) {
        double all = 0, chosen = 0;
        for (int h = 0; h < 2; h++) {
            double z[6], total = 0;
            for (int s = 0; s <= i; s++) {
                z[s] = 0;
                for (int d = 0; d < 4; d++) z[s] += qs[(i * 2 + h) * 4 + d] * ks[s * 4 + d] / 2;
                total += exp(z[s]);
            }
            for (int e = 0; e < 3; e++)
                if (key[i * 3 + e] >= 0) chosen += exp(z[(int)key[i * 3 + e]]) / total;
            all += 1;
        }
        sum += chosen / all;
    }
    tiny_metric(&t, "layer_keys_mass", 0, &held);
    assert_true(fabs(held - sum / 6) < 1e-5);
    free(qs);
    free(ks);
    free(key);
    tiny_free(&t);
}

/* Layers that look where another chose have no indexer and no loss; what they look at is the same. */
static void test_shared_choice(void **state)
{
    (void)state;
    struct tiny t = tiny_new(DSA("share": 2, "dense": 0.5), NULL, MODE_TRAIN, 2, 6);
    int choices = 0, losses = 0;
    struct node *index[3] = { NULL };
    for (int i = 0, at = 0; i < t.graph->n; i++) {
        const struct node *n = t.graph->node[i];
        choices += n->op == &op_index_topk;
        if (n->op == &op_attention) index[at++] = n->in[7];
    }
    for (int i = 0; i < t.graph->n_losses; i++) losses += strcmp(t.graph->loss[i].name, "index") == 0;
    assert_int_equal(choices, 2);
    assert_int_equal(losses, 2);
    assert_true(index[0] == index[1] && index[1] != index[2]);
    assert_null(leaves_find(t.leaves, "layers.1.attention.index.q.weight"));
    tiny_free(&t);
    tiny_refused(TEXT({"attention": {"layers": [{"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4},
                       {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4,
                        "keys": {"module": "dsa", "dim": 4, "share": 2}},
                       {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4}]}}),
                 "layer 1 looks where layer 0 chose, which has no indexer");
}

/* D (J N + N + J) and a LayerNorm of 2 N values; N more values of a token in the cache, of each layer that chooses. */
static void test_counts(void **state)
{
    (void)state;
    static const struct { const char *sets; int choosers; } kind[] = { { DSA("dense": 0), 3 }, { DSA("share": 3), 1 } };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_DECODE, 2, 6);
        int64_t count = 0;
        for (int k = 0; k < t.leaves->n; k++)
            if (t.leaves->leaf[k]->kind == LEAF_WEIGHT && is_indexer(t.leaves->leaf[k]))
                count += shape_count(t.leaves->leaf[k]->decl.shape);
        assert_int_equal(count, kind[i].choosers * (8 * (2 * 4 + 4 + 2) + 2 * 4));
        struct cache_bytes bytes = model_cache_bytes(t.leaves, 2, 6, 2);
        assert_int_equal(bytes.per_token, 2 * (3 * 2 * 4 + kind[i].choosers * 4));
        assert_int_equal(bytes.fixed, 0);
        tiny_free(&t);
    }
    struct tiny t = tiny_new(MOBA(2, 2), NULL, MODE_DECODE, 2, 6);
    assert_int_equal(model_cache_bytes(t.leaves, 2, 6, 2).per_token, 2 * 3 * 2 * 4);
    tiny_free(&t);
}

static double flops_of(const struct node *n)
{
    struct cost c = { 0 };
    n->op->cost(n, &c);
    return c.flops;
}

/* Pairs of S = 6 with the convention that a query sees half of itself: of three keys 3 - 3 2 / 12, of all 3. */
static void test_flops(void **state)
{
    (void)state;
    struct tiny t = tiny_new(DSA("dense": 0), NULL, MODE_TRAIN, 2, 6);
    assert_true(flops_of(tiny_find(&t, &op_attention, 0)) == 12 * 2 * 4 * 4 * 2.5);
    assert_true(flops_of(tiny_find(&t, &op_index_topk, 0)) == 12 * 2 * 4 * 2 * 3.0);
    tiny_free(&t);
    t = tiny_new(MOBA(2, 2), NULL, MODE_TRAIN, 2, 6);       /* blocks 0, 1, 2: 1 of their own, and 0, 2, 2 */
    assert_true(fabs(flops_of(tiny_find(&t, &op_attention, 0)) - 12 * 2 * 4 * 4 * (1 + 4 / 3.0)) < 1e-9);
    assert_true(flops_of(tiny_find(&t, &op_block_topk, 0)) == 12 * 2 * 4 * 2 * 1.5);
    tiny_free(&t);
}

/* A token at a time, in heads that share keys, with sinks, windows and layers that share a choice. */
static void test_decoding(void **state)
{
    (void)state;
    static const char *const sets[] = {
        DSA("dense": 0.5), DSA("share": 2, "relu": false), MOBA(2, 2), MOBA(3, 1),
        TEXT({"attention": {"module": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 4, "sink": "head",
                            "mask": {"module": "window", "size": 4},
                            "keys": {"module": "dsa", "top_k": 2, "heads": 3, "dim": 6}}}),
        TEXT({"attention": {"module": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 4, "softcap": 2, "sink": "token",
                            "mask": {"module": "window", "size": 5},
                            "keys": {"module": "moba", "size": 2, "blocks": 2}}}),
    };
    for (int i = 0; i < COUNT(sets); i++) {
        struct tiny whole = decoder(sets[i]);
        decoded_alike(&whole, sets[i]);
        tiny_free(&whole);
    }
}

static void test_rules(void **state)
{
    (void)state;
    tiny_refused(TEXT({"attention.keys": {"module": "dsa", "dim": 5}, "position": "none"}), "dim = 5: must be even");
    tiny_refused(TEXT({"attention.keys": {"module": "dsa", "dim": 6}, "position.fraction": 0.5}),
                 "0.5 of a head of 6 is 3 dimensions");
    tiny_refused(TEXT({"attention.keys": {"module": "dsa", "heads": 64, "dim": 512}}), "more than 8192 values");
    tiny_refused(TEXT({"attention.keys": {"module": "dsa"}, "seq": 5000}), "names at most 4096 keys");
    tiny_refused(TEXT({"attention.keys": {"module": "moba", "size": 2048, "blocks": 3}}), "names at most 4096");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(all_keys_are_dense), RUN(one_block_is_a_chunk), RUN(all_is_nothing), RUN(who_learns), RUN(dense_phase),
        RUN(indexer), RUN(share_of_mass), RUN(shared_choice), RUN(counts), RUN(flops), RUN(decoding), RUN(rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
