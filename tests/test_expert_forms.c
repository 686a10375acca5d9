/* Forms of experts: what they must equal where a form does nothing, or says the same in other words. */
#include "tiny_pair.h"
#include "graph/ops/broadcast.h"
#include "graph/ops/routing.h"

static const char *const matrix[] = { "gate", "up", "down" };

static void path_in(char path[64], int layer, const char *where, const char *name, const char *what)
{
    snprintf(path, 64, "layers.%d.ffn.%s%s.%s", layer, where, name, what);
}

/* I5: n experts of one width are one of n times the width. */
static void test_shared_number_or_width(void **state)
{
    (void)state;
    struct tiny a = tiny_new(TEXT({"ffn.shared": {"module": "dense", "n": 2}}), NULL, MODE_TRAIN, 2, 6),
                b = tiny_new(TEXT({"ffn.shared": {"module": "dense", "d_ff": 12}}), NULL, MODE_TRAIN, 2, 6);
    assert_true(tiny_same(&a, &b));
    tiny_free(&a);
    tiny_free(&b);
}

/* A gate that knows nothing is a half; one that is wide open is none. */
static void test_gated_shared_experts(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.shared": {"module": "dense", "gated": true}}), TEXT({"ffn.shared": "dense"}));
    tiny_scale_all(&p.a, "shared_gate.weight", 0);
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-3);
    tiny_scale_all(&p.b, "shared.down.weight", 0.5);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* Each token its own gate: sigmoid(u w), and its mean is the metric. */
static void test_shared_gate(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.shared": {"module": "dense", "gated": true}}), NULL, MODE_EVAL, 2,
                             6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *logit = tiny_user(&t, "layers.0.ffn.shared_gate.weight"), *times = tiny_find(&t, &op_mul_heads, 0);
    const real *w = tiny_weight(&t, "layers.0.ffn.shared_gate.weight");
    double *u = tiny_read(&t, logit->in[0]), *y = tiny_read(&t, times->in[0]), *gated = tiny_read(&t, times), mean,
           sum = 0;
    for (int token = 0; token < t.tokens; token++) {
        double dot = 0;
        for (int i = 0; i < 8; i++) dot += u[8 * token + i] * (double)w[i];
        for (int i = 0; i < 8; i++)
            assert_float_equal(gated[8 * token + i], y[8 * token + i] / (1 + exp(-dot)), 1e-6);
        sum += 1 / (1 + exp(-dot)) / t.tokens;
    }
    tiny_metric(&t, "layer_shared_gate", 0, &mean);
    assert_float_equal(mean, sum, 1e-6);
    free(u);
    free(y);
    free(gated);
    tiny_free(&t);
}

/* Projections that change nothing leave what is without them. */
static void test_latent_of_the_same_width(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.latent": {"module": "projected", "width": 8}, "ffn.shared": "dense"}),
                             TEXT({"ffn.shared": "dense"}));
    static const char *const name[] = { "latent_down", "latent_up" };
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 2; i++) {
            char path[64];
            snprintf(path, sizeof path, "layers.%d.ffn.%s.weight", l, name[i]);
            for (int k = 0; k < 64; k++) tiny_weight(&p.a, path)[k] = k % 9 == 0;
        }
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* Behind a norm a factor on all gates is none; without it, it is one. */
static void test_latent_norm(void **state)
{
    (void)state;
    static const char *const sets[2][2] = {
        { TEXT({"norm.eps": 1e-12, "ffn.latent": {"module": "projected", "width": 5}}),
          TEXT({"norm.eps": 1e-12, "ffn.latent": {"module": "projected", "width": 5}, "ffn.router.scale": 3}) },
        { TEXT({"norm.eps": 1e-12, "ffn.latent": {"module": "projected", "width": 5, "norm": true}}),
          TEXT({"norm.eps": 1e-12, "ffn.latent": {"module": "projected", "width": 5, "norm": true},
                "ffn.router.scale": 3}) },
    };
    for (int norm = 0; norm < 2; norm++) {
        struct pair p = pair_new(sets[norm][0], sets[norm][1]);
        pair_run(&p);
        if (norm) check_near(p.x, p.y, p.n, 2e-5);
        else assert_true(distance(p.x, p.y, p.n) > 1e-2);
        pair_free(&p);
    }
}

