/* What the head adds to the objective, by the logits that sampling has. */
#include "tiny_pair.h"

enum { BATCH = 2, SEQ = 6 };

/* Logits [T,V] of the tokens of t. */
static double *logits_like(struct tiny *t, const char *sets)
{
    struct tiny d = tiny_new(sets, NULL, MODE_DECODE, BATCH, SEQ);
    tiny_start(&d, 1);
    tiny_copy(&d, t);
    memcpy(d.ids, t->ids, (size_t)t->tokens * sizeof *d.ids);
    double *x = logits_of(&d);
    tiny_free(&d);
    return x;
}

static const char *const both = TEXT({"head": {"module": "lm", "tied": false, "z_loss": 0.01, "smoothing": 0.1}});

static void test_losses(void **state)
{
    (void)state;
    struct tiny t = tiny_new(both, NULL, MODE_EVAL, BATCH, SEQ);
    tiny_start(&t, 1);
    tiny_forward(&t);
    int v = t.model.vocab;
    double *x = logits_like(&t, both), nll = 0, squares = 0, above = 0, n = 0;
    for (int i = 0; i < t.tokens; i++) {
        double sum = 0, mean = 0, *row = x + i * v;
        for (int k = 0; k < v; k++) {
            sum += exp(row[k]);
            mean += row[k] / v;
        }
        if (t.weight[i] == 0) continue;
        nll += log(sum) - row[t.target[i]];
        squares += log(sum) * log(sum);
        above += row[t.target[i]] - mean;
        n++;
    }
    assert_float_equal(tiny_loss(&t, "lm"), nll / n, 1e-5);
    assert_float_equal(tiny_loss(&t, "head_z"), squares / n, 1e-5);
    assert_float_equal(tiny_loss(&t, "smoothing"), above / n, 1e-5);
    free(x);
    tiny_free(&t);
}

/* Z1: what is added to all logits of a row changes no cross-entropy, nor what smoothing adds; the z-loss it does: here
   the same vector added to all rows of the head. */
static void test_shifted_logits(void **state)
{
    (void)state;
    struct tiny t = tiny_new(both, NULL, MODE_EVAL, BATCH, SEQ);
    tiny_start(&t, 1);
    tiny_forward(&t);
    double nll = tiny_loss(&t, "lm"), above = tiny_loss(&t, "smoothing"), z = tiny_loss(&t, "head_z");
    real *w = tiny_weight(&t, "head.weight");
    for (int64_t i = 0; i < tiny_count(&t, "head.weight"); i++) w[i] += (real)(0.2 * (double)(i % 8));
    tiny_forward(&t);
    assert_float_equal(tiny_loss(&t, "lm"), nll, 1e-5);
    assert_float_equal(tiny_loss(&t, "smoothing"), above, 1e-5);
    assert_true(fabs(tiny_loss(&t, "head_z") - z) > 1e-2);
    tiny_free(&t);
}

/* The objective is that of smoothed targets: (1 - s) nll + s (lse - mean of x). */
static void test_objective(void **state)
{
    (void)state;
    struct tiny t = tiny_new(both, NULL, MODE_TRAIN, BATCH, SEQ);
    double objective, want;
    tiny_start(&t, 1);
    tiny_forward(&t);
    tiny_metric(&t, "objective", -1, &objective);
    want = tiny_loss(&t, "lm") + 0.01 * tiny_loss(&t, "head_z") + 0.1 * tiny_loss(&t, "smoothing");
    assert_float_equal(objective, want, 1e-5);
    tiny_free(&t);
}

/* Capped logits are what sampling sees, and what cross-entropy is of; a cap far above them changes nothing. */
static void test_softcap(void **state)
{
    (void)state;
    static const char *const sets[] = { TEXT({"head": {"module": "lm", "tied": false, "softcap": 0.7}}),
                                        TEXT({"head": {"module": "lm", "tied": false}}) };
    struct tiny t = tiny_new(sets[0], NULL, MODE_EVAL, BATCH, SEQ);
    tiny_start(&t, 1);
    tiny_forward(&t);
    int v = t.model.vocab;
    double *x = logits_like(&t, sets[0]), *plain = logits_like(&t, sets[1]), nll = 0, n = 0;
    for (int i = 0; i < t.tokens * v; i++) assert_float_equal(x[i], 0.7 * tanh(plain[i] / 0.7), 1e-6);
    for (int i = 0; i < t.tokens; i++) {
        double sum = 0;
        for (int k = 0; k < v; k++) sum += exp(x[i * v + k]);
        if (t.weight[i] == 0) continue;
        nll += log(sum) - x[i * v + t.target[i]];
        n++;
    }
    assert_float_equal(tiny_loss(&t, "lm"), nll / n, 1e-5);
    free(x);
    free(plain);
    tiny_free(&t);
    tiny_refused(TEXT({"head": {"module": "lm", "softcap": 30, "smoothing": 0.1}}), "that of logits without a cap");
}

/* What smoothing asks of a narrow head, which a projection leads to. */
static void test_narrow_head(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"embed": {"module": "plain", "rank": 3},
                                          "head": {"module": "lm", "smoothing": 0.1}});
    struct tiny t = tiny_new(sets, NULL, MODE_EVAL, BATCH, SEQ);
    tiny_start(&t, 1);
    tiny_forward(&t);
    int v = t.model.vocab;
    double *x = logits_like(&t, sets), above = 0, n = 0;
    for (int i = 0; i < t.tokens; i++) {
        if (t.weight[i] == 0) continue;
        for (int k = 0; k < v; k++) above += (x[i * v + t.target[i]] - x[i * v + k]) / v;
        n++;
    }
    assert_float_equal(tiny_loss(&t, "smoothing"), above / n, 1e-5);
    free(x);
    tiny_free(&t);
}

/* Each token's loss by (1 - p)^focal, and no loss of its own beside it; what is reported stays cross-entropy. */
static void test_focal(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"head": {"module": "lm", "tied": false, "focal": 1.5}});
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, BATCH, SEQ);
    tiny_start(&t, 1);
    tiny_forward(&t);
    int v = t.model.vocab;
    double *x = logits_like(&t, sets), nll = 0, focal = 0, n = 0, objective;
    for (int i = 0; i < t.tokens; i++) {
        double sum = 0, own;
        for (int k = 0; k < v; k++) sum += exp(x[i * v + k]);
        if (t.weight[i] == 0) continue;
        own = log(sum) - x[i * v + t.target[i]];
        nll += own;
        focal += own * pow(1 - exp(-own), 1.5);
        n++;
    }
    tiny_metric(&t, "objective", -1, &objective);
    assert_float_equal(tiny_loss(&t, "lm"), nll / n, 1e-5);
    assert_float_equal(tiny_loss(&t, "focal"), focal / n, 1e-5);
    assert_float_equal(objective, focal / n, 1e-5);
    free(x);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses), cmocka_unit_test(test_shifted_logits), cmocka_unit_test(test_objective),
        cmocka_unit_test(test_softcap), cmocka_unit_test(test_focal),
        cmocka_unit_test(test_narrow_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
