/* Who chooses whom: limits to groups, and what holds of every module that chooses. */
#include "tiny_pair.h"
#include "graph/ops/elementwise.h"
#include "graph/ops/products.h"
#include "graph/ops/routing.h"

/* A model of one token whose sigmoid scores are s: router rows along the token's own vector. */
static struct tiny token_with(const char *sets, const double *s, int experts)
{
    struct tiny t = tiny_new(sets, NULL, MODE_DECODE, 1, 1);
    tiny_start(&t, 1);
    tiny_forward(&t);
    double *u = tiny_read(&t, tiny_user(&t, "layers.0.ffn.router.weight")->in[0]), square = 0;
    real *w = tiny_weight(&t, "layers.0.ffn.router.weight");
    for (int i = 0; i < 8; i++) square += u[i] * u[i];
    for (int e = 0; e < experts; e++)
        for (int i = 0; i < 8; i++) w[8 * e + i] = (real)(log(s[e] / (1 - s[e])) * u[i] / square);
    tiny_forward(&t);
    free(u);
    return t;
}

/* What the first layer chose, [T,K], and its gates. Malloc'd. */
static double *choice_of(struct tiny *t) { return tiny_read(t, tiny_find(t, &op_dispatch, 0)->in[0]); }
static double *gates_of(struct tiny *t) { return tiny_read(t, tiny_find(t, &op_combine, 0)->in[3]); }

#define GROUPS(groups, limit, rule) \
    TEXT({"layers": 1, "ffn.experts": 8, "ffn.router": {"score": "sigmoid", "normalize": "after", "top_k": 3, \
          "select": {"module": "top_k", "groups": groups, "limit": limit, "rule": rule}}})

/* The two scores of a group pick different groups. */
static void test_scores_of_groups(void **state)
{
    (void)state;
    static const double s[] = { .90, .10, .60, .55, .58, .62, .20, .30 };
    static const struct { const char *sets; double index[3], gate[3]; } kind[] = {
        { GROUPS(4, 2, "max"), { 0, 5, 4 }, { .428571, .295238, .276190 } },
        { GROUPS(4, 2, "sum"), { 5, 2, 4 }, { .344444, .333333, .322222 } },
        { GROUPS(4, 4, "max"), { 0, 5, 2 }, { .424528, .292453, .283019 } },
        { GROUPS(1, 1, "sum"), { 0, 5, 2 }, { .424528, .292453, .283019 } },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = token_with(kind[i].sets, s, 8);
        double *index = choice_of(&t), *gate = gates_of(&t);
        check_equal(index, kind[i].index, 3);
        check_near(gate, kind[i].gate, 3, 1e-5);
        free(index);
        free(gate);
        tiny_free(&t);
    }
}

/* A token that may go to every group is not limited, to the bit. */
static void test_every_group(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.router.select": {"module": "top_k", "groups": 2, "limit": 2}}), "{}");
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* No token goes to more groups than the limit, and the metric says to how many. */
static void test_groups_visited(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"ffn.experts": 8, "ffn.router": {"top_k": 4, "select": {"module": "top_k", "groups": 4, "limit": 2}}}),
        TEXT({"ffn.experts": 8, "ffn.router": {"top_k": 4, "select": {"module": "top_k", "groups": 4, "limit": 3,
                                                                      "rule": "sum"}}}),
        TEXT({"ffn.experts": 8, "ffn.router": {"top_k": 4, "select": {"module": "top_k", "groups": 4, "limit": 4}}}),
    };
    for (int limit = 2; limit <= 4; limit++) {
        struct tiny t = tiny_new(sets[limit - 2], NULL, MODE_TRAIN, 4, 6);
        double said, sum = 0;
        tiny_start(&t, 1);
        tiny_forward(&t);
        double *index = choice_of(&t);
        for (int i = 0; i < t.tokens; i++) {
            bool in[4] = { false };
            int visited = 0;
            for (int j = 0; j < 4; j++) in[(int)index[4 * i + j] / 2] = true;
            for (int group = 0; group < 4; group++) visited += in[group];
            assert_true(visited <= limit);
            sum += visited;
        }
        tiny_metric(&t, "router_token_groups", 0, &said);
        assert_float_equal(said, sum / t.tokens, 1e-6);
        free(index);
        tiny_free(&t);
    }
}

