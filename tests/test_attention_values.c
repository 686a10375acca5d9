/* Values and laws of what attention may have beside queries and keys: sinks, a cap, biases of distance, chunks; values
   within keys. */
#include "op_check.h"

enum { B = 2, S = 150, CACHE = S + 9, NEW = 3 };
static int32_t none(int64_t i) { (void)i; return 0; }
static int32_t documents(int64_t i) { return i % S < 41 ? 0 : i % S < 100 ? 41 : 100; }
static int32_t late(int64_t i) { (void)i; return 100; }
static int32_t after(int64_t i) { return i < S ? S : 0; }   /* the first sequence's documents begin after it */

#define STARTS(of) .start = count_in(g, SHAPE(B, S), of)
#define EXTRAS(tokens) .window = 60, .chunk = 37, .softcap = 1.5, .sink = real_in(g, 4), .rel = act_in(g, tokens, 4, 20)
#define WITHIN .q = act_in(g, B * S, 4, 8), .k = act_in(g, B * S, 2, 8), STARTS(documents), .scale = 0.4
#define FOUR \
    .q = real_in(g, 4, 2, 4), .k = real_in(g, 4, 1, 4), .v = real_in(g, 4, 1, 4), \
    .start = count_in(g, SHAPE(1, 4), none), .scale = 0.5
#define USUAL QKV(B * S, 4, 2, 8), STARTS(documents), .scale = 0.4
#define HERE(CASE) \
    CASE(attention, golden, ATTEND(FOUR)) \
    CASE(attention, golden_cap, ATTEND(FOUR, .softcap = 0.5)) \
    CASE(attention, golden_sink, ATTEND(FOUR, .sink = real_in(g, 2))) \
    CASE(attention, golden_token_sink, ATTEND(FOUR, .sink = real_in(g, 4, 2))) \
    CASE(attention, golden_chunk, ATTEND(FOUR, .chunk = 2)) \
    CASE(attention, golden_bias, ATTEND(FOUR, .rel = real_in(g, 4, 2, 3))) \
    CASE(attention, golden_all, ATTEND(FOUR, .softcap = 0.5, .sink = real_in(g, 4, 2), .rel = real_in(g, 4, 2, 3))) \
    CASE(attention, plain, ATTEND(USUAL)) \
    CASE(attention, within, ATTEND(WITHIN, .values = 5, EXTRAS(B * S))) \
    CASE(attention, apart, ATTEND(WITHIN, .v = act_in(g, B * S, 2, 5), EXTRAS(B * S))) \
    CASE(attention, sink, ATTEND(USUAL, .sink = real_in(g, 4))) \
    CASE(attention, token_sink, ATTEND(USUAL, .sink = real_in(g, B * S, 4))) \
    CASE(attention, blind_sink, ATTEND(QKV(B * S, 4, 2, 8), STARTS(after), .scale = 0.4, .sink = real_in(g, 4))) \
    CASE(attention, high_cap, ATTEND(USUAL, .softcap = 1e6)) \
    CASE(attention, low_cap, ATTEND(USUAL, .softcap = 0.1)) \
    CASE(attention, bias, ATTEND(USUAL, .rel = act_in(g, B * S, 4, 20))) \
    CASE(attention, wide_bias, ATTEND(USUAL, .rel = act_in(g, B * S, 4, S))) \
    CASE(attention, chunk_of_all, ATTEND(USUAL, .chunk = S)) \
    CASE(attention, chunk_of_one, ATTEND(USUAL, .chunk = 1)) \
    CASE(attention, chunks, ATTEND(USUAL, .chunk = 30)) \
    CASE(attention, all, ATTEND(USUAL, EXTRAS(B * S))) \
    CASE(attention, step, ATTEND(.q = act_in(g, B * NEW, 4, 8), .k = act_in(g, B, CACHE, 2, 8), \
         .v = act_in(g, B, CACHE, 2, 8), .start = count_in(g, SHAPE(B, NEW), late), \
         .pos = int_in(g, SHAPE(1), S - NEW), .scale = 0.4, EXTRAS(B * NEW))) \
    CASE(attention, few, ATTEND(.q = act_in(g, 2, 4, 8), .k = act_in(g, 1, 70, 4, 8), .v = act_in(g, 1, 70, 4, 8), \
         .start = int_in(g, SHAPE(1, 2), 0, 3), .pos = int_in(g, SHAPE(1), 60), .scale = 0.4)) \
    CASE(attention, few_sink, ATTEND(.q = act_in(g, 2, 4, 8), .k = act_in(g, 1, 70, 4, 8), \
         .v = act_in(g, 1, 70, 4, 8), .start = int_in(g, SHAPE(1, 2), 0, 3), .pos = int_in(g, SHAPE(1), 60), \
         .scale = 0.4, .sink = real_in(g, 4)))