/* I3 in the latent width: experts that are all alike, with gates that sum to 1, are one feed-forward between the
   projections, whatever the routing. */
static void test_equal_latent_experts(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.latent": {"module": "projected", "width": 5}, "ffn.router.normalize": "after"}),
                             TEXT({"ffn.latent": {"module": "projected", "width": 5}, "ffn.experts": 1,
                                   "ffn.router": {"top_k": 1, "score": "sigmoid", "normalize": "after"}}));
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            char path[64];
            path_in(path, l, "experts.", matrix[i], "weight");
            int64_t n = tiny_count(&p.b, path);
            for (int e = 0; e < 4; e++)
                memcpy(tiny_weight(&p.a, path) + e * n, tiny_weight(&p.b, path), (size_t)n * sizeof(real));
        }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* Biases begin at 0, where they are nothing. One expert with a gate of 1 is the dense feed-forward, biases too (I1). */
static void test_biases(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.bias": true, "ffn.shared": "dense"}), TEXT({"ffn.shared": "dense"}));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    for (int e = 0; e < 4; e++) tiny_weight(&p.a, "layers.1.ffn.experts.up.bias")[6 * e] = 0.5f;
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-3);
    pair_free(&p);

    p = pair_new(TEXT({"ffn.bias": true, "ffn.experts": 1, "ffn.router": {"top_k": 1, "normalize": "after",
                                                                          "score": "sigmoid"}}),
                 TEXT({"ffn": {"module": "dense", "d_ff": 6, "bias": true}}));
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 6; i++) {
            char from[64], to[64];
            path_in(from, l, "experts.", matrix[i % 3], i < 3 ? "weight" : "bias");
            path_in(to, l, "", matrix[i % 3], i < 3 ? "weight" : "bias");
            real *w = tiny_weight(&p.b, to);
            for (int k = 0; k < tiny_count(&p.b, to); k++) w[k] = (real)(0.3 * sin(k + i + 10 * l));
            memcpy(tiny_weight(&p.a, from), w, (size_t)tiny_count(&p.b, to) * sizeof(real));
        }
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* The bias of an expert is added by its gate: biases of down alone give sum of gate b_i. */
static void test_bias_of_each_expert(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.bias": true}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_scale_all(&t, "experts.down.weight", 0);
    real *bias = tiny_weight(&t, "layers.0.ffn.experts.down.bias");
    for (int i = 0; i < 32; i++) bias[i] = (real)(i + 1);
    tiny_forward(&t);
    struct node *sum = tiny_find(&t, &op_combine, 0);
    double *y = tiny_read(&t, sum), *gate = tiny_read(&t, sum->in[3]),
           *index = tiny_read(&t, tiny_find(&t, &op_topk, 0));
    for (int token = 0; token < t.tokens; token++)
        for (int i = 0; i < 8; i++) {
            double want = 0;
            for (int j = 2 * token; j < 2 * token + 2; j++) want += gate[j] * (8 * index[j] + i + 1);
            assert_float_equal(y[8 * token + i], want, 1e-5 * want);
        }
    free(y);
    free(gate);
    free(index);
    tiny_free(&t);
}

/* Adjugate experts with a factor of 0 are none. */
static void test_adjugates_of_no_weight(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.shared": {"module": "adjugate", "scale": 0}}), TEXT({"layers": 3}));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* In groups of one, each expert is as much wider. */
static void test_adjugate_of_each(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.shared": {"module": "adjugate", "size": 1, "d_ff": 6, "scale": 1}}),
                             TEXT({"ffn.d_ff": 12}));
    enum { D = 8, F = 6 };
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            char own[64], beside[64];
            path_in(own, l, "experts.", matrix[i], "weight");
            path_in(beside, l, "shared.", matrix[i], "weight");
            int rows = i < 2 ? 1 : D, width = i < 2 ? F * D : F;    /* of down, columns go side by side */
            for (int r = 0; r < 4 * rows; r++) {
                memcpy(tiny_weight(&p.b, own) + 2 * r * width, tiny_weight(&p.a, own) + r * width,
                       (size_t)width * sizeof(real));
                memcpy(tiny_weight(&p.b, own) + (2 * r + 1) * width, tiny_weight(&p.a, beside) + r * width,
                       (size_t)width * sizeof(real));
            }
        }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 2e-6);
    pair_free(&p);
}