/* GShard: of 2 000 tokens in training, the share whose second choice is taken at min(1, 2 gate); first ones always are,
   evaluation takes all, and gates stay what they were. */
static void test_random_second_choice(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "seq": 50, "ffn.router": {"normalize": "after",
                                          "revise": {"module": "chance", "factor": 1.2}}});
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 40, 50), all = tiny_new(sets, NULL, MODE_EVAL, 40, 50);
    tiny_start(&t, 1);
    tiny_start(&all, 1);
    tiny_forward(&t);
    tiny_forward(&all);
    double *index = choice_of(&t), *gate = gates_of(&t), *whole = choice_of(&all), *same = gates_of(&all),
           expected = 0, taken = 0, variance = 0, said;
    for (int i = 0; i < t.tokens; i++) {
        double p = fmin(1, 1.2 * gate[2 * i + 1]);
        assert_true(index[2 * i] == whole[2 * i] && whole[2 * i + 1] >= 0);
        assert_true(index[2 * i + 1] == whole[2 * i + 1] || index[2 * i + 1] == -1);
        expected += p;
        variance += p * (1 - p);
        taken += index[2 * i + 1] >= 0;
    }
    check_equal(gate, same, 2 * t.tokens);
    assert_true(variance > 100 && fabs(taken - expected) < 4 * sqrt(variance));
    tiny_metric(&t, "router_token_experts", 0, &said);
    assert_float_equal(said, 1 + taken / t.tokens, 1e-6);
    free(index);
    free(gate);
    free(whole);
    free(same);
    tiny_free(&t);
    tiny_free(&all);
}

