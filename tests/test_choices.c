/* What choices of experts say, on choices that were planted: random ones give what chance gives, those by an id or of a
   constant router what can be counted by hand. */
#include "choices.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 6000, E = 12, K = 3, IDS = 40 };

static void near(double got, double want, double within)
{
    if (!(fabs(got - want) <= within)) fail_msg("got %.9g, want %.9g within %g", got, want, within);
}

static struct route route_new(int rows, int experts, int k)
{
    struct route r = { .name = "ffn", .experts = experts, .k = k, .rows = rows, .largest_keys = true };
    r.at = xcalloc((size_t)rows, sizeof *r.at);
    r.index = xcalloc((size_t)(rows * k), sizeof *r.index);
    r.gate = xcalloc((size_t)(rows * k), sizeof *r.gate);
    r.first = xcalloc((size_t)rows, sizeof *r.first);
    r.margin = xcalloc((size_t)rows, sizeof *r.margin);
    r.edge = xcalloc((size_t)rows, sizeof *r.edge);
    for (int i = 0; i < rows; i++) r.at[i] = i;
    return r;
}

static void route_free(struct route *r)
{
    free(r->at);
    free(r->index);
    free(r->gate);
    free(r->first);
    free(r->margin);
    free(r->edge);
}

/* K different experts, the seed's. */
static void draw_row(struct route *r, int row, uint64_t seed)
{
    int order[64];
    struct key key = { seed, PURPOSE_TEST, hash_name("choices"), 0 };
    for (int i = 0; i < r->experts; i++) order[i] = i;
    for (int j = 0; j < r->k; j++) {
        int other = j + (int)key_below(key, (uint64_t)j, (uint64_t)(r->experts - j)), got = order[other];
        order[other] = order[j];
        r->index[row * r->k + j] = got;
    }
    r->first[row] = r->index[row * r->k];
}

static struct route random_route(uint64_t seed)
{
    struct route r = route_new(ROWS, E, K);
    for (int i = 0; i < ROWS; i++) draw_row(&r, i, seed * ROWS + (uint64_t)i);
    return r;
}

static int32_t *ids_of(void)
{
    int32_t *id = xcalloc(ROWS, sizeof *id);
    for (int i = 0; i < ROWS; i++)
        id[i] = (int32_t)key_below((struct key){ 3, PURPOSE_TEST, hash_name("ids"), 0 }, (uint64_t)i, IDS);
    return id;
}

/* The same experts for every token of an id. */
static struct route route_by_id(const int32_t *id)
{
    struct route r = route_new(ROWS, E, K);
    for (int i = 0; i < ROWS; i++) draw_row(&r, i, (uint64_t)id[i]);
    r.keyless = true;
    return r;
}

static struct route constant_route(void)
{
    struct route r = route_new(ROWS, E, K);
    for (int i = 0; i < ROWS * K; i++) r.index[i] = i % K;
    return r;
}

static void test_random(void **state)
{
    (void)state;
    struct route r = random_route(1), other = random_route(2);
    int32_t *id = ids_of();
    double chance, together[E * E], mean = 0, most = 0;
    near(choices_shared(&r, &other, &chance), K / (double)E, 0.015);            /* 4 standard errors are 0.0129 */
    near(chance, K / (double)E, 1e-12);
    near(choices_together(&r, false, together), (K - 1) / (double)(E - 1), 1e-12);
    for (int i = 0; i < E * E; i++) {
        if (i / E == i % E) { near(together[i], 0, 0); continue; }
        mean += together[i] / (E * (E - 1));
        most = fmax(most, fabs(together[i] - (K - 1) / (double)(E - 1)));
    }
    near(mean, (K - 1) / (double)(E - 1), 1e-3);
    assert_true(most > 0.005 && most < 0.05);               /* of 1500 tokens: a standard error of 0.01, 132 times */
    near(choices_together(&r, true, together), 2.0 / K * (K - 1) / (E - 1), 1e-12);
    int64_t ids;
    double said = choices_vocabulary(&r, id, &chance, &ids);
    near(said, chance, 0.01);
    near(chance, 1.0 / E, 0.07);                            /* the largest of 12 shares of 150 tokens */
    assert_int_equal(ids, IDS);
    said = choices_path(&r, &other, &chance);
    near(said, chance, 0.004);
    near(chance, (E - 1) * (E - 1) / (2.0 * ROWS), 1e-12);
    route_free(&r);
    route_free(&other);
    free(id);
}

/* A row's pairs are K (K - 1), whatever it chooses. */
static void test_sums_of_pairs(void **state)
{
    (void)state;
    struct route r = random_route(1);
    double together[E * E], count[E], pairs = 0, neighbours = 0;
    near(choices_count(&r, count), ROWS * K, 0);
    choices_together(&r, false, together);
    for (int i = 0; i < E; i++) {
        double sum = 0;
        for (int j = 0; j < E; j++) sum += together[i * E + j];
        near(sum, K - 1, 1e-12);
        for (int j = 0; j < E; j++) near(together[i * E + j] * count[i], together[j * E + i] * count[j], 1e-9);
        pairs += sum * count[i];
    }
    near(pairs, ROWS * K * (K - 1), 1e-6);
    choices_together(&r, true, together);
    for (int i = 0; i < E * E; i++) neighbours += together[i] * count[i / E];
    near(neighbours, ROWS * 2 * (K - 1), 1e-6);
    route_free(&r);
}

