/* The gated delta rule and the short convolution: golden values, what each special case must be, and that a sequence
   may be cut into chunks or tokens, continued from a cache, and taken back. */
#include "op_check.h"

enum { TOKENS = 12 };
static double memory(int64_t i) { return -0.1 - 0.4 * fabs(sin(1.3 * (double)i)); }
static int32_t zero(int64_t i) { (void)i; return 0; }
static int32_t third(int64_t i) { return (int32_t)(i / 5 * 5); }
static int32_t one(int64_t i) { (void)i; return 1; }

#define RULE(T, HV, gate, start_, delta_, chunk_, ...) \
    delta_rule(g, (struct delta_rule){ .q = real_in(g, T, 1, 2), .k = real_in(g, T, 1, 2), .v = real_in(g, T, HV, 2), \
                                       .g = gate, \
               .beta = positive_in(g, T, HV), .start = start_, .delta = delta_, .chunk = chunk_, __VA_ARGS__ })
#define GOLDEN(gate, delta_, chunk_, ...) \
    RULE(4, 1, gate, count_in(g, SHAPE(1, 4), zero), delta_, chunk_, .scale = sqrt(0.5), __VA_ARGS__)
#define CACHED(...) .pos = int_in(g, SHAPE(1), 0), .state = real_in(g, __VA_ARGS__)
#define WHOLE(delta_, chunk_) \
    RULE(TOKENS, 2, real_of(g, memory, TOKENS, 2, 2), count_in(g, SHAPE(1, TOKENS), third), delta_, chunk_, \
         .scale = 0.6)
#define PART(n, delta_, ring) \
    RULE(n, 2, real_of(g, memory, n, 2, 2), count_in(g, SHAPE(1, n), zero), delta_, 3, .scale = 0.6, \
         CACHED(1, ring, 2, 4))
#define CONV(n, ...) conv1d(g, real_in(g, n, 2), real_in(g, 2, 4), count_in(g, SHAPE(1, n), zero), __VA_ARGS__)
#define CONV_PART(n, dilation, ring) CONV(n, int_in(g, SHAPE(1), 0), real_in(g, 1, ring, 2), dilation, true)

#define HERE(CASE) \
    CASE(delta_rule, scalar, GOLDEN(real_in(g, 4, 1), 1, 3)) \
    CASE(delta_rule, vector, GOLDEN(real_in(g, 4, 1, 2), 1, 3)) \
    CASE(delta_rule, gla, GOLDEN(real_in(g, 4, 1, 2), 0, 2)) \
    CASE(delta_rule, cached, GOLDEN(real_in(g, 4, 1), 1, 3, CACHED(1, 1, 1, 4))) \
    CASE(delta_rule, cached_vector, GOLDEN(real_in(g, 4, 1, 2), 1, 3, CACHED(1, 1, 1, 4))) \
    CASE(delta_rule, whole_1, WHOLE(1, 1)) \
    CASE(delta_rule, whole_2, WHOLE(1, 2)) \
    CASE(delta_rule, whole_5, WHOLE(1, 5)) \
    CASE(delta_rule, whole_64, WHOLE(1, 64)) \
    CASE(delta_rule, whole_off_1, WHOLE(0, 1)) \
    CASE(delta_rule, whole_off_7, WHOLE(0, 7)) \
    CASE(delta_rule, one_token, PART(1, 1, 1)) \
    CASE(delta_rule, one_of_ring, PART(1, 1, 4)) \
    CASE(delta_rule, three_of_ring, PART(3, 1, 4)) \
    CASE(delta_rule, long_of_ring, PART(9, 1, 4)) \
    CASE(conv1d, golden, CONV(6, NULL, NULL, 1, false)) \
    CASE(conv1d, silu, CONV(6, NULL, NULL, 1, true)) \
    CASE(conv1d, whole, conv1d(g, real_in(g, TOKENS, 2), real_in(g, 2, 4), \
                               count_in(g, SHAPE(1, TOKENS), third), NULL, NULL, 1, true)) \
    CASE(conv1d, scale, conv1d(g, real_in(g, 6, 2), real_in(g, 2, 1), count_in(g, SHAPE(1, 6), zero), NULL, NULL, \
                               1, false)) \
    CASE(conv1d, one_token, CONV_PART(1, 1, 3)) \
    CASE(conv1d, one_of_ring, CONV_PART(1, 1, 6)) \
    CASE(conv1d, three_of_ring, CONV_PART(3, 1, 6)) \
    CASE(conv1d, long_of_ring, CONV_PART(9, 1, 6)) \
    CASE(conv1d, apart, CONV(TOKENS, NULL, NULL, 2, true)) \
    CASE(conv1d, apart_one_token, CONV_PART(1, 2, 6)) \
    CASE(conv1d, apart_one_of_ring, CONV_PART(1, 2, 9)) \
    CASE(conv1d, apart_three_of_ring, CONV_PART(3, 2, 9)) \
    CASE(conv1d, apart_long_of_ring, CONV_PART(9, 2, 9)) \
    CASE(conv1d, spread, conv1d(g, real_in(g, TOKENS, 2), real_in(g, 2, 7), \
                                count_in(g, SHAPE(1, TOKENS), zero), NULL, NULL, 1, true))