HERE(BENCH_BUILD)

static void wave(const struct tensor *t, double a, double b)
{
    for (int64_t i = 0; i < shape_count(t->shape); i++) tensor_set(t, i, sin(a * (double)i + b));
}

static void fill(const struct tensor *t, double value)
{
    for (int64_t i = 0; i < shape_count(t->shape); i++) tensor_set(t, i, value);
}

/* Both agree within a bound. */
static void near(const struct tensor *x, const struct tensor *y, double bound)
{
    assert_true(shape_equal(x->shape, y->shape));
    for (int64_t i = 0; i < shape_count(x->shape); i++)
        if (!(fabs(tensor_get(x, i) - tensor_get(y, i)) <= bound))
            fail_msg("value %lld: %.9g and %.9g", (long long)i, tensor_get(x, i), tensor_get(y, i));
}

/* ---- golden values ---- */

static void waves(struct bench *b)
{
    wave(&b->in[0], 0.7, 0.1);
    wave(&b->in[1], 0.9, 0.2);
    wave(&b->in[2], 1.1, 0.3);
    wave(&b->dout[0], 0.3, 0.9);
}

/* r P of a bank P [2,3] and features r [4,2,2]. */
static void bank(const struct tensor *rel)
{
    for (int i = 0; i < 4 * 2 * 3; i++) {
        double sum = 0;
        for (int d = 0; d < 2; d++) sum += sin(0.6 * (i / 3 * 2 + d) + 0.5) * sin(0.5 * (d * 3 + i % 3) + 0.4);
        tensor_set(rel, i, sum);
    }
}

#define LAST_ROW(b, ...) last_row(&(b), (double[]){ __VA_ARGS__ })
static void last_row(struct bench *b, const double *want)
{
    bench_forward(b);
    struct tensor row = { .data = reals(&b->out[0]) + 24, .shape = SHAPE(8), .format = FORMAT_REAL };
    see(&row, 8, want, 2e-6);
}

static void test_golden(void **state)
{
    (void)state;
    OPEN(plain, attention, golden);
    OPEN(cap, attention, golden_cap);
    OPEN(chunk, attention, golden_chunk);
    OPEN(bias, attention, golden_bias);
    waves(&plain), waves(&cap), waves(&chunk), waves(&bias);
    LAST_ROW(plain, -.101519, .168017, .253943, .062358, .271015, .209145, -.081281, -.282882);
    LAST_ROW(cap, .009464, .192679, .165333, -.04269, .202239, .175914, -.042652, -.214607);
    same(&plain.out[1], &cap.out[1]);                       /* logit_max is that before the cap */
    bank(&bias.in[6]);
    LAST_ROW(bias, -.101555, .119002, .209513, .071066, .240524, .073441, -.173899, -.231201);
    bench_forward(&chunk);
    const double v[] = { .319098, -.699875, -.954019, -.165604 };
    for (int i = 0; i < 4; i++) assert_true(fabs(tensor_get(&chunk.out[0], 16 + i) - v[i]) < 2e-6);
    bench_close(&plain), bench_close(&cap), bench_close(&chunk), bench_close(&bias);
}

