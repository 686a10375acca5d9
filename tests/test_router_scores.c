/* What a router makes of a token before it chooses: logits of every form, scores, gates; against their formulas. */
#include "tiny_pair.h"
#include "graph/ops/routing.h"
#include "graph/ops/rows.h"

enum { EXPERTS = 4, WIDTH = 8, TOKENS = 12 };

/* Layer 0's router: what it read, and what came of it. */
struct seen { double *u, *gate, *index; int k; };

static struct seen see(struct tiny *t, const char *reader)
{
    const struct node *of = tiny_user(t, reader), *combine = tiny_find(t, &op_combine, of->id);
    struct seen s = { tiny_read(t, of->in[0]), tiny_read(t, combine->in[3]),
                      tiny_read(t, tiny_find(t, &op_dispatch, of->id)->in[0]), (int)shape_last(combine->in[3]->shape) };
    return s;
}

static void seen_free(struct seen *s)
{
    free(s->u);
    free(s->gate);
    free(s->index);
}

static double product(const real *row, const double *u, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += row[i] * u[i];
    return sum;
}

/* ---- scores ---- */

static double sigmoid_of(double z) { return 1 / (1 + exp(-z)); }
static double sqrt_softplus_of(double z) { return sqrt(log1p(exp(z))); }
static double relu_of(double z) { return fmax(z, 0); }

/* The gates of what was chosen, of a bias learned beside a linear router; experts without a score are not used. */
static void check_scores(const char *sets, double (*score)(double z), bool after, double scale)
{
    struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    real *offset = tiny_weight(&t, "layers.0.ffn.router.offset");
    const real *w = tiny_weight(&t, "layers.0.ffn.router.weight");
    for (int e = 0; e < EXPERTS; e++) offset[e] = (real)(0.4 * e - 0.5);
    tiny_forward(&t);
    struct seen s = see(&t, "layers.0.ffn.router.weight");
    int unused = 0;
    for (int token = 0; token < TOKENS; token++) {
        double z[EXPERTS], sum = 0, least = 1e9;
        for (int e = 0; e < EXPERTS; e++) z[e] = product(w + WIDTH * e, s.u + WIDTH * token, WIDTH) + (double)offset[e];
        for (int j = 0; j < s.k; j++) {
            int e = (int)s.index[s.k * token + j];
            unused += e < 0;
            if (e >= 0) sum += score(z[e]);
            if (e >= 0) least = fmin(least, score(z[e]));
        }
        for (int j = 0; j < s.k; j++) {
            int e = (int)s.index[s.k * token + j];
            double want = e < 0 ? 0 : score(z[e]) * scale / (after ? sum : 1);
            if (!(fabs(s.gate[s.k * token + j] - want) < 2e-6))
                fail_msg("%s: gate %.8f, expected %.8f", sets, s.gate[s.k * token + j], want);
        }
        for (int e = 0; e < EXPERTS; e++) {                 /* none that was left out is better */
            bool in = false;
            for (int j = 0; j < s.k; j++) in |= (int)s.index[s.k * token + j] == e;
            assert_true(in || score(z[e]) <= least + 1e-6 || score(z[e]) == 0);
        }
    }
    assert_int_equal(unused > 0, score == relu_of);
    seen_free(&s);
    tiny_free(&t);
}

static void test_scores(void **state)
{
    (void)state;
    check_scores(TEXT({"ffn.router": {"bias": true, "score": "sigmoid"}}), sigmoid_of, false, 1);
    check_scores(TEXT({"ffn.router": {"bias": true, "score": "sqrt_softplus"}}), sqrt_softplus_of, false, 1);
    check_scores(TEXT({"ffn.router": {"bias": true, "score": "sqrt_softplus", "normalize": "after", "scale": 1.5}}),
                 sqrt_softplus_of, true, 1.5);
    check_scores(TEXT({"ffn.router": {"bias": true, "score": "relu", "top_k": 4}}), relu_of, false, 1);
    check_scores(TEXT({"ffn.router": {"bias": true, "score": "relu", "top_k": 3, "normalize": "after"}}), relu_of, true,
                 1);
    check_scores(TEXT({"ffn.router": {"bias": true, "normalize": "after"}}), exp, true, 1);        /* gpt-oss */
}

