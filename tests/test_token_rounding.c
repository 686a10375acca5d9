/* Tokens of experts in whole tiles: counts, who is left out and who is added, and that nothing but training knows. */
#include "tiny_pair.h"
#include "run_graph.h"

enum { TOKENS = 12, EXPERTS = 4, K = 2 };
static const char *const how[] = { "down", "up", "nearest" };

static int rounded(int count, int tile, int i)
{
    int below = count / tile * tile, over = count - below;
    bool half = 2 * over == tile, odd = below / tile % 2 == 1, up = 2 * over > tile || (half && odd);
    return below + ((i == ROUND_NEAREST && up) || (i == ROUND_UP && over) ? tile : 0);
}

static void check_counts(struct run *r, const struct node *n, const int want[6])
{
    for (int e = 0; e < 6; e++) assert_true(run_reals(r, n)[e] == want[e]);
}

/* Published: of counts 5, 3, 6, 2 in tiles of 4. */
static void test_counts(void **state)
{
    (void)state;
    static const int count[] = { 5, 3, 6, 2, 0, 100000 },
                     want[3][6] = { { 4, 0, 4, 0, 0, 100000 }, { 8, 4, 8, 4, 0, 100000 }, { 4, 4, 8, 0, 0, 100000 } };
    struct run r = run_new();
    struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(6)), *y[3], *z[3];
    for (int i = 0; i < 3; i++) {
        y[i] = round_counts(r.graph, x, 4, (enum rounding)i);
        z[i] = round_counts(r.graph, x, 7, (enum rounding)i);
    }
    run_start(&r, 1);
    for (int e = 0; e < 6; e++) run_reals(&r, x)[e] = (real)count[e];
    run_forward(&r);
    for (int i = 0; i < 3; i++) {
        int sevens[6];
        for (int e = 0; e < 6; e++) {
            sevens[e] = rounded(count[e], 7, i);
            assert_int_equal(rounded(count[e], 4, i), want[i][e]);
        }
        check_counts(&r, y[i], want[i]);
        check_counts(&r, z[i], sevens);
    }
    run_free(&r);
}

/* Room for each expert its own, none for some. */
static void test_rooms(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *index = graph_input(r.graph, "index", DTYPE_I32, SHAPE(4, 2)),
                *gate = graph_input(r.graph, "gate", DTYPE_REAL, SHAPE(4, 2)),
                *room = graph_input(r.graph, "room", DTYPE_REAL, SHAPE(3)),
                *by_gate = drop_over_capacity(r.graph, index, gate, room, 3, 1, 4, PRIORITY_GATE),
                *by_token = drop_over_capacity(r.graph, index, NULL, room, 3, 1, 4, PRIORITY_TOKEN);
    check_message(r.graph, drop_over_capacity(r.graph, index, gate, graph_input(r.graph, "two", DTYPE_REAL, SHAPE(2)),
                                              3, 1, 4, PRIORITY_GATE), "'room' has 2 values");
    run_start(&r, 1);
    for (int i = 0; i < 8; i++) {
        static const int expert[] = { 0, 1, 0, 2, 1, 0, 2, 1 };
        run_ints(&r, index)[i] = expert[i];
        run_reals(&r, gate)[i] = (real)(i + 1);
    }
    for (int e = 0; e < 3; e++) run_reals(&r, room)[e] = (real)(e == 0 ? 0 : e == 1 ? 2 : 9);
    run_forward(&r);
    static const int want[2][8] = { { -1, -1, -1, 2, 1, -1, 2, 1 }, { -1, 1, -1, 2, 1, -1, 2, -1 } };
    for (int i = 0; i < 8; i++) {
        assert_int_equal(run_ints(&r, by_gate)[i], want[0][i]);
        assert_int_equal(run_ints(&r, by_token)[i], want[1][i]);
    }
    run_free(&r);
}

/* What a model of one layer chose, and what became of it. */
struct seen { double *chosen, *index, *gate, *score, *count, *want; int width; };