static void test_golden_sinks(void **state)
{
    (void)state;
    OPEN(head, attention, golden_sink);
    OPEN(token, attention, golden_token_sink);
    OPEN(all, attention, golden_all);
    waves(&head), waves(&token), waves(&all);
    PUT(head, 5, .5, -1);
    LAST_ROW(head, -.078348, .129668, .195982, .048125, .254581, .196462, -.076352, -.265728);
    SEE(head.out[2], 2e-6, (.406175 + .392397 + .350063 + .228246) / 4, (.426699 + .186695 + .072262 + .06064) / 4);
    PUT(token, 5, .5, -1, 0, .2, 1, 1, -.3, .7);
    LAST_ROW(token, -.089611, .148309, .224155, .055043, .200252, .154536, -.060058, -.20902);
    PUT(all, 5, .5, -1, 0, .2, 1, 1, -.3, .7);
    bank(&all.in[6]);
    bench_forward(&all);
    bench_backward(&all);
    SEE(all.din[5], 2e-6, -.328998, -.184844, .139873, .167919, -.047123, .008061, -.009086, -.032802);
    bench_close(&head), bench_close(&token), bench_close(&all);
}

/* ---- what is as if it were not there ---- */

static void run(struct bench *b)
{
    bench_forward(b);
    bench_backward(b);
}

static void same_results(const struct bench *x, const struct bench *y)
{
    for (int i = 0; i < 2; i++) same(&x->out[i], &y->out[i]);
    for (int i = 0; i < 3; i++) same(&x->din[i], &y->din[i]);
}

static void test_bits_of_none(void **state)
{
    (void)state;
    OPEN(plain, attention, plain);
    OPEN(sink, attention, sink);
    OPEN(bias, attention, bias);
    OPEN(chunk, attention, chunk_of_all);
    fill(&sink.in[5], -INFINITY);
    fill(&bias.in[6], 0);
    run(&plain), run(&sink), run(&bias), run(&chunk);
    same_results(&plain, &sink);
    same_results(&plain, &bias);
    same_results(&plain, &chunk);
    for (int h = 0; h < 4; h++) assert_true(tensor_get(&sink.out[2], h) == 0 && tensor_get(&sink.din[5], h) == 0);
    bench_close(&plain), bench_close(&sink), bench_close(&bias), bench_close(&chunk);
    OPEN(few, attention, few);
    OPEN(few_sink, attention, few_sink);
    fill(&few_sink.in[5], -INFINITY);
    run(&few), run(&few_sink);
    same_results(&few, &few_sink);
    bench_close(&few), bench_close(&few_sink);
}

static void test_high_cap(void **state)
{
    (void)state;
    OPEN(plain, attention, plain);
    OPEN(cap, attention, high_cap);
    run(&plain), run(&cap);
    same(&plain.out[1], &cap.out[1]);
    near(&plain.out[0], &cap.out[0], 2e-6);
    for (int i = 0; i < 3; i++) near(&plain.din[i], &cap.din[i], 1e-5);
    bench_close(&plain), bench_close(&cap);
}

/* Weights of scores within [-c, c] differ by a factor of at most e^2c: each is near 1 / keys. */
static void test_low_cap(void **state)
{
    (void)state;
    OPEN(b, attention, low_cap);
    for (int64_t t = 0; t < B * S; t++)
        for (int64_t i = 0; i < 16; i++) tensor_set(&b.in[2], t * 16 + i, t % S == 0);
    for (int64_t i = 0; i < shape_count(b.in[0].shape); i++) tensor_set(&b.in[0], i, 100 * tensor_get(&b.in[0], i));
    bench_forward(&b);
    for (int64_t t = 0; t < B * S; t++)
        for (int64_t i = 0; i < 32 && t % S < 41; i++) {
            double p = tensor_get(&b.out[0], t * 32 + i) * (double)(t % S + 1);
            assert_true(p >= exp(-.2) - 1e-5 && p <= exp(.2) + 1e-5);
        }
    bench_close(&b);
}

/* ---- sinks ---- */

static void test_sink_of_each_token(void **state)
{
    (void)state;
    OPEN(head, attention, sink);
    OPEN(token, attention, token_sink);
    for (int64_t i = 0; i < B * S * 4; i++) tensor_set(&token.in[5], i, tensor_get(&head.in[5], i % 4));
    run(&head), run(&token);
    same_results(&head, &token);
    same(&head.out[2], &token.out[2]);
    for (int64_t h = 0; h < 4; h++) {
        double sum = 0;
        for (int64_t t = 0; t < B * S; t++) sum += tensor_get(&token.din[5], t * 4 + h);
        assert_true(fabs(sum - tensor_get(&head.din[5], h)) < 1e-5);
    }
    bench_close(&head), bench_close(&token);
}

