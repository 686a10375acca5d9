/* Decisions and measures of answers that are given by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>
#include "tasks/judge.h"

static const struct score none;

static void near(const char *what, double got, double want)
{
    if (!(fabs(got - want) <= 1e-12)) fail_msg("%s: %.15g, not %.15g", what, got, want);
}

static double of(const char *name, const struct answered *a)
{
    for (int i = 0; i < judge_measure_count(); i++)
        if (!strcmp(judge_measures[i].name, name)) return judge_measures[i].of(a);
    for (int i = 0; i < judge_baseline_count(); i++)
        if (!strcmp(judge_baselines[i].name, name)) return judge_baselines[i].of(a);
    fail_msg("no measure %s", name);
    return NAN;
}

/* Two choices of 3 and 10 bytes, log-likelihoods -6 and -8, -5 and -9 alone; the second has a letter of two bytes. */
static void measures_of_two_choices(void **state)
{
    (void)state;
    struct choice choice[] = { { "c", "abc" }, { "c", "ninechars" } };
    struct question q = { .n = 2, .gold = 1, .choice = choice };
    struct answer answer[] = { { { -6, 4, false }, { -5, 4, false }, 4, 3, 3 },
                               { { -8, 11, false }, { -9, 11, false }, 11, 10, 9 } };
    struct answered a = { .question = &q, .answer = answer };
    near("acc", of("acc", &a), 0);
    near("acc_norm", of("acc_norm", &a), 1);
    near("acc_bytes", of("acc_bytes", &a), 1);
    near("acc_token", of("acc_token", &a), 1);
    near("acc_pmi", of("acc_pmi", &a), 1);
    near("bpb_gold", of("bpb_gold", &a), 8 / (11 * log(2)));
    near("p_gold", of("p_gold", &a), exp(-0.8) / (exp(-0.8) + exp(-2)));
    near("log_p_gold", of("log_p_gold", &a), -0.8 - log(exp(-0.8) + exp(-2)));
    near("margin", of("margin", &a), -0.8 + 2);
    double p = exp(-6) / (exp(-6) + exp(-8));
    near("brier", of("brier", &a), 2 * p * p);
    near("chance", of("chance", &a), 0.5);
    near("longest", of("longest", &a), 1);
    near("shortest", of("shortest", &a), 0);
    near("alone", of("alone", &a), 0);
    assert_true(isnan(of("ll", &a)));
    q.gold = 0;
    near("acc", of("acc", &a), 1);
    near("acc_pmi", of("acc_pmi", &a), 0);
    near("margin", of("margin", &a), -2 + 0.8);
    near("brier", of("brier", &a), 2 * (1 - p) * (1 - p));
    near("alone", of("alone", &a), 1);
}

/* By characters the first is larger, by bytes the second: -4.4 / 2 and -6.3 / 3, of which the first has 4 bytes. */
static void letters_are_not_bytes(void **state)
{
    (void)state;
    struct choice choice[] = { { "c", "éé" }, { "c", "abc" } };
    struct question q = { .n = 2, .gold = 0, .choice = choice };
    struct answer answer[] = { { { -4.4, 4, false }, none, 5, 4, 2 }, { { -6.3, 3, false }, none, 4, 3, 3 } };
    struct answered a = { .question = &q, .answer = answer };
    near("acc_bytes", of("acc_bytes", &a), 1);
    near("acc_norm", of("acc_norm", &a), 0);
    assert_true(isnan(of("acc_pmi", &a)));
}

/* Of equal choices the first is taken; in a minimal pair it is half. */
static void ties(void **state)
{
    (void)state;
    struct choice choice[] = { { "c", "ab" }, { "c", "ba" }, { "c", "aa" } };
    struct question q = { .n = 3, .gold = 1, .choice = choice };
    struct answer same = { { -3, 2, false }, none, 2, 2, 2 }, answer[] = { same, same, same };
    struct answered a = { .question = &q, .answer = answer };
    near("acc", of("acc", &a), 0);
    near("longest", of("longest", &a), 0);
    q.gold = 0;
    near("acc", of("acc", &a), 1);
    answer[0].score.ll = -3.5;
    near("acc", of("acc", &a), 0);

    for (int i = 0; i < 2; i++) choice[i].before = "";
    q.n = 2;
    answer[0].score.ll = -3;
    for (q.gold = 0; q.gold < 2; q.gold++) {
        near("acc", of("acc", &a), 0.5);
        answer[q.gold].score.ll = -2;
        near("acc", of("acc", &a), 1);
        answer[q.gold].score.ll = -4;
        near("acc", of("acc", &a), 0);
        answer[q.gold].score.ll = -3;
        assert_true(isnan(of("acc_norm", &a)) && isnan(of("longest", &a)));
    }
}

static void one_choice_and_tokens(void **state)
{
    (void)state;
    struct choice choice = { "c", "word" };
    struct question q = { .n = 1, .choice = &choice };
    struct answer answer[4] = { { { -2, 5, true }, none, 5, 4, 4 } };
    struct answered a = { .question = &q, .answer = answer };
    near("acc", of("acc", &a), 1);
    near("ll", of("ll", &a), -2);
    near("bpb_gold", of("bpb_gold", &a), 2 / (5 * log(2)));
    assert_true(isnan(of("p_gold", &a)) && isnan(of("brier", &a)) && isnan(of("chance", &a)));
    answer[0].score.greedy = false;
    near("acc", of("acc", &a), 0);

    struct item tokens = { 0 };
    struct question t = { .n = 4, .gold = 2, .tokens = &tokens };
    a.question = &t;
    for (int i = 0; i < 4; i++) answer[i] = (struct answer){ .score = { -4 - i, 1 + 2 * i, false } };
    near("acc", of("acc", &a), 0);                           /* -4 -5 -6 -7 */
    near("acc_token", of("acc_token", &a), 0);               /* -4 -5/3 -6/5 -1 */
    t.gold = 3;
    near("acc_token", of("acc_token", &a), 1);
    assert_true(isnan(of("acc_norm", &a)) && isnan(of("bpb_gold", &a)) && isnan(of("margin", &a)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_of_two_choices),
        cmocka_unit_test(letters_are_not_bytes),
        cmocka_unit_test(ties),
        cmocka_unit_test(one_choice_and_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
