/* Choosing tokens: every filter, ties, draws and their distribution; and where texts end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "train/generate.h"

#define RUN(name) cmocka_unit_test(test_##name)

enum { V = 6 };
static const real logits[V] = { 2, 1.5, 1, 1, 0, -1 };

/* Chances behind a text of no tokens are these, and as rare ones are 0. */
static void gives(struct filter f, const double want[V])
{
    struct text none = { 0 };
    double got[V];
    generate_chances(&f, logits, V, &none, got);
    for (int v = 0; v < V; v++)
        if (!(fabs(got[v] - want[v]) < 1e-6) || (want[v] == 0 && got[v] != 0))
            fail_msg("token %d has a chance of %.7f, not %.7f", v, got[v], want[v]);
}

static struct filter at(double temperature)
{
    struct filter f = generate_plain;
    f.temperature = temperature;
    return f;
}

static void test_temperatures(void **state)
{
    (void)state;
    gives(at(1), (double[V]){ .395662, .239981, .145556, .145556, .053547, .019699 });
    gives(at(0.7), (double[V]){ .490186, .239967, .117474, .117474, .028153, .006747 });
    gives(at(2), (double[V]){ .279106, .217368, .169286, .169286, .102677, .062277 });
    gives(at(0), (double[V]){ 1 });
}

static void test_filters(void **state)
{
    (void)state;
    struct filter f = at(0.7);
    f.top_k = 3;
    gives(f, (double[V]){ .578305, .283104, .138591 });
    f.top_p = 0.8;
    gives(f, (double[V]){ .671348, .328652 });
    f.top_k = 0;
    gives(f, (double[V]){ .578305, .283104, .138591 });
    f.top_p = 1e-9;
    gives(f, (double[V]){ 1 });
    f.top_p = 1;
    f.min_p = 0.1;
    gives(f, (double[V]){ .507912, .248644, .121722, .121722 });
    f.min_p = 1;
    gives(f, (double[V]){ 1 });
}

static void test_forbidden(void **state)
{
    (void)state;
    const bool forbidden[V] = { true, false, false, false, true, true };
    struct filter f = at(1);
    f.forbidden = forbidden;
    double rest = exp(1.5) + 2 * exp(1);
    gives(f, (double[V]){ 0, exp(1.5) / rest, exp(1) / rest, exp(1) / rest });
    f.temperature = 0;
    gives(f, (double[V]){ 0, 1 });
}

/* Of equals the lowest ids stay, by every filter that counts. */
static void test_ties(void **state)
{
    (void)state;
    const real equal[4] = { 0, 3, 3, 3 };
    struct text none = { 0 };
    struct filter likeliest = at(0), two = at(1), share = at(1), all = at(1);
    double p[4];
    generate_chances(&likeliest, equal, 4, &none, p);
    assert_true(p[0] == 0 && p[1] == 1 && p[2] == 0 && p[3] == 0);
    two.top_k = 2;
    generate_chances(&two, equal, 4, &none, p);
    assert_true(p[0] == 0 && p[1] == 0.5 && p[2] == 0.5 && p[3] == 0);
    share.top_k = 3;
    share.top_p = 0.5;
    generate_chances(&share, equal, 4, &none, p);
    assert_true(p[0] == 0 && p[1] == 0.5 && p[2] == 0.5 && p[3] == 0);
    all.min_p = 1;
    generate_chances(&all, equal, 4, &none, p);
    assert_true(p[0] == 0 && p[1] == p[2] && p[2] == p[3] && p[3] > 0);
}

/* Repetition is of the set of tokens, prompt and all; frequency and presence of those behind it. */
static void test_penalties(void **state)
{
    (void)state;
    int32_t ids[] = { 0, 5, 5, 2, 2 };
    struct text said = { .ids = ids, .n = 3, .prompt = 3 };
    struct filter f = at(1);
    double p[V], want[V] = { 1.538462, 1.5, 1, 1, 0, -1.3 }, all = 0;
    f.repetition = 1.3;
    generate_chances(&f, logits, V, &said, p);
    for (int v = 0; v < V; v++) all += exp(want[v]);
    for (int v = 0; v < V; v++) assert_true(fabs(p[v] - exp(want[v]) / all) < 1e-6);
    f = at(1);
    f.frequency = 0.25;
    f.presence = 0.5;
    said.n = 5;
    generate_chances(&f, logits, V, &said, p);
    assert_true(fabs(log(p[0] / p[2]) - (2 - (1 - 2 * 0.25 - 0.5))) < 1e-6);
    assert_true(fabs(log(p[0] / p[5]) - 3) < 1e-6);
}

/* By the key's own numbers, which other programs can draw, too. */
static void test_lots(void **state)
{
    (void)state;
    struct text t = { .seed = 7, .number = 3 };
    assert_true(fabs(generate_lot(&t, 0, LOT_TOKEN) - .415022043415) < 1e-12);
    assert_true(fabs(generate_lot(&t, 0, LOT_DRAFT) - .327166062941) < 1e-12);
    assert_true(fabs(generate_lot(&t, 5, LOT_TEST) - .609345856369) < 1e-12);
    assert_true(fabs(generate_lot(&t, 5, LOT_INSTEAD) - .456532454932) < 1e-12);
}