HERE(BENCH_BUILD)

enum { Q, K, V, G, BETA, START, POS, STATE };

static void fill(const struct tensor *t, double (*value)(int64_t i))
{
    for (int64_t i = 0; i < shape_count(t->shape); i++) tensor_set(t, i, value(i));
}

static void fill_same(const struct tensor *t, double value)
{
    for (int64_t i = 0; i < shape_count(t->shape); i++) tensor_set(t, i, value);
}

static void close_to(const struct tensor *x, int64_t from, const struct tensor *y, int64_t at, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double have = tensor_get(x, from + i), want = tensor_get(y, at + i);
        if (!(fabs(have - want) <= 1e-5 * (1 + fabs(want))))
            fail_msg("value %lld is %.9g, expected %.9g", (long long)i, have, want);
    }
}

/* ---- golden values ---- */

/* Waves; queries and keys of length 1. */
static void fill_golden(struct bench *b)
{
    for (int64_t i = 0; i < 8; i++) {
        tensor_set(&b->in[Q], i, sin(.7 * (double)i + .1));
        tensor_set(&b->in[K], i, sin(.9 * (double)i + .2));
        tensor_set(&b->in[V], i, sin(1.1 * (double)i + .3));
        tensor_set(&b->dout[0], i, sin(.3 * (double)i + .9));
    }
    for (int which = Q; which <= K; which++)
        for (int64_t t = 0; t < 4; t++) {
            double x = tensor_get(&b->in[which], 2 * t), y = tensor_get(&b->in[which], 2 * t + 1),
                   by = 1 / sqrt(x * x + y * y + 1e-6);
            tensor_set(&b->in[which], 2 * t, x * by);
            tensor_set(&b->in[which], 2 * t + 1, y * by);
        }
    for (int64_t i = 0; i < 4; i++) tensor_set(&b->in[BETA], i, 1 / (1 + exp(-sin(1.7 * (double)i + .5))));
    for (int64_t i = 0; i < shape_count(b->in[G].shape); i++)
        tensor_set(&b->in[G], i, -.1 - .5 / (1 + exp(-2 * sin(1.3 * (double)i + .4))));
}

static void run(struct bench *b)
{
    bench_forward(b);
    bench_backward(b);
}

#define OPEN_GOLDEN(b, name) OPEN(b, delta_rule, name); fill_golden(&b)

static void test_golden_scalar(void **state)
{
    (void)state;
    OPEN_GOLDEN(b, scalar);
    run(&b);
    SEE(b.in[BETA], 2e-6, .617612, .691789, .33453, .347223);
    SEE(b.in[G], 2e-6, -.442715, -.539518, -.385048, -.16898);
    SEE(b.out[0], 2e-6, .128635, .42895, .304044, -.073281, -.083912, -.228963, -.231428, .01729);
    SEE(b.din[Q], 2e-6, .109271, .490179, .050002, .306627, .172033, .351165, -.016719, .149392);
    SEE(b.din[K], 2e-6, .17229, .503792, -.069114, -.27171, -.088777, .211966, -.089953, -.09715);
    SEE(b.din[V], 2e-6, .334547, .436698, .487121, .494646, .183236, .106877, .04414, .014575);
    SEE(b.din[G], 2e-6, 0, .028648, -.130633, -.13642);
    SEE(b.din[BETA], 2e-6, .856863, -.045779, -.549043, .135015);
    bench_close(&b);
}