static struct seen see(struct tiny *t)
{
    struct node *sum = tiny_find(t, &op_combine, 0), *index = tiny_find(t, &op_dispatch, 0)->in[0],
                *want = tiny_find(t, &op_round_counts, 0);
    tiny_forward(t);
    return (struct seen){ tiny_read(t, tiny_find(t, &op_topk, 0)), tiny_read(t, index), tiny_read(t, sum->in[3]),
                          tiny_read(t, tiny_find(t, &op_sigmoid, 0)), tiny_read(t, want->in[0]), tiny_read(t, want),
                          (int)shape_last(index->shape) };
}

static void seen_free(struct seen *s)
{
    free(s->chosen);
    free(s->index);
    free(s->gate);
    free(s->score);
    free(s->count);
    free(s->want);
}

/* Whether a token chose an expert; whether it goes there, and with which gate. */
static bool chose(const struct seen *s, int t, int e)
{
    return s->chosen[K * t] == e || s->chosen[K * t + 1] == e;
}

static bool goes(const struct seen *s, int t, int e, double *gate)
{
    int times = 0;
    for (int j = 0; j < s->width; j++) {
        if (s->index[s->width * t + j] != e) continue;
        *gate = s->gate[s->width * t + j];
        times++;
    }
    assert_true(times <= 1);
    return times == 1;
}

/* Gate of a token that chose the expert: its score over the sum of the token's own two. */
static double own_gate(const struct seen *s, int t, int e)
{
    double sum = 0;
    for (int j = 0; j < K; j++) sum += s->score[EXPERTS * t + (int)s->chosen[K * t + j]];
    return s->score[EXPERTS * t + e] / sum;
}

/* Nobody who stays out is before someone who is in: first who chose the expert, by gates, then others by scores. */
static void check_expert(const struct seen *s, int e, int tile, int kind)
{
    int count = 0, in = 0;
    double gate = 0;
    for (int t = 0; t < TOKENS; t++) {
        bool own = chose(s, t, e);
        count += own;
        if (!goes(s, t, e, &gate)) continue;
        in++;
        assert_float_equal(gate, own ? own_gate(s, t, e) : s->score[EXPERTS * t + e], 1e-6);
        for (int other = 0; other < TOKENS; other++) {
            double none;
            if (goes(s, other, e, &none)) continue;
            if (chose(s, other, e)) assert_true(own && gate >= own_gate(s, other, e));
            else if (!own) assert_true(gate >= s->score[EXPERTS * other + e]);
        }
    }
    int want = rounded(count, tile, kind);
    assert_true(s->count[e] == count && s->want[e] == want);
    assert_int_equal(in, want < TOKENS ? want : TOKENS);
}

static void test_who(void **state)
{
    (void)state;
    static const int tile[] = { 2, 3, 4, 5, 7, 64 };
    int moved = 0;
    for (int kind = 0; kind < 3; kind++)
        for (int i = 0; i < COUNT(tile); i++) {
            char sets[300];
            snprintf(sets, sizeof sets, "{\"layers\": 1, \"ffn.router\": {\"score\": \"sigmoid\", \"normalize\": "
                     "\"after\", \"revise\": {\"module\": \"tiles\", \"round\": \"%s\", \"tile\": %d}}}", how[kind],
                     tile[i]);
            struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
            tiny_start(&t, 1 + (uint64_t)i);
            struct seen s = see(&t);
            double tokens[EXPERTS];
            tiny_metric(&t, "expert_tokens", 0, tokens);
            for (int e = 0; e < EXPERTS; e++) {
                check_expert(&s, e, tile[i], kind);
                assert_true(tokens[e] == fmin(s.want[e], TOKENS));
                moved += s.want[e] != s.count[e];
            }
            int64_t rows = graph_result(t.graph, tiny_find(&t, &op_dispatch, 0), 1)->shape.dim[0];
            assert_true(rows <= TOKENS * K + (kind == ROUND_DOWN ? 0 : EXPERTS * (tile[i] - 1)));
            seen_free(&s);
            tiny_free(&t);
        }
    assert_true(moved > 20);
}