/* As many as hold p together; never none, never more than top_k. */
static void test_top_p(void **state)
{
    (void)state;
    static const double p[] = { .643914, .236883, .087144, .032059 };
    static const struct { const char *sets; int m; } kind[] = {
        { TEXT({"layers": 1, "ffn.router": {"top_k": 4, "select": {"module": "top_p", "p": 0.5}}}), 1 },
        { TEXT({"layers": 1, "ffn.router": {"top_k": 4, "select": {"module": "top_p", "p": 0.7}}}), 2 },
        { TEXT({"layers": 1, "ffn.router": {"top_k": 4, "select": {"module": "top_p", "p": 0.9}}}), 3 },
        { TEXT({"layers": 1, "ffn.router": {"top_k": 4, "select": {"module": "top_p", "p": 0.99}}}), 4 },
        { TEXT({"layers": 1, "ffn.router": {"top_k": 4, "select": {"module": "top_p", "p": 1}}}), 4 },
        { TEXT({"layers": 1, "ffn.router": {"top_k": 4, "select": {"module": "top_p", "p": 0.001}}}), 1 },
        { TEXT({"layers": 1, "ffn.router": {"top_k": 2, "select": {"module": "top_p", "p": 0.99}}}), 2 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        double s[4];
        for (int e = 0; e < 4; e++) s[e] = 1 / (1 + exp(e - 2));      /* logits 2, 1, 0, -1 */
        struct tiny t = token_with(kind[i].sets, s, 4);
        double *index = choice_of(&t), *gate = gates_of(&t);
        int k = (int)tiny_find(&t, &op_dispatch, 0)->in[0]->shape.dim[1];
        for (int j = 0; j < k; j++) {
            assert_true(index[j] == (j < kind[i].m ? j : -1));
            if (j < kind[i].m) assert_float_equal(gate[j], p[j], 1e-5);
        }
        free(index);
        free(gate);
        tiny_free(&t);
    }
}

/* The metric says how many experts a token has in the mean, and p = 1 is top-k to the bit. */
static void test_number_of_experts(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router": {"top_k": 4, "select": {"module": "top_p", "p": 0.6}}}), NULL,
                             MODE_TRAIN, 4, 6);
    double said, sum = 0;
    tiny_start(&t, 1);
    tiny_forward(&t);
    double *index = choice_of(&t);
    for (int i = 0; i < 4 * t.tokens; i++) sum += index[i] >= 0;
    tiny_metric(&t, "router_token_experts", 0, &said);
    assert_true(said > 1.1 && said < 3.9);
    assert_float_equal(said, sum / t.tokens, 1e-6);
    free(index);
    tiny_free(&t);
    struct pair p = pair_new(TEXT({"ffn.router": {"top_k": 3, "select": {"module": "top_p", "p": 1}}}),
                             TEXT({"ffn.router.top_k": 3}));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* ---- idle experts ---- */

/* What they give, token by token, against the formula; zeros give nothing, and no row is computed for any. */
static void test_idle_experts(void **state)
{
    (void)state;
    enum { D = 8, REAL_ONES = 4, COPY = 4, CONSTANT = 5, ZERO = 7, ALL = 8, K = 5 };
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.copy": 1, "ffn.constant": 2, "ffn.zero": 1,
                                   "ffn.router.top_k": 5}), NULL, MODE_TRAIN, 4, 6);
    double counts[ALL], said;
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *router = tiny_user(&t, "layers.0.ffn.router.weight"),
                *combined = tiny_find(&t, &op_combine, router->id),
                *sum = tiny_find(&t, &op_add, combined->id);
    while (sum->in[0] != combined) sum = tiny_find(&t, &op_add, sum->id + 1);
    double *u = tiny_read(&t, router->in[0]), *given = tiny_read(&t, sum->in[1]), *index = choice_of(&t),
           *gate = gates_of(&t), *offsets = tiny_read(&t, tiny_find(&t, &op_dispatch, 0));
    const real *share = tiny_weight(&t, "layers.0.ffn.constants.share.weight"),
               *vector = tiny_weight(&t, "layers.0.ffn.constants.weight");
    int computed = 0, seen[ALL] = { 0 };
    for (int i = 0; i < t.tokens; i++) {
        double want[D] = { 0 };
        for (int j = 0; j < K; j++) {
            int e = (int)index[K * i + j];
            double a = 0;
            seen[e]++;
            computed += e < REAL_ONES;
            if (e >= CONSTANT && e < ZERO) {
                for (int d = 0; d < D; d++) a -= (double)share[D * (e - CONSTANT) + d] * u[D * i + d];
                a = 1 / (1 + exp(a));
            }
            for (int d = 0; d < D && e >= COPY && e < ZERO; d++)
                want[d] += gate[K * i + j] * ((1 - a) * u[D * i + d] +
                                              a * (e >= CONSTANT ? (double)vector[2 * d + e - CONSTANT] : 0));
        }
        check_near(given + D * i, want, D, 1e-5);
    }
    for (int e = 0; e < ALL; e++) assert_true(seen[e] > 0);
    assert_true(offsets[REAL_ONES] == computed);
    tiny_metric(&t, "expert_tokens", 0, counts);
    for (int e = 0; e < ALL; e++) assert_true(counts[e] == seen[e]);
    tiny_metric(&t, "router_token_experts", 0, &said);
    assert_float_equal(said, (double)computed / t.tokens, 1e-6);
    free(u);
    free(given);
    free(index);
    free(gate);
    free(offsets);
    tiny_free(&t);
}

/* Tokens that all go to copies have their gates times themselves, and no expert computes a row. */
static void test_all_to_copies(void **state)
{
    (void)state;
    enum { D = 8 };
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.copy": 2, "ffn.router.score": "sigmoid", "ffn.balance": ["bias"]}),
                             NULL, MODE_EVAL, 2, 6);
    double said;
    tiny_start(&t, 1);
    for (int e = 4; e < 6; e++) tiny_weight(&t, "layers.0.ffn.router.bias")[e] = 10;
    tiny_forward(&t);
    struct node *router = tiny_user(&t, "layers.0.ffn.router.weight"),
                *combined = tiny_find(&t, &op_combine, router->id),
                *sum = tiny_find(&t, &op_add, combined->id);
    double *u = tiny_read(&t, router->in[0]), *y = tiny_read(&t, sum), *gate = gates_of(&t);
    for (int i = 0; i < t.tokens; i++)
        for (int d = 0; d < D; d++)
            assert_float_equal(y[D * i + d], (gate[2 * i] + gate[2 * i + 1]) * u[D * i + d], 1e-5);
    tiny_metric(&t, "router_token_experts", 0, &said);
    assert_true(said == 0);
    free(u);
    free(y);
    free(gate);
    tiny_free(&t);
}