/* Values of 1 sum to what the sink leaves. A large sink takes all, and no gradient goes to the keys. */
static void test_mass(void **state)
{
    (void)state;
    OPEN(b, attention, sink);
    fill(&b.in[2], 1);
    bench_forward(&b);
    for (int64_t h = 0; h < 4; h++) {
        double mean = 0;
        for (int64_t t = 0; t < B * S; t++) mean += (1 - tensor_get(&b.out[0], (t * 4 + h) * 8)) / (B * S);
        assert_true(fabs(mean - tensor_get(&b.out[2], h)) < 1e-6);
    }
    fill(&b.in[5], 1e4);
    run(&b);
    for (int64_t i = 0; i < shape_count(b.out[0].shape); i++) assert_true(tensor_get(&b.out[0], i) == 0);
    for (int64_t i = 0; i < shape_count(b.din[1].shape); i++) assert_true(tensor_get(&b.din[1], i) == 0);
    for (int64_t h = 0; h < 4; h++) assert_true(tensor_get(&b.out[2], h) == 1);
    bench_close(&b);
}

/* A row that sees no key gives all to its sink: 0, and no gradient. The other half of the tokens sees some. */
static void test_blind(void **state)
{
    (void)state;
    OPEN(b, attention, blind_sink);
    run(&b);
    for (int64_t i = 0; i < S * 32; i++) assert_true(tensor_get(&b.out[0], i) == 0 && tensor_get(&b.din[0], i) == 0);
    for (int64_t h = 0; h < 4; h++) assert_true(tensor_get(&b.out[2], h) > 0.5 && tensor_get(&b.out[2], h) < 1);
    bench_close(&b);
}

/* ---- values within keys ---- */

/* As if they were given; what reaches them is added to the gradients of their keys. */
static void test_within(void **state)
{
    (void)state;
    OPEN(within, attention, within);
    OPEN(apart, attention, apart);
    for (int64_t i = 0; i < B * S * 2 * 5; i++)
        tensor_set(&apart.in[2], i, tensor_get(&within.in[1], i / 5 * 8 + i % 5));
    run(&within), run(&apart);
    for (int i = 0; i < 3; i++) same(&within.out[i], &apart.out[i]);
    same(&within.din[0], &apart.din[0]);
    same(&within.din[5], &apart.din[5]);
    same(&within.din[6], &apart.din[6]);
    for (int64_t i = 0; i < B * S * 2 * 8; i++) {
        double want = tensor_get(&apart.din[1], i);
        if (i % 8 < 5) want += tensor_get(&apart.din[2], i / 8 * 5 + i % 8);
        assert_true(fabs(tensor_get(&within.din[1], i) - want) <= 1e-6 * fmax(1, fabs(want)));
    }
    bench_close(&within), bench_close(&apart);
}

/* ---- biases, chunks, caches ---- */

/* One bias for all distances is none. */
static void test_even_bias(void **state)
{
    (void)state;
    OPEN(plain, attention, plain);
    OPEN(bias, attention, wide_bias);
    for (int64_t i = 0; i < shape_count(bias.in[6].shape); i++) tensor_set(&bias.in[6], i, sin((double)(i / S)));
    run(&plain), run(&bias);
    near(&plain.out[0], &bias.out[0], 2e-6);
    for (int64_t row = 0; row < B * S * 4; row++) {         /* and its slopes sum to 0 */
        double sum = 0;
        for (int64_t d = 0; d < S; d++) sum += tensor_get(&bias.din[6], row * S + d);
        assert_true(fabs(sum) < 1e-5);
    }
    bench_close(&plain), bench_close(&bias);
}