/* Balance counts what tokens chose, before any was left out by chance or for tiles, or added. */
static void test_counted_choices(void **state)
{
    (void)state;
    static const char *const revise[] = { TEXT({"module": "chance", "factor": 0.5}),
        TEXT({"module": "tiles", "tile": 5, "round": "down"}), TEXT({"module": "tiles", "tile": 5, "round": "up"}),
        TEXT({"module": "tiles", "tile": 5}) };
    for (int i = 0; i < COUNT(revise); i++) {
        char sets[256];
        snprintf(sets, sizeof sets, "{\"layers\": 1, \"ffn.balance\": [\"bias\", \"importance\"], \"ffn.router\": "
                 "{\"score\": \"sigmoid\", \"revise\": %s}}", revise[i]);
        struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        tiny_forward(&t);
        struct node *counted = tiny_find(&t, &op_count_chosen, 0);      /* with tiles the first is what they go by */
        if (i > 0) counted = tiny_find(&t, &op_count_chosen, counted->id + 1);
        double *chosen = tiny_read(&t, counted), tokens[EXPERTS], importance[EXPERTS],
               all = 0, changed = 0, sum = 0, *score = tiny_read(&t, tiny_find(&t, &op_sigmoid, 0)),
               *index = tiny_read(&t, tiny_find(&t, &op_topk, 0));
        tiny_metric(&t, "expert_tokens", 0, tokens);
        tiny_metric(&t, "expert_importance", 0, importance);
        for (int e = 0; e < EXPERTS; e++) {
            all += chosen[e];
            changed += fabs(tokens[e] - chosen[e]);
            sum += importance[e];
        }
        for (int p = 0; p < K * TOKENS; p++) sum -= score[EXPERTS * (p / K) + (int)index[p]];
        assert_true(all == K * TOKENS && changed > 0);
        assert_float_equal(sum, 0, 1e-5);
        free(chosen);
        free(score);
        free(index);
        tiny_free(&t);
    }
}

/* Outside training it is the plain choice, to the bit; that a token may have more experts is counted in evaluations. */
static void test_training_alone(void **state)
{
    (void)state;
    static const char *const sets[] = { TEXT({"ffn.router.revise": {"module": "tiles", "round": "up", "tile": 4}}),
                                        "{}" };
    double loss[2][2];
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            struct tiny t = tiny_new(sets[k], NULL, i ? MODE_EVAL : MODE_TRAIN, 2, 6);
            tiny_start(&t, 1);
            tiny_forward(&t);
            loss[i][k] = tiny_loss(&t, "lm");
            tiny_free(&t);
        }
    assert_true(loss[0][0] != loss[0][1] && loss[1][0] == loss[1][1]);
    struct pair p = pair_new(sets[0], sets[1]);
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

static void test_refused(void **state)
{
    (void)state;
    tiny_refused(TEXT({"ffn.experts": 8, "ffn.router.select": {"module": "top_k", "groups": 4, "limit": 2},
                       "ffn.router.revise": {"module": "tiles", "round": "up"}}), "beyond the 2 groups");
    tiny_refused(TEXT({"ffn.router": {"top_k": 1, "gate_on": "input", "revise": "tiles"}}), "one input");
    tiny_refused(TEXT({"ffn.zero": 1, "ffn.router.revise": {"module": "tiles", "round": "down"}}), "of a tile");
    tiny_refused(TEXT({"ffn.router": {"noise": "normal", "revise": {"module": "tiles", "round": "down"}},
                       "ffn.balance": ["load"]}), "of each token alone");
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(counts), RUN(rooms), RUN(who), RUN(counted_choices), RUN(training_alone),
                                        RUN(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