/* Zeros are all alike: which of them a token prefers changes nothing. */
static void test_zeros_are_alike(void **state)
{
    (void)state;
    struct tiny t = decoder(TEXT({"ffn.zero": 3, "ffn.router": {"top_k": 3, "normalize": "after"}}));
    double *before = logits_of(&t);
    for (int layer = 0; layer < 3; layer++) {
        char path[64];
        real row[8];
        snprintf(path, sizeof path, "layers.%d.ffn.router.weight", layer);
        real *w = tiny_weight(&t, path);
        memcpy(row, w + 4 * 8, sizeof row);
        memmove(w + 4 * 8, w + 5 * 8, 2 * sizeof row);
        memcpy(w + 6 * 8, row, sizeof row);
    }
    double *after = logits_of(&t);
    check_near(before, after, logits_count(&t), 1e-6);
    free(before);
    free(after);
    tiny_free(&t);
}

/* ---- forced choices ---- */

static void counts_of(const char *sets, int batch, int seq, double counts[4])
{
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, batch, seq);
    tiny_start(&t, 1);
    tiny_forward(&t);
    tiny_metric(&t, "expert_tokens", 0, counts);
    tiny_free(&t);
}

#define FORCED(k, ...) \
    TEXT({"layers": 1, "seq": 50, "ffn.router": {"top_k": k, "select": {"module": "forced", __VA_ARGS__}}})

/* Turns leave nobody with more; random shares are even but for chance, or Zipf's where they are skewed. */
static void test_forced_loads(void **state)
{
    (void)state;
    double counts[4], sum = 0;
    counts_of(FORCED(2, "pattern": "uniform"), 3, 50, counts);
    for (int e = 0; e < 4; e++) assert_true(counts[e] == 3 * 50 * 2 / 4);
    counts_of(FORCED(1, "pattern": "constant"), 3, 50, counts);
    assert_true(counts[0] == 3 * 50);
    for (int skew = 0; skew < 2; skew++) {
        counts_of(skew ? FORCED(1, "skew": 1) : FORCED(1, "skew": 0), 40, 50, counts);
        sum = skew ? 1 + 1 / 2.0 + 1 / 3.0 + 1 / 4.0 : 4;
        for (int e = 0; e < 4; e++) {
            double p = (skew ? 1 / (e + 1.0) : 1) / sum;
            if (fabs(counts[e] - 2000 * p) > 4 * sqrt(2000 * p * (1 - p)))
                fail_msg("skew %d: expert %d has %g of 2000 tokens", skew, e, counts[e]);
        }
    }
}

/* Always the same K experts with gates of 1 / K are a dense feed-forward K times as wide. */
static void test_constant_is_dense(void **state)
{
    (void)state;
    enum { D = 8, F = 6, K = 2 };
    struct pair p = pair_new(TEXT({"ffn.router": {"normalize": "after",
                                                  "select": {"module": "forced", "pattern": "constant"}}}),
                             TEXT({"ffn": {"module": "dense", "d_ff": 12}}));
    tiny_scale_all(&p.a, "router.weight", 0);
    for (int l = 0; l < 3; l++) {
        static const char *const name[] = { "gate", "up", "down" };
        for (int i = 0; i < 3; i++) {
            char from[64], to[64];
            snprintf(from, sizeof from, "layers.%d.ffn.experts.%s.weight", l, name[i]);
            snprintf(to, sizeof to, "layers.%d.ffn.%s.weight", l, name[i]);
            const real *x = tiny_weight(&p.a, from);
            real *y = tiny_weight(&p.b, to);
            if (i < 2) memcpy(y, x, K * F * D * sizeof *y);
            for (int d = 0; d < D && i == 2; d++)
                for (int f = 0; f < K * F; f++) y[d * K * F + f] = x[(f / F * D + d) * F + f % F] / K;
        }
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* ---- hash ---- */

/* Hash routing of the first layers alone: their load is that of the ids whatever the weights are, which gates of the
   learned scores follow; a table of its own gives each layer another. */
static void test_hash_first(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"ffn": {"layers": [{"module": "moe", "experts": 4, "d_ff": 6, "router": {"select": "hash"}},
                                 {"module": "moe", "experts": 4, "d_ff": 6, "router": {"select": "hash"}},
                                 {"module": "moe", "experts": 4, "d_ff": 6}]}}),
        TEXT({"ffn.router.select": {"module": "hash", "per_layer": true}}),
    };
    double load[2][2][3][4];
    for (int i = 0; i < 2; i++)
        for (int seed = 0; seed < 2; seed++) {
            struct tiny t = tiny_new(sets[i], NULL, MODE_TRAIN, 4, 6);
            tiny_start(&t, 1 + (uint64_t)seed);
            for (int k = 0; k < t.tokens; k++) t.ids[k] = k * k % 11;
            tiny_forward(&t);
            for (int l = 0; l < 3; l++) tiny_metric(&t, "expert_tokens", l, load[i][seed][l]);
            tiny_free(&t);
        }
    enum { BYTES = sizeof load[0][0][0] };
    assert_memory_equal(load[0][0][0], load[0][1][0], BYTES);
    assert_memory_equal(load[0][0][0], load[0][0][1], BYTES);
    assert_true(memcmp(load[0][0][2], load[0][1][2], BYTES) != 0);
    assert_memory_equal(load[1][0], load[1][1], 3 * BYTES);
    assert_true(memcmp(load[1][0][0], load[1][0][1], BYTES) != 0);
}