/* A token that no expert scores goes on by the residual alone: no row is computed, and what is logged is a number. */
static void test_nobody_scores(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router": {"bias": true, "score": "relu", "top_k": 4},
                                   "ffn.balance": ["switch_aux", "z_loss", "importance"]}), NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    for (int e = 0; e < EXPERTS; e++) tiny_weight(&t, "layers.0.ffn.router.offset")[e] = -1000;
    tiny_step(&t, 0);
    double tokens[EXPERTS], entropy;
    tiny_metric(&t, "expert_tokens", 0, tokens);
    tiny_metric(&t, "router_token_entropy", 0, &entropy);
    for (int e = 0; e < EXPERTS; e++) assert_true(tokens[e] == 0);
    assert_true(fabs(entropy - log(EXPERTS)) < 1e-6);
    struct node *combine = tiny_find(&t, &op_combine, 0);
    double *y = tiny_read(&t, combine);
    for (int i = 0; i < TOKENS * WIDTH; i++) assert_true(y[i] == 0);
    assert_true(isfinite(tiny_loss(&t, "lm")) && isfinite(tiny_loss(&t, "aux")));
    free(y);
    tiny_free(&t);
}

/* The z-loss is of logits, whatever is made of them. */
static void test_z_loss_of_every_score(void **state)
{
    (void)state;
    static const char *const score[] = { "softmax", "sigmoid", "sqrt_softplus", "relu" };
    double first = 0;
    for (int i = 0; i < COUNT(score); i++) {
        char sets[256];
        double squares;
        snprintf(sets, sizeof sets,
                 "{\"layers\": 1, \"ffn.router.score\": \"%s\", \"ffn.balance\": [\"z_loss\"]}", score[i]);
        struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        tiny_forward(&t);
        tiny_metric(&t, "router_lse2", 0, &squares);
        assert_true(fabs(tiny_loss(&t, "z") - squares) < 1e-6 && squares > 0);
        if (i == 0) first = squares;
        assert_true(squares == first);
        tiny_free(&t);
    }
}

/* ---- scale ---- */