static void test_picks(void **state)
{
    (void)state;
    const double chance[] = { 0, 0.25, 0, 0.5, 0.25, 0 };
    assert_int_equal(generate_pick(chance, V, 1e-12), 1);
    assert_int_equal(generate_pick(chance, V, 0.2499), 1);
    assert_int_equal(generate_pick(chance, V, 0.25), 3);
    assert_int_equal(generate_pick(chance, V, 0.7499), 3);
    assert_int_equal(generate_pick(chance, V, 0.75), 4);
    assert_int_equal(generate_pick(chance, V, 1), 4);
}

/* Chi-square of many draws, over prompts and over positions, against the example's chances. */
static void test_distribution(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct filter f = at(0.7);
    f.top_k = 4;
    for (int way = 0; way < 2; way++) {
        int count[V] = { 0 };
        double p[V], chi = 0;
        for (int i = 0; i < N; i++) {
            struct text t = { .seed = 1, .number = way ? (uint64_t)i : 0 };
            generate_chances(&f, logits, V, &t, p);
            count[generate_pick(p, V, generate_lot(&t, way ? 0 : i, LOT_TOKEN))]++;
        }
        for (int v = 0; v < 4; v++) chi += pow(count[v] - N * p[v], 2) / (N * p[v]);
        assert_int_equal(count[4] + count[5], 0);
        assert_true(chi < 16.27);                           /* p = 0.001, three degrees of freedom */
    }
}

/* ---- ends ---- */

/* Adds letters until the text ends; how many it took. */
static int64_t adds(struct text *t, int32_t *ids, const char *prompt, const char *letters, const struct limits *l)
{
    *t = (struct text){ .ids = ids, .n = (int64_t)strlen(prompt), .prompt = (int64_t)strlen(prompt) };
    for (int64_t i = 0; i < t->n; i++) ids[i] = (unsigned char)prompt[i];
    t->kept = t->n;
    for (int64_t i = 0; letters[i]; i++)
        if (!generate_add(t, (unsigned char)letters[i], l)) return i + 1;
    return -1;
}

static void test_stops(void **state)
{
    (void)state;
    static const struct { const char *prompt, *letters; const char *stop[3]; int64_t taken, kept; } cases[] = {
        { "q", "aaab..", { "aab" }, 4, 1 },                 /* over a false start */
        { "aa", "bxaab", { "aab" }, 5, 2 },                 /* not with letters of the prompt */
        { "", "one END", { "END" }, 7, 4 },
        { "", "abcd", { "d", "bcd" }, 4, 1 },               /* of those that end at once the one that began first */
        { "", "abcd", { "abcd", "bc" }, 3, 1 },             /* that which ends first */
        { "", "x\xc3\xa9y", { "\xc3\xa9" }, 3, 1 },
        { "", "abab", { "abc" }, -1, 4 },
    };
    for (int i = 0; i < COUNT(cases); i++) {
        struct limits l = { 100, 100, -1, cases[i].stop };
        int32_t ids[32];
        struct text t;
        assert_int_equal(adds(&t, ids, cases[i].prompt, cases[i].letters, &l), cases[i].taken);
        assert_int_equal(t.ending, cases[i].taken < 0 ? ENDING_NONE : ENDING_STOP);
        assert_int_equal(t.kept - t.prompt, cases[i].kept);
    }
}

static void test_ends(void **state)
{
    (void)state;
    int32_t ids[32];
    struct text t;
    struct limits tokens = { 3, 100, -1, NULL }, context = { 9, 5, -1, NULL }, eos = { 9, 9, 'e', NULL };
    assert_int_equal(adds(&t, ids, "ab", "cdef", &tokens), 3);
    assert_true(t.ending == ENDING_TOKENS && t.kept == 5 && generate_most(&t, &tokens) == 5);
    assert_int_equal(adds(&t, ids, "ab", "cdef", &context), 3);
    assert_true(t.ending == ENDING_CONTEXT && t.kept == 5 && generate_most(&t, &context) == 5);
    assert_int_equal(adds(&t, ids, "ae", "cdef", &eos), 3);
    assert_true(t.ending == ENDING_EOS && t.kept == 4);
}

static void test_held(void **state)
{
    (void)state;
    static const char *const stop[] = { "aab", "\n\n", NULL };
    static const struct { const char *letters; int64_t held; } cases[] = {
        { "x", 0 }, { "xa", 1 }, { "xaa", 2 }, { "xaaa", 2 }, { "xaac", 0 }, { "x\n", 1 }, { "x\n\n", 2 },
        { "x\xc3", 1 }, { "x\xc3\xa9", 0 }, { "\xe2\x82", 2 }, { "\xe2\x82\xac", 0 }, { "\xf0\x9f\x98", 3 },
        { "\xf0\x9f\x98\x80", 0 }, { "\x80\x80", 0 }, { "\xff", 0 },
    };
    struct limits l = { 100, 100, -1, stop };
    for (int i = 0; i < COUNT(cases); i++) {
        int32_t ids[32];
        struct text t;
        adds(&t, ids, "a", cases[i].letters, &l);
        if (generate_held(&t, &l) != cases[i].held)
            fail_msg("case %d: %d are held, not %d", i, (int)generate_held(&t, &l), (int)cases[i].held);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(temperatures), RUN(filters),      RUN(forbidden), RUN(ties), RUN(penalties),
                                        RUN(lots),         RUN(picks),        RUN(distribution), RUN(stops), RUN(ends),
                                        RUN(held) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