static void test_golden_vector(void **state)
{
    (void)state;
    OPEN_GOLDEN(b, vector);
    run(&b);
    SEE(b.out[0], 2e-6, .128635, .42895, .319957, -.020218, -.073457, -.292351, -.178105, .011763);
    SEE(b.din[G], 2e-6, 0, 0, .027384, .02383, .016881, -.177668, -.035749, -.078662);
    bench_close(&b);
    OPEN_GOLDEN(c, gla);
    fill_same(&c.in[BETA], 1);
    bench_forward(&c);
    SEE(c.out[0], 2e-6, .208278, .694529, .51823, .156591, -.337676, -.511027, -.524901, -.01407);
    bench_close(&c);
}

/* The state that a sequence leaves; without beta it then only fades. */
static void test_golden_state(void **state)
{
    (void)state;
    static const double left[] = { .071517, -.384136, .384325, .33319 };
    OPEN_GOLDEN(b, cached);
    bench_forward(&b);
    SEE(b.in[STATE], 2e-6, .071517, -.384136, .384325, .33319);
    PUT(b, POS, 4);
    fill_same(&b.in[BETA], 0);
    bench_forward(&b);
    double fade = sqrt(.5);
    for (int64_t t = 0; t < 4; t++) {
        const double x = tensor_get(&b.in[Q], 2 * t), y = tensor_get(&b.in[Q], 2 * t + 1);
        fade *= exp(tensor_get(&b.in[G], t));
        for (int m = 0; m < 2; m++)
            assert_true(fabs(tensor_get(&b.out[0], 2 * t + m) - fade * (left[m] * x + left[2 + m] * y)) < 2e-6);
    }
    bench_close(&b);
    OPEN_GOLDEN(c, cached_vector);
    bench_forward(&c);
    SEE(c.in[STATE], 2e-6, .01254, -.383726, .336379, .343608);
    bench_close(&c);
}

static double conv_wave(int64_t i) { return sin(.7 * (double)i + .1); }

static void test_golden_conv(void **state)
{
    (void)state;
    OPEN(b, conv1d, golden);
    OPEN(c, conv1d, silu);
    for (struct bench *x = &b; x; x = x == &b ? &c : NULL) {
        fill(&x->in[0], conv_wave);
        PUT(*x, 1, .1, .2, .3, .4, -.2, .1, 0, .5);
        bench_forward(x);
    }
    SEE(b.out[0], 2e-6, .039933, .358678, .428948, .404248, .414915, -.149525, -.085209, -.542084, -.347525, -.147677,
        -.032926, .491883);
    for (int64_t i = 0; i < 12; i++) {
        double z = tensor_get(&b.out[0], i);
        assert_true(fabs(tensor_get(&c.out[0], i) - z / (1 + exp(-z))) < 1e-6);
    }
    PUT(b, 2, 0, 0, 0, 3, 3, 3);
    bench_forward(&b);
    SEE(b.out[0], 2e-6, .039933, .358678, .428948, .404248, .414915, -.149525, -.366466, -.479462, -.495124, .058275,
        -.056851, .403379);
    PUT(b, 1, 0, 0, 0, 1, 0, 0, 0, 1);
    bench_forward(&b);
    same(&b.out[0], &b.in[0]);
    OPEN(s, conv1d, scale);
    PUT(s, 1, 2, -.5);
    bench_forward(&s);
    for (int64_t i = 0; i < 12; i++)
        assert_true(tensor_get(&s.out[0], i) == tensor_get(&s.in[0], i) * (i % 2 ? -.5 : 2));
    bench_close(&b);
    bench_close(&c);
    bench_close(&s);
}

/* Taps two tokens apart are those of a longer convolution with zeros between them, and so are their gradients. */
static void test_dilation(void **state)
{
    (void)state;
    OPEN(a, conv1d, apart);
    OPEN(b, conv1d, spread);
    memcpy(b.in[0].data, a.in[0].data, tensor_bytes(&a.in[0]));
    memcpy(b.dout[0].data, a.dout[0].data, tensor_bytes(&a.dout[0]));
    for (int cut = 0; cut < TOKENS; cut += 5) {             /* where a second document begins; 0: there is one */
        for (int t = 0; t < TOKENS; t++)
            for (struct bench *x = &a; x; x = x == &a ? &b : NULL) tensor_set(&x->in[2], t, cut && t >= cut ? cut : 0);
        for (int i = 0; i < 14; i++)
            tensor_set(&b.in[1], i, i % 7 % 2 ? 0 : tensor_get(&a.in[1], i / 7 * 4 + i % 7 / 2));
        run(&a);
        run(&b);
        close_to(&a.out[0], 0, &b.out[0], 0, 2 * TOKENS);
        close_to(&a.din[0], 0, &b.din[0], 0, 2 * TOKENS);
        for (int i = 0; i < 8; i++) close_to(&a.din[1], i, &b.din[1], i / 4 * 7 + i % 4 * 2, 1);
    }
    bench_close(&a);
    bench_close(&b);
}