static void test_by_id(void **state)
{
    (void)state;
    int32_t *id = ids_of();
    struct route r = route_by_id(id), same = route_by_id(id);
    int64_t ids;
    double chance;
    near(choices_shared(&r, &same, &chance), 1, 0);
    near(choices_vocabulary(&r, id, &chance, &ids), 1, 0);
    assert_true(chance < 0.5);
    /* An id that occurs nine times says nothing; ten times says all */
    int32_t *few = xcalloc(ROWS, sizeof *few);
    for (int i = 0; i < ROWS; i++) few[i] = i < 9 ? 1 : i < 19 ? 2 : -1;
    for (int i = 9; i < 19; i++) r.first[i] = i < 16 ? 4 : 5;
    near(choices_vocabulary(&r, few, &chance, &ids), 0.7, 1e-12);
    assert_int_equal(ids, 1);
    route_free(&r);
    route_free(&same);
    free(few);
    free(id);
}

static void test_constant(void **state)
{
    (void)state;
    struct route r = constant_route();
    int32_t *id = ids_of();
    int64_t ids;
    double chance, together[E * E];
    near(choices_shared(&r, &r, &chance), 1, 0);
    choices_together(&r, false, together);
    for (int i = 0; i < E; i++)
        for (int j = 0; j < E; j++)
            if (i >= K) assert_true(isnan(together[i * E + j]));
            else near(together[i * E + j], i != j && j < K, 0);
    choices_together(&r, true, together);
    near(together[1], 1, 0);
    near(together[2], 0, 0);                                /* first and third are no neighbours */
    near(choices_vocabulary(&r, id, &chance, &ids), 1, 0);
    near(chance, 1, 0);
    near(choices_path(&r, &r, &chance), 0, 1e-12);
    route_free(&r);
    free(id);
}

/* Experts choose: a token has any number of them, some none. */
static void test_uneven(void **state)
{
    (void)state;
    static const int32_t now[4][3] = { { 0, 1, 2 }, { -1, 1, -1 }, { -1, -1, -1 }, { 0, -1, 2 } },
                         last[4][3] = { { 0, -1, 2 }, { -1, 1, 2 }, { 0, -1, -1 }, { -1, -1, -1 } };
    struct route r = route_new(4, 3, 3), to = route_new(4, 3, 3);
    double chance, together[9];
    memcpy(r.index, now, sizeof now);
    memcpy(to.index, last, sizeof last);
    near(choices_shared(&r, &to, &chance), 3 / 5.0, 1e-15);                     /* 2 of 2, 1 of 2, 0 of 1 */
    near(chance, (2 * 3 + 2 * 1 + 1 * 0) / 3.0 / 5, 1e-15);
    near(choices_together(&r, false, together), (3 * 2 + 2 * 1) / 6.0 / 2, 1e-15);
    near(together[0 * 3 + 2], 1, 0);
    near(together[1 * 3 + 0], 0.5, 0);
    near(together[2 * 3 + 1], 0.5, 0);
    route_free(&r);
    route_free(&to);
}

static void test_other_rows(void **state)
{
    (void)state;
    struct route r = random_route(1), other = random_route(1);
    double chance;
    other.at[5] = 7;
    assert_true(isnan(choices_shared(&r, &other, &chance)));
    assert_true(isnan(choices_path(&r, &other, &chance)));
    other.rows--;
    assert_true(isnan(choices_shared(&r, &other, &chance)));
    route_free(&r);
    route_free(&other);
}

static void test_margins(void **state)
{
    (void)state;
    static const float margin[] = { 0, 0x1p-21f, 0x1p-20f, 0.001f, 0.5f, 3.9f, 4, 100, NAN },
                       edge[] = { 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, -2000, 0.5f, NAN };
    struct route r = route_new(COUNT(margin), 8, 2);
    memcpy(r.margin, margin, sizeof margin);
    memcpy(r.edge, edge, sizeof edge);
    struct margins m = choices_margins(&r, 0.002);
    int64_t all = 0;
    assert_true(m.known);
    near(m.mean, (0x1p-21 + 0x1p-20 + 0.001 + 0.5 + 3.9 + 104) / 8, 1e-6);
    near(m.median, (0.001 + 0.5) / 2, 1e-6);
    near(m.rounded, 5 / 8.0, 0);                            /* below 0.5 / 256, and 4 below 2000 / 256 */
    near(m.reached, 4 / 8.0, 0);
    assert_int_equal(m.bin[0], 2);
    assert_int_equal(m.bin[1], 1);
    assert_int_equal(m.bin[MARGIN_BINS], 3);
    for (int i = 0; i <= MARGIN_BINS; i++) all += m.bin[i];
    assert_int_equal(all, 8);
    near(choices_bin(1), 0x1p-20, 0);
    near(choices_bin(MARGIN_BINS + 1), 4, 1e-12);
    assert_true(isnan(choices_margins(&r, NAN).reached));
    for (int i = 0; i < COUNT(margin); i++) r.margin[i] = NAN;
    assert_false(choices_margins(&r, 1).known);
    route_free(&r);
}

