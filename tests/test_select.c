/* Who chooses whom: limits to groups, and what holds of every module that chooses. */
#include "tiny_pair.h"

/* A model of one token whose scores are s: router rows along the token's own vector. Sigmoid scores, which may be any. */
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
                                          "select": {"module": "top_k", "chance": 1.2}}});
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 40, 50), all = tiny_new(sets, NULL, MODE_EVAL, 40, 50);
    tiny_start(&t, 1);
    tiny_start(&all, 1);
    tiny_forward(&t);
    tiny_forward(&all);
    double *index = choice_of(&t), *gate = gates_of(&t), *whole = choice_of(&all), *same = gates_of(&all),
           expected = 0, taken = 0, variance = 0;
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
    };
    for (int i = 0; i < COUNT(refused); i++) tiny_refused(refused[i].sets, refused[i].words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(scores_of_groups), RUN(every_group), RUN(groups_visited), RUN(random_second_choice), RUN(top_p),
        RUN(number_of_experts),
        RUN(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