/* ---- special cases, on one chunk of three tokens and one of one ---- */

/* (1,0) (0,1) (1,0) (0,1) */
static double unit_key(int64_t i) { return i % 8 == 0 || i % 8 == 3 || i % 8 == 4 || i % 8 == 7; }

/* Orthonormal keys are stored exactly; the same key again replaces its value, without delta it adds to it. */
static void test_recall(void **state)
{
    (void)state;
    OPEN(on, delta_rule, scalar);
    OPEN(off, delta_rule, gla);
    for (struct bench *b = &on; b; b = b == &on ? &off : NULL) {
        fill(&b->in[K], unit_key);
        fill(&b->in[Q], unit_key);
        fill_same(&b->in[G], 0);
        fill_same(&b->in[BETA], 1);
        put(&b->in[V], 8, (double[]){ 1, 2, 3, 4, 5, 6, 7, 8 });
        bench_forward(b);
    }
    const double by = sqrt(.5);
    SEE(on.out[0], 2e-6, by, 2 * by, 3 * by, 4 * by, 5 * by, 6 * by, 7 * by, 8 * by);
    SEE(off.out[0], 2e-6, by, 2 * by, 3 * by, 4 * by, 6 * by, 8 * by, 10 * by, 12 * by);
    bench_close(&on);
    bench_close(&off);
}

/* A large decay leaves the own token only, however large it is; without beta nothing is stored at all. */
static void test_extremes(void **state)
{
    (void)state;
    static const double gone[] = { -1e30, -INFINITY };
    OPEN(b, delta_rule, vector);
    for (int i = 0; i < COUNT(gone); i++) {
        fill_golden(&b);
        fill_same(&b.in[G], gone[i]);
        run(&b);
        for (int64_t t = 0; t < 4; t++) {
            double by = sqrt(.5) * tensor_get(&b.in[BETA], t) *
                        (tensor_get(&b.in[K], 2 * t) * tensor_get(&b.in[Q], 2 * t) +
                         tensor_get(&b.in[K], 2 * t + 1) * tensor_get(&b.in[Q], 2 * t + 1));
            for (int64_t m = 2 * t; m < 2 * t + 2; m++)
                assert_true(fabs(tensor_get(&b.out[0], m) - by * tensor_get(&b.in[V], m)) < 1e-6);
        }
        for (int64_t j = 0; j < 8; j++) assert_true(tensor_get(&b.din[G], j) == 0);
    }
    fill_golden(&b);
    fill_same(&b.in[BETA], 0);
    bench_forward(&b);
    SEE(b.out[0], 0, 0, 0, 0, 0, 0, 0, 0, 0);
    bench_close(&b);
}

/* One decay for all channels is the scalar one, in value and in gradient. */
static void test_same_decays(void **state)
{
    (void)state;
    OPEN_GOLDEN(s, scalar);
    OPEN_GOLDEN(v, vector);
    for (int64_t i = 0; i < 8; i++) tensor_set(&v.in[G], i, tensor_get(&s.in[G], i / 2));
    run(&s);
    run(&v);
    same(&s.out[0], &v.out[0]);
    same(&s.din[K], &v.din[K]);
    for (int64_t t = 0; t < 4; t++)
        assert_true(fabs(tensor_get(&s.din[G], t) - tensor_get(&v.din[G], 2 * t) - tensor_get(&v.din[G], 2 * t + 1)) <
                    1e-6);
    bench_close(&s);
    bench_close(&v);
}

/* ---- chunks ---- */

/* The first case, and others that must say the same. */
static void check_same(const struct op_case *c, int n)
{
    struct bench whole, b;
    bench_open(&whole, c, false, 1);
    run(&whole);
    for (int i = 1; i < n; i++) {
        bench_open(&b, &c[i], false, 1);
        run(&b);
        close_to(&b.out[0], 0, &whole.out[0], 0, TOKENS * 4);
        for (int k = Q; k <= BETA; k++) close_to(&b.din[k], 0, &whole.din[k], 0, shape_count(b.din[k].shape));
        bench_close(&b);
    }
    bench_close(&whole);
}