/* One group of all experts, of which a token takes all: its adjugate is a shared expert by the sum of the gates, which
   is 1, and computes a token once. */
static void test_adjugate_of_all(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.router": {"top_k": 4}, "ffn.shared": {"module": "adjugate", "size": 4,
                                                                              "d_ff": 5, "scale": 1}}),
                             TEXT({"ffn.router": {"top_k": 4}, "ffn.shared": {"module": "dense", "d_ff": 5}}));
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            char path[64];
            path_in(path, l, "shared.", matrix[i], "weight");
            assert_int_equal(tiny_count(&p.a, path), tiny_count(&p.b, path));
            memcpy(tiny_weight(&p.a, path), tiny_weight(&p.b, path), (size_t)tiny_count(&p.a, path) * sizeof(real));
        }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    struct node *merged = tiny_find(&p.a, &op_merge_groups, 0),
                *offsets = tiny_find(&p.a, &op_dispatch, merged->id);
    double *offset = tiny_read(&p.a, offsets);
    assert_true(offset[1] == p.a.tokens);
    free(offset);
    pair_free(&p);
}

static double dropped(struct tiny *t)
{
    double rate;
    tiny_metric(t, "drop_rate", 0, &rate);
    return rate;
}

/* Whoever finds room first, as many do; who is drawn is another at each step. */
static void test_random_priority(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"layers": 1, "ffn.dispatch": {"module": "capacity", "factor": 0.5}}),
        TEXT({"layers": 1, "ffn.dispatch": {"module": "capacity", "factor": 0.5, "first": "random"}}),
    };
    struct tiny token = tiny_new(sets[0], NULL, MODE_TRAIN, 2, 6), drawn = tiny_new(sets[1], NULL, MODE_TRAIN, 2, 6);
    double *kept[3];
    tiny_start(&token, 1);
    tiny_start(&drawn, 1);
    tiny_forward(&token);
    for (int step = 0; step < 3; step++) {
        drawn.noise_key[0] = 7 + (step == 2 ? 0 : step);
        tiny_forward(&drawn);
        assert_true(dropped(&drawn) == dropped(&token) && dropped(&token) > 0);
        kept[step] = tiny_read(&drawn, tiny_find(&drawn, &op_drop_over_capacity, 0));
    }
    assert_memory_not_equal(kept[0], kept[1], 24 * sizeof(double));
    assert_memory_equal(kept[0], kept[2], 24 * sizeof(double));
    for (int i = 0; i < 3; i++) free(kept[i]);
    tiny_free(&token);
    tiny_free(&drawn);
}

/* Room is wide in the first step and narrow in the last; the same all along, it is as without a ramp, to the bit. */
static void test_capacity_ramp(void **state)
{
    (void)state;
    static const char *const plain = TEXT({"ffn.dispatch": {"module": "capacity", "factor": 0.5}}),
                      *const same = TEXT({"ffn.dispatch": {"module": "capacity", "factor": 0.5, "start": 0.5}}),
                      *const wide = TEXT({"ffn.dispatch": {"module": "capacity", "factor": 0.5, "start": 4,
                                                           "until": 0.5}});
    struct tiny t[] = { tiny_new(plain, NULL, MODE_TRAIN, 2, 6), tiny_new(same, NULL, MODE_TRAIN, 2, 6),
                        tiny_new(wide, NULL, MODE_TRAIN, 2, 6) };
    for (int i = 0; i < 3; i++) tiny_start(&t[i], 1);
    for (int step = 0; step < 6; step++) {
        for (int i = 0; i < 3; i++) tiny_step_of(&t[i], step, 6);
        assert_true(tiny_loss(&t[0], "lm") == tiny_loss(&t[1], "lm"));
        assert_true(dropped(&t[0]) > 0);
        if (step == 0) assert_true(dropped(&t[2]) == 0);
        if (step >= 3) assert_true(dropped(&t[2]) > 0);
    }
    for (int i = 0; i < 3; i++) tiny_free(&t[i]);
}

