/* Branches: experts that a whole document goes to, by the running mean of its tokens. */
#include "tiny_pair.h"
#include "graph/ops/routing.h"

#define BRANCHES(n, k) \
    TEXT({"layers": 1, "ffn": {"module": "moe", "experts": n, "d_ff": 6, \
                               "router": {"top_k": k, "logits": "running_mean"}}})
enum { E = 3 };

/* Logits [T,E] are the mean of u W^T over the tokens of the document so far, and gates are their softmax: of all
   branches, or of the one that is taken. */
static void check_mean(const char *sets, int k)
{
    struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    for (int i = 4; i < 6; i++) t.start[i] = 4;             /* the first sequence has two documents */
    tiny_forward(&t);
    const struct node *combined = tiny_find(&t, &op_combine, 0);
    double *of_tokens = tiny_read(&t, tiny_user(&t, "layers.0.ffn.router.weight")),
           *index = tiny_read(&t, tiny_find(&t, &op_topk, 0)), *gate = tiny_read(&t, combined->in[3]);
    for (int i = 0; i < t.tokens; i++) {
        double mean[E] = { 0 }, sum = 0, most = -INFINITY;
        int from = i / t.seq * t.seq + t.start[i];
        for (int s = from; s <= i; s++) for (int e = 0; e < E; e++) mean[e] += of_tokens[s * E + e] / (i - from + 1);
        for (int e = 0; e < E; e++) sum += exp(mean[e]), most = fmax(most, mean[e]);
        for (int j = 0; j < k; j++)
            assert_float_equal(gate[i * k + j], exp(mean[(int)index[i * k + j]]) / sum, 1e-5);
        assert_float_equal(mean[(int)index[i * k]], most, 1e-6);
    }
    free(of_tokens);
    free(index);
    free(gate);
    tiny_free(&t);
}

static void test_mean(void **state)
{
    (void)state;
    check_mean(BRANCHES(3, 3), 3);
    check_mean(BRANCHES(3, 1), 1);
}

/* One branch is a dense feed-forward. */
static void test_one_branch(void **state)
{
    (void)state;
    struct pair p = pair_new(BRANCHES(1, 1), TEXT({"layers": 1, "ffn": {"module": "dense", "d_ff": 6}}));
    static const char *const name[] = { "gate", "up", "down" };
    tiny_copy(&p.a, &p.b);
    for (int i = 0; i < 3; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "layers.0.ffn.%s.weight", name[i]);
        snprintf(to, sizeof to, "layers.0.ffn.experts.%s.weight", name[i]);
        memcpy(tiny_weight(&p.a, to), tiny_weight(&p.b, from), (size_t)tiny_count(&p.b, from) * sizeof(real));
    }
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* A sequence of one token again and again keeps to its branch whatever a late token says, where a router of single
   tokens does not. */
static void test_late_token(void **state)
{
    (void)state;
    static const char *const sets[] = { BRANCHES(3, 1), TEXT({"layers": 1, "ffn.experts": 3, "ffn.router.top_k": 1}) };
    int moved[2] = { 0, 0 };
    for (int i = 0; i < 2; i++) {
        struct tiny t = tiny_new(sets[i], NULL, MODE_EVAL, 1, 6);
        tiny_start(&t, 1);
        for (int last = 1; last < t.model.vocab; last++) {
            for (int s = 0; s < 6; s++) t.ids[s] = s < 5 ? 0 : last;
            tiny_forward(&t);
            double *index = tiny_read(&t, tiny_find(&t, &op_topk, 0));
            moved[i] += index[5] != index[0];
            free(index);
        }
        tiny_free(&t);
    }
    assert_true(moved[0] < moved[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(mean), RUN(one_branch), RUN(late_token) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