static void test_chunks(void **state)
{
    (void)state;
    static const struct op_case on[] = { BENCH_CASE(delta_rule, whole_1, ) BENCH_CASE(delta_rule, whole_2, )
                                         BENCH_CASE(delta_rule, whole_5, ) BENCH_CASE(delta_rule, whole_64, ) },
                                off[] = { BENCH_CASE(delta_rule, whole_off_1, ) BENCH_CASE(delta_rule, whole_off_7, ) };
    check_same(on, COUNT(on));
    check_same(off, COUNT(off));
}

/* What stands in another document, or later, changes no bit; what stands before in the same one does. */
static void test_documents(void **state)
{
    (void)state;
    OPEN(b, delta_rule, whole_64);
    OPEN(c, delta_rule, whole_64);
    for (int i = K; i <= V; i++)
        for (int64_t j = 0, row = shape_count(c.in[i].shape) / TOKENS; j < row; j++)
            for (int64_t t = 0; t < 9; t += t == 4 ? 4 : 1) tensor_set(&c.in[i], t * row + j, 1 + (double)t);
    bench_forward(&b);
    bench_forward(&c);
    for (int64_t i = 5 * 4; i < TOKENS * 4; i++)
        assert_true((tensor_get(&b.out[0], i) == tensor_get(&c.out[0], i)) == (i / 4 != 8 && i / 4 != 9));
    bench_close(&b);
    bench_close(&c);
}

/* ---- decoding ---- */

/* Rows [at, at + n) of `whole` through a bench of n tokens whose cache is `ring`. */
static void feed(struct bench *b, const struct bench *whole, const struct tensor *ring, int64_t at)
{
    int last = b->node->n_in - 1;
    int64_t n = b->in[last - 2].shape.dim[1];
    tensor_set(&b->in[last - 1], 0, (double)at);
    for (int i = 0; i < last - 1; i++) {
        if (whole->in[i].shape.dim[0] != (i == last - 2 ? 1 : TOKENS)) continue;
        int64_t row = shape_count(whole->in[i].shape) / TOKENS;
        for (int64_t k = 0; k < n * row; k++) tensor_set(&b->in[i], k, tensor_get(&whole->in[i], at * row + k));
    }
    if (b->node->op == &op_conv1d) memcpy(b->in[1].data, whole->in[1].data, tensor_bytes(&whole->in[1]));
    memcpy(b->in[last].data, ring->data, tensor_bytes(ring));
    bench_forward(b);
    memcpy(ring->data, b->in[last].data, tensor_bytes(ring));
}

static void see_rows(const struct bench *b, const struct bench *whole, int64_t at)
{
    int64_t row = shape_count(whole->out[0].shape) / TOKENS;
    close_to(&b->out[0], 0, &whole->out[0], at * row, shape_count(b->out[0].shape));
}

static struct tensor copy_of(const struct bench *b, const struct tensor *t)     /* its data is malloc'd */
{
    struct tensor copy = tensor_new(b, t->shape, DTYPE_REAL);
    memcpy(copy.data, t->data, tensor_bytes(t));
    return copy;
}

enum { ALL, SMALL, SINGLE, THREE, MANY, BENCHES };

/* Token by token with the smallest ring; then chunks of several with a larger one, of which drafts are taken back. */
static void decode(struct bench b[BENCHES])
{
    struct bench *whole = &b[ALL], *single = &b[SINGLE];
    int last = single->node->n_in - 1;
    bench_forward(whole);
    /* NaN: nothing reads it before it is written */
    struct tensor ring = tensor_new(whole, b[SMALL].in[last].shape, DTYPE_REAL);
    for (int64_t t = 0; t < TOKENS; t++) {
        feed(&b[SMALL], whole, &ring, t);
        see_rows(&b[SMALL], whole, t);
    }
    free(ring.data);
    ring = tensor_new(whole, single->in[last].shape, DTYPE_REAL);
    feed(&b[MANY], whole, &ring, 0);                        /* 0 .. 8: more than the ring holds */
    see_rows(&b[MANY], whole, 0);
    struct tensor kept = copy_of(single, &ring);
    feed(&b[THREE], whole, &ring, 9);
    see_rows(&b[THREE], whole, 9);
    feed(single, whole, &kept, 9);    /* 9 alone, and what a draft of three left, taken back to 10 */
    for (int64_t t = 10; t < TOKENS; t++) {
        feed(single, whole, &kept, t);
        see_rows(single, whole, t);
        struct tensor never = copy_of(single, &single->out[0]);
        feed(single, whole, &ring, t);
        same(&single->out[0], &never);
        free(never.data);
    }
    free(ring.data);
    free(kept.data);
}