/* Equal scores make gates of 1 / K. */
static void test_hash_gates(void **state)
{
    (void)state;
    struct tiny t = decoder(TEXT({"ffn.router": {"select": "hash", "normalize": "after"}}));
    tiny_scale_all(&t, "router.weight", 0);
    tiny_forward(&t);
    double *gate = gates_of(&t);
    for (int i = 0; i < 2 * t.tokens; i++) assert_float_equal(gate[i], 0.5, 1e-7);
    free(gate);
    tiny_free(&t);
}

/* ---- what holds of every module that chooses ---- */

/* Of a module that chooses; 0: any. */
static int most_k(const struct module *m)
{
    char sets[128], why[256];
    struct tiny t = { 0 };
    snprintf(sets, sizeof sets, "{\"ffn.router\": {\"top_k\": 1, \"select\": \"%s\"}}", m->name);
    json_t *model = tiny_json(&model_schema, tiny_base, sets), *train = json_object();
    if (!tiny_load(&t, model, train, why)) fail_msg("%s: %s", m->name, why);
    int most = module_traits(t.model.ffn.pick[0]).most_k;
    arena_free(t.arena);
    json_decref(model);
    json_decref(train);
    return most;
}

/* How many experts each token has, of the usual 2. */
static int k_of(const struct module *m) { return most_k(m) == 1 ? 1 : 2; }

/* A model with a module that chooses, and more settings. */
static struct tiny chooser_in(enum mode mode, const struct module *m, const char *more)
{
    char sets[512], top_k[64] = "";
    if (!strstr(more, "top_k")) snprintf(top_k, sizeof top_k, ", \"ffn.router.top_k\": %d", k_of(m));
    snprintf(sets, sizeof sets, "{\"ffn.router.select\": \"%s\"%s%s%s}", m->name, top_k, *more ? ", " : "", more);
    struct tiny t = tiny_new(sets, NULL, mode, 2, 6);
    tiny_start(&t, 1);
    return t;
}

static struct tiny chooser(const struct module *m, const char *more) { return chooser_in(MODE_EVAL, m, more); }

#define EACH_CHOOSER(m) \
    for (const struct module *const *m = module_all; *m; m++) if ((*m)->slot == SLOT_SELECT)

/* Losses of the single tokens. Malloc'd. */
static double *losses_of(struct tiny *t)
{
    tiny_forward(t);
    return tiny_read(t, tiny_find(t, &op_cross_entropy, 0));
}

static struct traits traits_of(const struct tiny *t) { return module_traits(t->model.ffn.pick[0]); }

/* The weights of a dense feed-forward for those of each expert. */
static void be_alike(struct tiny *t, const struct tiny *dense)
{
    for (int i = 0; i < 3 * t->model.layers; i++) {
        static const char *const name[] = { "gate", "up", "down" };
        char from[64], to[64];
        snprintf(from, sizeof from, "layers.%d.ffn.%s.weight", i / 3, name[i % 3]);
        snprintf(to, sizeof to, "layers.%d.ffn.experts.%s.weight", i / 3, name[i % 3]);
        int64_t n = tiny_count(dense, from);
        for (int64_t e = 0; e < tiny_count(t, to) / n; e++)
            memcpy(tiny_weight(t, to) + e * n, tiny_weight(dense, from), (size_t)n * sizeof(real));
    }
}