/* Room stays wide for a while, then narrows evenly: of 12 steps 4 at the start, 4 on the way, 4 at the end. */
static void test_capacity_hold(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.dispatch": {"module": "capacity", "factor": 0.5, "start": 2.5,
                                   "hold": 0.334, "until": 0.667}}), NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    const struct node *room = tiny_find(&t, &op_drop_over_capacity, 0)->in[2];
    for (int step = 0; step < 12; step++) {
        plan_begin(t.plan, step, 12, 1);
        tiny_put(&t);
        plan_forward(t.plan, 0);
        double *now = tiny_read(&t, room), held = 0.334 * 12, end = 0.667 * 12,
               factor = step < held ? 2.5 : step < end ? 2.5 - 2 * (step - held) / (end - held) : 0.5;
        assert_true(*now == ceil(factor * 2 * 6 / 4 - 1e-9));
        if (step <= 4) assert_true(*now == 8);
        if (step >= 9) assert_true(*now == 2);
        free(now);
    }
    tiny_free(&t);
    tiny_refused(TEXT({"ffn.dispatch": {"module": "capacity", "hold": 0.1}}), "hold = 0.1: there is no start");
}

/* By choice and by token it is told who found no room; the choices together are all that were dropped. */
static void test_whose_room(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"layers": 1, "ffn.router.top_k": 3, "ffn.dispatch": {"module": "capacity", "factor": 0.5}}),
        TEXT({"layers": 1, "ffn.router.top_k": 3, "ffn.dispatch": {"module": "capacity", "factor": 0.5,
                                                                   "first": "choice"}}),
    };
    for (int i = 0; i < 2; i++) {
        struct tiny t = tiny_new(sets[i], NULL, MODE_TRAIN, 2, 6);
        double of_choice[3], of_token, none = 0;
        tiny_start(&t, 1);
        tiny_forward(&t);
        tiny_metric(&t, "choice_drop_rate", 0, of_choice);
        tiny_metric(&t, "drop_token_rate", 0, &of_token);
        double *kept = tiny_read(&t, tiny_find(&t, &op_drop_over_capacity, 0)), *first = of_choice;
        for (int token = 0; token < t.tokens; token++)
            none += kept[3 * token] < 0 && kept[3 * token + 1] < 0 && kept[3 * token + 2] < 0;
        assert_float_equal((of_choice[0] + of_choice[1] + of_choice[2]) / 3, dropped(&t), 1e-6);
        assert_float_equal(of_token, none / t.tokens, 1e-6);
        if (i == 0) assert_true(none > 0);
        if (i == 1) assert_true(first[0] < first[2]);       /* first choices first */
        free(kept);
        tiny_free(&t);
    }
}

/* An evaluation drops by a factor of its own, and else nothing; room for all is no capacity. */
static void test_capacity_in_evaluation(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"layers": 1}), TEXT({"layers": 1, "ffn.dispatch": {"module": "capacity", "factor": 0.5}}),
        TEXT({"layers": 1, "ffn.dispatch": {"module": "capacity", "eval_factor": 2}}),
        TEXT({"layers": 1, "ffn.dispatch": {"module": "capacity", "eval_factor": 0.5}}),
    };
    double loss[4];
    for (int i = 0; i < 4; i++) {
        struct tiny t = tiny_new(sets[i], NULL, MODE_EVAL, 2, 6);
        tiny_start(&t, 1);
        tiny_forward(&t);
        loss[i] = tiny_loss(&t, "lm");
        if (i >= 2) assert_true((dropped(&t) > 0) == (i == 3));
        tiny_free(&t);
    }
    assert_true(loss[0] == loss[1] && loss[0] == loss[2] && loss[0] != loss[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(shared_number_or_width), RUN(gated_shared_experts), RUN(shared_gate),
        RUN(latent_of_the_same_width), RUN(latent_norm), RUN(equal_latent_experts),
        RUN(biases), RUN(bias_of_each_expert), RUN(adjugates_of_no_weight), RUN(adjugate_of_each),
        RUN(adjugate_of_all), RUN(random_priority), RUN(capacity_ramp), RUN(capacity_hold),
        RUN(whose_room), RUN(capacity_in_evaluation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