#define DECODED(op, whole, of) { BENCH_CASE(op, whole, ) BENCH_CASE(op, of##one_token, ) \
                                 BENCH_CASE(op, of##one_of_ring, ) BENCH_CASE(op, of##three_of_ring, ) \
                                 BENCH_CASE(op, of##long_of_ring, ) }

static void test_decoding(void **state)
{
    (void)state;
    static const struct op_case decoded[][BENCHES] = { DECODED(delta_rule, whole_5, ), DECODED(conv1d, whole, ),
                                                       DECODED(conv1d, apart, apart_) };
    for (int c = 0; c < COUNT(decoded); c++) {
        struct bench b[BENCHES];
        for (int i = 0; i < BENCHES; i++) bench_open(&b[i], &decoded[c][i], false, 1);
        decode(b);
        for (int i = 0; i < BENCHES; i++) bench_close(&b[i]);
    }
}

/* ---- shape rules ---- */

static struct node *alone(struct graph *g)
{
    return RULE(4, 1, real_in(g, 4, 1), count_in(g, SHAPE(1, 4), zero), 1, 2, .scale = 1,
                .state = real_in(g, 1, 2, 1, 4));
}
static struct node *shapeless(struct graph *g)
{
    return RULE(4, 1, real_in(g, 4, 1), count_in(g, SHAPE(1, 4), zero), 1, 2, .scale = 1,
                .pos = count_in(g, SHAPE(1), one), .state = real_in(g, 1, 2, 1, 5));
}
static struct node *no_chunk(struct graph *g) { return GOLDEN(real_in(g, 4, 1), 1, 0); }
static struct node *odd_decay(struct graph *g) { return GOLDEN(real_in(g, 4, 3), 1, 1); }
static struct node *short_ring(struct graph *g)
{
    return CONV(1, count_in(g, SHAPE(1), one), real_in(g, 1, 2, 2), 1, false);
}
static struct node *too_far(struct graph *g) { return CONV(1, NULL, NULL, 22, false); }
static struct node *no_dilation(struct graph *g) { return CONV(1, NULL, NULL, 0, false); }

static void test_messages(void **state)
{
    (void)state;
    refuses(alone, "pos and state go together");
    refuses(shapeless, "state [1,2,1,5] must end in N M = 4");
    refuses(no_chunk, "chunk = 0, it must be at least 1");
    refuses(odd_decay, "'g' is [4,3], [T,J] or [T,J,N] is needed: J is 1 in 'v', not 3");
    refuses(short_ring, "state [1,2,2] keeps 2 positions, the taps need 3");
    refuses(too_far, "4 taps over 67 tokens: at most 64");
    refuses(no_dilation, "dilation = 0, it must be 1 to 64");
}

static double flops_of(const struct op_case *c)
{
    struct bench b;
    struct cost cost = { 0 };
    bench_open(&b, c, false, 1);
    b.node->op->cost(b.node, &cost);
    bench_close(&b);
    return cost.flops;
}

static void test_cost(void **state)
{
    (void)state;
    static const struct op_case c[] = { BENCH_CASE(delta_rule, whole_5, ) BENCH_CASE(delta_rule, whole_off_7, )
                                        BENCH_CASE(conv1d, whole, ) };
    assert_true(flops_of(&c[0]) == TOKENS * 2 * 6 * 4 && flops_of(&c[1]) == TOKENS * 2 * 4 * 4);
    assert_true(flops_of(&c[2]) == TOKENS * 2 * 2 * 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_scalar), cmocka_unit_test(test_golden_vector), cmocka_unit_test(test_golden_state),
        cmocka_unit_test(test_golden_conv), cmocka_unit_test(test_dilation), cmocka_unit_test(test_recall),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_same_decays), cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_documents), cmocka_unit_test(test_decoding), cmocka_unit_test(test_messages),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