/* Two of four experts, by the keys or not. */
static void test_judged(void **state)
{
    (void)state;
    static const double key[] = { 0.5, 0.9, 0.1, 0.7 };
    static const struct { int32_t index[2]; bool keyless, largest_keys; int first; double edge, margin; } rows[] = {
        { { 1, 3 }, false, true, 1, 0.7, 0.2 },
        { { 3, 1 }, false, true, 1, 0.7, 0.2 },
        { { 2, 0 }, true, false, 2, NAN, NAN },             /* by the id: the first is who stands first */
        { { 2, 0 }, false, false, 0, NAN, NAN },            /* experts chose it: the first is who likes it most */
        { { -1, 2 }, false, false, 2, NAN, NAN },
        { { -1, -1 }, false, true, -1, NAN, NAN },
    };
    for (int i = 0; i < COUNT(rows); i++) {
        struct route r = route_new(1, 4, 2);
        bool taken[4] = { false };
        r.keyless = rows[i].keyless;
        r.largest_keys = rows[i].largest_keys;
        memcpy(r.index, rows[i].index, sizeof rows[i].index);
        routes_judge(&r, 0, key, taken);
        assert_int_equal(r.first[0], rows[i].first);
        for (int k = 0; k < 2; k++) {
            double got = (double)(k ? r.margin : r.edge)[0], want = k ? rows[i].margin : rows[i].edge;
            if (isnan(want)) assert_true(isnan(got));
            else near(got, want, 1e-6);
        }
        for (int e = 0; e < 4; e++) assert_false(taken[e]);
        route_free(&r);
    }
    struct route all = route_new(1, 2, 2);                  /* who takes all leaves none to compare with */
    bool taken[2] = { false };
    all.index[1] = 1;
    routes_judge(&all, 0, key, taken);
    assert_true(isnan(all.margin[0]) && all.first[0] == 1);
    route_free(&all);
}

static void test_gates(void **state)
{
    (void)state;
    struct route r = route_new(3, 4, 2);
    static const int32_t index[] = { 0, 1, 2, -1, -1, -1 };
    static const float gate[] = { 0.75f, 0.25f, 0.5f, 9, 9, 9 };                /* what is not chosen has no gate */
    memcpy(r.index, index, sizeof index);
    memcpy(r.gate, gate, sizeof gate);
    struct gates g = choices_gates(&r);
    near(g.largest, 1.25 / 2, 1e-12);
    near(g.sum, 1.5 / 2, 1e-12);
    near(g.most, 0.75, 1e-12);
    near(g.effective, (exp(-(0.75 * log(0.75) + 0.25 * log(0.25))) + 1) / 2, 1e-12);
    route_free(&r);
}

/* What follows from the first router's choice is known by all of its entropy. */
static void test_path(void **state)
{
    (void)state;
    struct route r = random_route(1), later = random_route(1);
    double chance, count[E] = { 0 }, entropy = 0;
    for (int i = 0; i < ROWS; i++) {
        later.first[i] = (r.first[i] * 5 + 2) % E;
        count[r.first[i]]++;
    }
    for (int e = 0; e < E; e++) entropy -= count[e] / ROWS * log(count[e] / ROWS);
    near(choices_path(&r, &later, &chance), entropy, 1e-12);
    route_free(&r);
    route_free(&later);
}

/* Ids below 10 have the first three experts, the others the rest: a class says which, and no more. */
static void test_class(void **state)
{
    (void)state;
    struct route r = random_route(1);
    int32_t *id = ids_of();
    int class[IDS], below = 0;
    double chance, count[2] = { 0 }, entropy = 0;
    for (int i = 0; i < IDS; i++) class[i] = i >= 10;
    for (int i = 0; i < ROWS; i++) {
        r.first[i] = id[i] < 10 ? i % 3 : 3 + i % (E - 3);
        count[class[id[i]]]++;
        below += id[i] < 10;
    }
    assert_true(below > 1000 && below < 2000);
    for (int i = 0; i < 2; i++) entropy -= count[i] / ROWS * log(count[i] / ROWS);
    near(choices_class(&r, id, class, 2, &chance), entropy, 1e-12);
    near(chance, (E - 1) / (2.0 * ROWS), 1e-12);
    for (int i = 0; i < IDS; i++) class[i] = i % 2;         /* and one that has nothing to do with it says nothing */
    assert_true(choices_class(&r, id, class, 2, &chance) < 5 * chance);
    route_free(&r);
    free(id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random), cmocka_unit_test(test_sums_of_pairs), cmocka_unit_test(test_by_id),
        cmocka_unit_test(test_constant), cmocka_unit_test(test_uneven), cmocka_unit_test(test_other_rows),
        cmocka_unit_test(test_margins), cmocka_unit_test(test_gates), cmocka_unit_test(test_path),
        cmocka_unit_test(test_class), cmocka_unit_test(test_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