/* Token 29, the last of a chunk, reaches no row after it, in forward or backward; a chunk of one gives v. */
static void test_chunks(void **state)
{
    (void)state;
    OPEN(one, attention, chunk_of_one);
    bench_forward(&one);
    for (int64_t i = 0; i < shape_count(one.out[0].shape); i++) {
        int64_t t = i / 32, h = i / 8 % 4;
        assert_true(tensor_get(&one.out[0], i) == tensor_get(&one.in[2], (t * 2 + h / 2) * 8 + i % 8));
    }
    bench_close(&one);
    OPEN(before, attention, chunks);
    OPEN(after, attention, chunks);
    for (int input = 0; input < 3; input++)
        for (int64_t i = 0, row = input ? 16 : 32; i < row; i++) tensor_set(&after.in[input], 29 * row + i, 3);
    run(&before), run(&after);
    size_t done = 30 * 32 * sizeof(real);
    assert_memory_equal(reals(&before.out[0]) + 30 * 32, reals(&after.out[0]) + 30 * 32,
                        tensor_bytes(&before.out[0]) - done);
    assert_memory_equal(reals(&before.din[1]) + 30 * 16, reals(&after.din[1]) + 30 * 16,
                        tensor_bytes(&before.din[1]) - done / 2);
    assert_true(tensor_get(&before.out[0], 29 * 32) != tensor_get(&after.out[0], 29 * 32));
    bench_close(&before), bench_close(&after);
}

/* The last tokens through a cache give what the whole sequence gives. */
static void test_cache(void **state)
{
    (void)state;
    OPEN(whole, attention, all);
    OPEN(step, attention, step);
    bench_forward(&whole);
    memcpy(step.in[5].data, whole.in[5].data, tensor_bytes(&step.in[5]));
    for (int64_t b = 0; b < B; b++) {
        int64_t from = (b + 1) * S - NEW;
        memcpy(reals(&step.in[0]) + b * NEW * 32, reals(&whole.in[0]) + from * 32, NEW * 32 * sizeof(real));
        memcpy(reals(&step.in[6]) + b * NEW * 80, reals(&whole.in[6]) + from * 80, NEW * 80 * sizeof(real));
        for (int input = 1; input <= 2; input++)
            memcpy(reals(&step.in[input]) + b * CACHE * 16, reals(&whole.in[input]) + b * S * 16,
                   S * 16 * sizeof(real));
    }
    bench_forward(&step);
    for (int64_t i = 0; i < B * NEW * 32; i++) {
        int64_t at = (i / (NEW * 32) * S + S - NEW) * 32 + i % (NEW * 32);
        assert_true(fabs(tensor_get(&step.out[0], i) - tensor_get(&whole.out[0], at)) < 1e-5);
    }
    bench_close(&whole), bench_close(&step);
}

#define REFUSED(CASE) \
    CASE(few_sinks, "'sink' is [3], [H] or [T,H] is needed: H is 4 in 'q'", ATTEND(USUAL, .sink = real_in(g, 3))) \
    CASE(narrow_sink, "'sink' is ACT, REAL is needed", ATTEND(USUAL, .sink = act_in(g, 4))) \
    CASE(one_bias, "'rel' is [300,4], [T,H,R] is needed", ATTEND(USUAL, .rel = real_in(g, B * S, 4))) \
    CASE(biases_of_others, "H is 4 in 'q', not 2", ATTEND(USUAL, .rel = real_in(g, B * S, 2, 5))) \
    CASE(no_values, "values = 0, without v: must be 1 to 8", ATTEND(WITHIN)) \
    CASE(wider_values, "values = 9, without v: must be 1 to 8", ATTEND(WITHIN, .values = 9)) \
    CASE(both_values, "values = 3: there is v", ATTEND(USUAL, .values = 3)) \
    CASE(chunk, "chunk = -1, it must be at least 0", ATTEND(USUAL, .chunk = -1)) \
    CASE(cap, "softcap = -1, it must be at least 0", ATTEND(USUAL, .softcap = -1))

TEST_REFUSALS(REFUSED)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_golden_sinks), cmocka_unit_test(test_bits_of_none),
        cmocka_unit_test(test_high_cap), cmocka_unit_test(test_low_cap), cmocka_unit_test(test_sink_of_each_token),
        cmocka_unit_test(test_mass), cmocka_unit_test(test_blind), cmocka_unit_test(test_even_bias),
        cmocka_unit_test(test_within), cmocka_unit_test(test_chunks), cmocka_unit_test(test_cache),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