/* Published factors, from draws: about sqrt k. */
static void test_unit_scale(void **state)
{
    (void)state;
    static const struct { int experts, k; double scale; } at[] = {
        { 64, 6, 2.446 }, { 384, 8, 2.828 }, { 256, 8, 2.827 }, { 512, 10, 3.16 },
    };
    for (int i = 0; i < COUNT(at); i++) {
        double scale = build_unit_scale(at[i].experts, at[i].k, sigmoid_of);
        if (!(fabs(scale - at[i].scale) < 0.0025))
            fail_msg("%d of %d experts: %.4f, expected %.4f", at[i].k, at[i].experts, scale, at[i].scale);
    }
    struct tiny t = tiny_new(TEXT({"ffn.router": {"score": "sigmoid", "normalize": "after", "scale": 0}}), NULL,
                             MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    double *gate = tiny_read(&t, tiny_find(&t, &op_combine, 0)->in[3]), want = build_unit_scale(EXPERTS, 2, sigmoid_of);
    assert_true(want > 1.38 && want < sqrt(2));
    for (int i = 0; i < TOKENS; i++) assert_true(fabs(gate[2 * i] + gate[2 * i + 1] - want) < 1e-6);
    free(gate);
    tiny_free(&t);
}

/* ---- forms of logits ---- */

/* Logits of layer 0, malloc'd: what softmax reads. */
static double *logits(struct tiny *t)
{
    tiny_forward(t);
    return tiny_read(t, tiny_find(t, &op_softmax, 0)->in[0]);
}

static void test_cosine(void **state)
{
    (void)state;
    enum { P = 3 };
    struct tiny t = tiny_new(TEXT({"ffn.router.logits": {"module": "cosine", "width": 3, "temperature": 0.5}}), NULL,
                             MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    const real *w = tiny_weight(&t, "layers.0.ffn.router.projection.weight"),
               *centre = tiny_weight(&t, "layers.0.ffn.router.weight");
    double *z = logits(&t), *u = tiny_read(&t, tiny_user(&t, "layers.0.ffn.router.projection.weight")->in[0]);
    for (int token = 0; token < TOKENS; token++)
        for (int e = 0; e < EXPERTS; e++) {
            double p[P], dot = 0, own = 0, experts = 0;
            for (int i = 0; i < P; i++) {
                p[i] = product(w + WIDTH * i, u + WIDTH * token, WIDTH);
                dot += p[i] * centre[P * e + i];
                own += p[i] * p[i];
                experts += centre[P * e + i] * centre[P * e + i];
            }
            assert_true(fabs(z[EXPERTS * token + e] - dot / sqrt(own * experts) / 0.5) < 1e-5);
        }
    /* Lengths are nothing to it, and tau is kept from 0. */
    tiny_scale(&t, "layers.0.ffn.router.weight", 7);
    tiny_scale(&t, "layers.0.ffn.router.projection.weight", 0.2);
    double *same = logits(&t);
    check_near(z, same, (int64_t)TOKENS * EXPERTS, 1e-5);
    *tiny_weight(&t, "layers.0.ffn.router.sharpness") = 1000;
    double *sharp = logits(&t);
    for (int i = 0; i < TOKENS * EXPERTS; i++) assert_true(fabs(sharp[i] - z[i] * 50) < 1e-2);
    free(z);
    free(u);
    free(same);
    free(sharp);
    tiny_free(&t);
}

static void test_mlp(void **state)
{
    (void)state;
    enum { H = 5 };
    struct tiny t = tiny_new(TEXT({"ffn.router.logits": {"module": "mlp", "hidden": 5}}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    const real *first = tiny_weight(&t, "layers.0.ffn.router.hidden.weight"),
               *second = tiny_weight(&t, "layers.0.ffn.router.weight");
    real *shift = tiny_weight(&t, "layers.0.ffn.router.hidden.offset");
    for (int i = 0; i < H; i++) shift[i] = (real)(0.3 * i - 0.5);
    double *z = logits(&t), *u = tiny_read(&t, tiny_user(&t, "layers.0.ffn.router.hidden.weight")->in[0]);
    for (int token = 0; token < TOKENS; token++) {
        double hidden[H];
        for (int i = 0; i < H; i++) {
            double a = product(first + WIDTH * i, u + WIDTH * token, WIDTH) + (double)shift[i];
            hidden[i] = a * 0.5 * erfc(-a / sqrt(2));
        }
        for (int e = 0; e < EXPERTS; e++)
            assert_true(fabs(z[EXPERTS * token + e] - product(second + H * e, hidden, H)) < 1e-5);
    }
    free(z);
    free(u);
    tiny_free(&t);
}

/* Each token's logits have mean 0 and the deviation that is asked for, so a router's length says nothing; nor does what
   all experts share. */
static void test_logit_norm(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router": {"logit_norm": 2, "bias": true}}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    double *z = logits(&t);
    for (int token = 0; token < TOKENS; token++) {
        double mean = 0, square = 0;
        for (int e = 0; e < EXPERTS; e++) {
            mean += z[EXPERTS * token + e] / EXPERTS;
            square += z[EXPERTS * token + e] * z[EXPERTS * token + e] / EXPERTS;
        }
        assert_true(fabs(mean) < 1e-6 && fabs(sqrt(square) - 2) < 1e-3);
    }
    tiny_scale(&t, "layers.0.ffn.router.weight", 9);
    for (int e = 0; e < EXPERTS; e++) tiny_weight(&t, "layers.0.ffn.router.offset")[e] = 3;
    double *same = logits(&t);
    check_near(z, same, (int64_t)TOKENS * EXPERTS, 1e-3);
    free(z);
    free(same);
    tiny_free(&t);
}

/* A matrix of 1 / E is of its E. */
static void test_logit_norm_of_two_sizes(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn": {"layers": [
        {"module": "moe", "experts": 4, "d_ff": 6, "router": {"logit_norm": 1}},
        {"module": "moe", "experts": 6, "d_ff": 6, "router": {"logit_norm": 1}},
        {"module": "moe", "experts": 4, "d_ff": 6, "router": {"logit_norm": 1}}]} }), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *second = tiny_find(&t, &op_softmax, tiny_user(&t, "layers.1.ffn.router.weight")->id)->in[0];
    double *z = tiny_read(&t, second);
    assert_int_equal(shape_last(second->shape), 6);
    for (int token = 0; token < TOKENS; token++) {
        double sum = 0;
        for (int e = 0; e < 6; e++) sum += z[6 * token + e];
        assert_true(fabs(sum) < 1e-5);
    }
    free(z);
    tiny_free(&t);
}

/* ---- what gates are factors on ---- */

/* What experts of layer 0 add with gates on their outputs and on their inputs, and the gates. */
struct both { double *output, *input, *gate; };

static struct both both_gates(const char *activation)
{
    struct tiny t[2];
    struct both y = { NULL, NULL, NULL };
    for (int i = 0; i < 2; i++) {
        char sets[512];
        snprintf(sets, sizeof sets, "{\"ffn.activation\": %s, \"ffn.shared\": \"dense\", \"ffn.router\": "
                 "{\"score\": \"sigmoid\", \"top_k\": 1, \"gate_on\": \"%s\"}}", activation, i ? "input" : "output");
        t[i] = tiny_new(sets, NULL, MODE_EVAL, 2, 6);
        tiny_start(&t[i], 1);
        if (strstr(activation, "oss")) tiny_scale_all(&t[i], "experts.up.weight", 0);
        tiny_forward(&t[i]);
        double *read = tiny_read(&t[i], tiny_find(&t[i], i ? &op_unpermute : &op_combine, 0));
        *(i ? &y.input : &y.output) = read;
    }
    y.gate = tiny_read(&t[0], tiny_find(&t[0], &op_combine, 0)->in[3]);
    double *own[2];                                         /* of the shared expert, which reads u itself */
    for (int i = 0; i < 2; i++) own[i] = tiny_read(&t[i], tiny_user(&t[i], "layers.0.ffn.shared.down.weight"));
    check_equal(own[0], own[1], (int64_t)TOKENS * WIDTH);
    for (int i = 0; i < 2; i++) {
        free(own[i]);
        tiny_free(&t[i]);
    }
    return y;
}