/* I1: one expert with a gate of 1 is a dense feed-forward, to the bit. */
static void test_one_expert(void **state)
{
    (void)state;
    struct tiny dense = tiny_new(TEXT({"ffn": {"module": "dense", "d_ff": 6}}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&dense, 1);
    double *want = losses_of(&dense);
    EACH_CHOOSER(m) {
        struct tiny t = chooser(*m, "\"ffn.experts\": 1, \"ffn.router.top_k\": 1, \"ffn.router.normalize\": \"after\"");
        tiny_copy(&t, &dense);
        be_alike(&t, &dense);
        double *got = losses_of(&t);
        check_equal(got, want, t.tokens);
        free(got);
        tiny_free(&t);
    }
    free(want);
    tiny_free(&dense);
}

/* I2: who takes all experts takes the same mixture, whoever chose. */
static void test_all_experts(void **state)
{
    (void)state;
    struct tiny soft = tiny_new(TEXT({"ffn.router.top_k": 4}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&soft, 1);
    double *want = losses_of(&soft);
    EACH_CHOOSER(m) {
        if (most_k(*m)) continue;
        struct tiny t = chooser(*m, "\"ffn.router.top_k\": 4");
        double *got = losses_of(&t), counts[4];
        bool all = true;
        for (int l = 0; l < 3; l++) {
            tiny_metric(&t, "expert_tokens", l, counts);
            for (int e = 0; e < 4; e++) all &= counts[e] == t.tokens;
        }
        if (!all && !traits_of(&t).uneven) fail_msg("%s: four of four experts are not all", (*m)->name);
        if (all) check_near(got, want, t.tokens, 1e-6);
        free(got);
        tiny_free(&t);
    }
    free(want);
    tiny_free(&soft);
}

/* I3, I4: experts that are all alike give the sum of gates times what a dense feed-forward gives, whatever was chosen;
   normalised gates sum to 1 where there is an expert. */
static void test_equal_experts(void **state)
{
    (void)state;
    enum { D = 8 };
    struct tiny dense = tiny_new(TEXT({"layers": 1, "ffn": {"module": "dense", "d_ff": 6}}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&dense, 1);
    tiny_forward(&dense);
    double *whole = tiny_read(&dense, tiny_user(&dense, "layers.0.ffn.down.weight"));
    EACH_CHOOSER(m)
        for (int after = 0; after < k_of(*m); after++) {           /* one gate is not normalised */
            struct tiny t = chooser(*m, after ? "\"layers\": 1, \"ffn.router.normalize\": \"after\"" : "\"layers\": 1");
            tiny_copy(&t, &dense);
            be_alike(&t, &dense);
            tiny_forward(&t);
            double *index = choice_of(&t), *gate = gates_of(&t), *y = tiny_read(&t, tiny_find(&t, &op_combine, 0));
            int64_t k = tiny_find(&t, &op_combine, 0)->in[3]->shape.dim[1];
            for (int i = 0; i < t.tokens; i++) {
                double sum = 0, want[D];
                int chosen = 0;
                for (int64_t j = i * k; j < (i + 1) * k; j++)
                    if (index[j] >= 0) sum += gate[j], chosen++;
                for (int d = 0; d < D; d++) want[d] = sum * whole[D * i + d];
                check_near(y + D * i, want, D, 1e-5);
                if (after && chosen) assert_float_equal(sum, 1, 1e-6);
                if (!traits_of(&t).uneven) assert_int_equal(chosen, k_of(*m));
            }
            free(index);
            free(gate);
            free(y);
            tiny_free(&t);
        }
    free(whole);
    tiny_free(&dense);
}

/* Blocks of a stack of four, in another order. */
static void permute(struct tiny *t, const char *suffix)
{
    static const int order[4] = { 2, 0, 3, 1 };
    for (int l = 0; l < t->model.layers; l++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.ffn.%s.weight", l, suffix);
        size_t one = (size_t)tiny_count(t, path) / 4;
        real *w = tiny_weight(t, path), *old = xmalloc(4 * one * sizeof *old);
        memcpy(old, w, 4 * one * sizeof *old);
        for (int e = 0; e < 4; e++) memcpy(w + (size_t)e * one, old + (size_t)order[e] * one, one * sizeof *w);
        free(old);
    }
}

/* I7: experts have no place of their own, where scores choose. Where they do not, permuting experts alone is felt. */
static void check_order_of_experts(enum mode mode)
{
    EACH_CHOOSER(m) {
        struct tiny t = chooser_in(mode, *m, "");
        double *before = losses_of(&t);
        permute(&t, "router");
        permute(&t, "experts.gate");
        permute(&t, "experts.up");
        permute(&t, "experts.down");
        double *after = losses_of(&t);
        if (traits_of(&t).keyless) assert_true(distance(before, after, t.tokens) > 1e-4);
        else check_near(before, after, t.tokens, 1e-6);
        free(before);
        free(after);
        tiny_free(&t);
    }
}

static void test_order_of_experts(void **state)
{
    (void)state;
    check_order_of_experts(MODE_EVAL);
    check_order_of_experts(MODE_TRAIN);
}

/* I8: sequences in another order have their losses in that order. */
static void test_order_of_sequences(void **state)
{
    (void)state;
    EACH_CHOOSER(m) {
        struct tiny t = chooser(*m, "");
        double *before = losses_of(&t);
        for (int i = 0; i < 6; i++) {
            int32_t id = t.ids[i], target = t.target[i];
            t.ids[i] = t.ids[6 + i];
            t.ids[6 + i] = id;
            t.target[i] = t.target[6 + i];
            t.target[6 + i] = target;
        }
        double *after = losses_of(&t);
        check_equal(before, after + 6, 6);
        check_equal(before + 6, after, 6);
        free(before);
        free(after);
        tiny_free(&t);
    }
}

/* I9: a number that is added to all logits of a token is nothing to softmax, and something to sigmoid. */
static void check_constant_on_logits(enum mode mode)
{
    EACH_CHOOSER(m)
        for (int sigmoid = 0; sigmoid < 2; sigmoid++) {
            struct tiny t = chooser_in(mode, *m, sigmoid ? "\"ffn.router.score\": \"sigmoid\"" : "");
            double *before = losses_of(&t);
            for (int i = 0; i < 3 * 4 * 8; i++) {
                char path[64];
                snprintf(path, sizeof path, "layers.%d.ffn.router.weight", i / 32);
                tiny_weight(&t, path)[i % 32] += (real)(0.1 * (1 + i % 8));
            }
            double *after = losses_of(&t);
            if (sigmoid) assert_true(distance(before, after, t.tokens) > 1e-4);
            else check_near(before, after, t.tokens, 2e-6);
            free(before);
            free(after);
            tiny_free(&t);
        }
}

static void test_constant_on_logits(void **state)
{
    (void)state;
    check_constant_on_logits(MODE_EVAL);
    check_constant_on_logits(MODE_TRAIN);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct { const char *sets, *words; } refused[] = {
        { TEXT({"ffn.router.select": {"module": "top_k", "groups": 2, "limit": 3}}), "there are only 2 groups" },
        { TEXT({"ffn.router.select": {"module": "top_k", "groups": 3}}), "4 experts cannot be divided so" },
        { TEXT({"ffn.router.select": {"module": "top_k", "groups": 4}}),
          "1 of 4 groups have 1 experts, top_k = 2 are chosen" },
        { TEXT({"ffn.router.select": {"module": "top_k", "groups": 2}, "ffn.router.noise": "normal",
                "ffn.balance": ["load"]}), "needs a choice of the largest logits" },
        { TEXT({"ffn.router.select": "hash", "ffn.zero": 1}), "chooses without scores" },
        { TEXT({"ffn.router.select": {"module": "forced", "pattern": "uniform", "skew": 1}}), "only a random choice" },
        { TEXT({"ffn.zero": 1, "ffn.router.top_k": 6}), "the model has only 5 experts" },
    };
    for (int i = 0; i < COUNT(refused); i++) tiny_refused(refused[i].sets, refused[i].words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(scores_of_groups), RUN(every_group), RUN(groups_visited), RUN(random_second_choice), RUN(top_p),
        RUN(number_of_experts), RUN(idle_experts), RUN(all_to_copies), RUN(zeros_are_alike), RUN(forced_loads),
        RUN(constant_is_dense), RUN(hash_first), RUN(hash_gates), RUN(one_expert), RUN(all_experts),
        RUN(equal_experts), RUN(order_of_experts), RUN(order_of_sequences), RUN(constant_on_logits), RUN(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