/* The largest difference of the two, relative to the largest value, where the output's gate is to a power. */
static double apart(const char *activation, double power)
{
    struct both y = both_gates(activation);
    double most = 0, difference = 0;
    for (int i = 0; i < TOKENS * WIDTH; i++) {
        double want = y.output[i] * pow(y.gate[i / WIDTH], power - 1);
        most = fmax(most, fabs(want));
        difference = fmax(difference, fabs(y.input[i] - want));
    }
    assert_true(most > 0.01);
    free(y.output);
    free(y.input);
    free(y.gate);
    return difference / most;
}

/* A gate on the input is one on the output where an expert is linear (gpt-oss's activation with a flat sigmoid and no
   second projection is nearly that); of squares it is a gate squared; of SwiGLU it is another model. */
static void test_gates_on_inputs(void **state)
{
    (void)state;
    assert_true(apart("{\"module\": \"swiglu_oss\", \"alpha\": 0.001, \"limit\": 1000}", 1) < 1e-3);
    assert_true(apart("\"relu2\"", 2) < 1e-5);
    assert_true(apart("\"reglu\"", 2) < 1e-5);
    assert_true(apart("\"swiglu\"", 1) > 0.05);
    assert_true(apart("\"swiglu\"", 2) > 0.01);
}

/* Gates on what the last product reads, as a factor of its result: the same model, of which backward keeps none of
   what experts write. */
static void check_hidden(const char *sets)
{
    struct tiny t[2];
    size_t arena[2];
    for (int i = 0; i < 2; i++) {
        char text[512];
        snprintf(text, sizeof text, sets, i ? "hidden" : "output");
        t[i] = tiny_new(text, NULL, MODE_TRAIN, 2, 32);
        t[i].graph->keep = false;
        tiny_start_on(&t[i], (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_SELECTIVE }, 1);
        for (int k = 0; k < 2; k++) tiny_step(&t[i], k);
        arena[i] = plan_report(t[i].plan)->arena;
    }
    assert_true(fabs(tiny_loss(&t[0], "lm") - tiny_loss(&t[1], "lm")) < 1e-5);
    double norm[2];
    for (int i = 0; i < 2; i++) tiny_metric(&t[i], "grad_norm", -1, &norm[i]);
    assert_true(fabs(norm[0] / norm[1] - 1) < 1e-4);
    assert_true(arena[0] - arena[1] >= 7168);
    for (int i = 0; i < 2; i++) tiny_free(&t[i]);
}

static void test_hidden_gates(void **state)
{
    (void)state;
    check_hidden("{\"ffn.router\": {\"score\": \"sigmoid\", \"gate_on\": \"%s\"}}");
    check_hidden("{\"ffn\": {\"module\": \"moe\", \"experts\": 4, \"d_ff\": 6, \"dispatch\": \"capacity\", "
                 "\"zero\": 2, \"router\": {\"gate_on\": \"%s\"}}}");
    check_hidden("{\"attention.experts\": {\"module\": \"routed\", \"n\": 4, \"router\": {\"gate_on\": \"%s\"}}}");
}

static void test_refusals(void **state)
{
    (void)state;
    tiny_refused(TEXT({"ffn.router": {"score": "relu", "noise": "learned"}, "ffn.balance": ["load"]}),
                 "largest logits");
    tiny_refused(TEXT({"ffn.router": {"scale": 0}}), "sum to 1");
    tiny_refused(TEXT({"ffn.router": {"gate_on": "input"}}), "one input");
    tiny_refused(TEXT({"ffn.router": {"gate_on": "hidden"}, "ffn.bias": true}), "has a bias");
    tiny_refused(TEXT({"ffn.router": {"gate_on": "input", "top_k": 1, "select": "expert_choice"}}), "one input");
    tiny_refused(TEXT({"ffn.router": {"score": "relu", "top_k": 1, "normalize": "after"}}), "no gradient");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(scores), RUN(nobody_scores), RUN(z_loss_of_every_score), RUN(unit_scale), RUN(cosine), RUN(mlp),
        RUN(logit_norm), RUN(logit_norm_of_two_sizes), RUN(gates_on_inputs), RUN(hidden_gates),
        RUN(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
