/* Values and laws of attention to the keys that an index names, and of the choice of those keys. */
#include "op_check.h"

enum { B = 2, S = 90, CACHE = S + 9, NEW = 3, CHOSEN = 20 };
static int32_t none(int64_t i) { (void)i; return 0; }
static int32_t documents(int64_t i) { return i % S < 41 ? 0 : 41; }
static int32_t late(int64_t i) { (void)i; return 41; }
static int32_t all(int64_t i) { return (int32_t)(i * 7 % S); }      /* every position once */
static int32_t some(int64_t i) { return (int32_t)(i * i % 97 % S); }
static int32_t nobody(int64_t i) { (void)i; return -1; }
static int32_t zero_and_nobody(int64_t i) { return i % 2 ? -1 : 0; }
static int32_t blocks(int64_t i) { return (int32_t)(i * 4 % 9); }
static int32_t own_block(int64_t i) { return (int32_t)((i % S - documents(i)) / 10); }
static int32_t some_of_token(int64_t i) { return some(i / CHOSEN / 4 * CHOSEN + i % CHOSEN); }
/* All positions that token i / S sees of its document, and nobody. */
static int32_t seen(int64_t i)
{
    int64_t t = i / S, key = i % S;
    return key >= documents(t) && key <= t % S ? (int32_t)key : -1;
}
static int32_t twice(int64_t i) { static const int32_t at[] = { 3, 1, 3, -1 }; return at[i % 4]; }

#define FOUR \
    .q = real_in(g, 4, 2, 4), .k = real_in(g, 4, 1, 4), .v = real_in(g, 4, 1, 4), \
    .start = count_in(g, SHAPE(1, 4), none), .scale = 0.5
#define PERMUTED .index = int_in(g, SHAPE(4, 4), 0, 3, 2, 1, 3, 2, 1, 0, 2, 3, 0, 1, 1, 3, 0, 2)
#define SIX(chosen) \
    .q = real_in(g, 6, 2, 4), .k = real_in(g, 6, 1, 4), .v = real_in(g, 6, 1, 4), \
    .start = count_in(g, SHAPE(1, 6), none), .scale = 0.5, .index = count_in(g, SHAPE(6, chosen), none)
#define USUAL QKV(B * S, 4, 2, 8), .start = count_in(g, SHAPE(B, S), documents), .scale = 0.4
#define INDEXER(S_, start_, ...) \
    index_topk(g, (struct index_topk){ .q = act_in(g, B * (S_), 3, 8), .w = real_in(g, B * (S_), 3), \
               .start = count_in(g, SHAPE(B, S_), start_), __VA_ARGS__ })
#define GOLDEN(chosen_) \
    index_topk(g, (struct index_topk){ .q = real_in(g, 6, 2, 4), .k = real_in(g, 6, 4), .w = real_in(g, 6, 2), \
               .start = count_in(g, SHAPE(1, 6), none), .chosen = chosen_, .relu = true })
#define SMALL_BLOCKS \
    block_topk(g, (struct block_topk){ .q = real_in(g, 10, 1, 4), .k = real_in(g, 10, 1, 4), \
               .start = count_in(g, SHAPE(1, 10), none), .chosen = 2, .block = 3 })
#define BLOCKS_OF(S_, start_, ...) \
    block_topk(g, (struct block_topk){ .q = act_in(g, B * (S_), 4, 8), .start = count_in(g, SHAPE(B, S_), start_), \
               __VA_ARGS__ })
#define HERE(CASE) \
    CASE(kl_rows, of_six, kl_rows(g, real_in(g, 6, 6), real_in(g, 6, 6))) \
    CASE(kl_rows, of_three, kl_rows(g, real_in(g, 6, 3), real_in(g, 6, 3))) \
    CASE(block_topk, golden, SMALL_BLOCKS) \
    CASE(block_topk, whole, BLOCKS_OF(S, documents, .k = act_in(g, B * S, 2, 8), .chosen = 4, .block = 5)) \
    CASE(block_topk, step, BLOCKS_OF(NEW, late, .k = act_in(g, B, CACHE, 2, 8), .pos = int_in(g, SHAPE(1), S - NEW), \
         .chosen = 4, .block = 5)) \
    CASE(attention, all_blocks, ATTEND(USUAL, .block = 10, .index = count_in(g, SHAPE(B * S, 4, 9), blocks))) \
    CASE(attention, own_block, ATTEND(USUAL, .block = 10, .index = count_in(g, SHAPE(B * S, 1), own_block))) \
    CASE(attention, chunks, ATTEND(USUAL, .chunk = 10)) \
    CASE(attention, of_head, ATTEND(USUAL, .index = count_in(g, SHAPE(B * S, 4, CHOSEN), some_of_token))) \
    CASE(attention, alone, ATTEND(.q = act_in(g, B * S, 4, 8), .k = act_in(g, B, S, 2, 8), .v = act_in(g, B, S, 2, 8), \
         .start = count_in(g, SHAPE(B, S), documents), .scale = 0.4, .index = count_in(g, SHAPE(B * S, S), seen))) \
    CASE(attention, golden, ATTEND(FOUR, PERMUTED)) \
    CASE(attention, golden_cap, ATTEND(FOUR, PERMUTED, .softcap = 0.5)) \
    CASE(attention, golden_sink, ATTEND(FOUR, PERMUTED, .sink = real_in(g, 2))) \
    CASE(attention, golden_chunk, ATTEND(FOUR, PERMUTED, .chunk = 2)) \
    CASE(attention, golden_three, ATTEND(SIX(3))) \
    CASE(attention, golden_six, ATTEND(SIX(6))) \
    CASE(attention, plain, ATTEND(USUAL)) \
    CASE(attention, all, ATTEND(USUAL, .index = count_in(g, SHAPE(B * S, S), all))) \
    CASE(attention, some, ATTEND(USUAL, .index = count_in(g, SHAPE(B * S, CHOSEN), some))) \
    CASE(attention, nobody, ATTEND(USUAL, .index = count_in(g, SHAPE(B * S, CHOSEN), nobody))) \
    CASE(attention, zero_and_nobody, ATTEND(USUAL, .index = count_in(g, SHAPE(B * S, 2), zero_and_nobody))) \
    CASE(attention, twice, ATTEND(USUAL, .index = count_in(g, SHAPE(B * S, 4), twice))) \
    CASE(attention, step, ATTEND(.q = act_in(g, B * NEW, 4, 8), .k = act_in(g, B, CACHE, 2, 8), \
         .v = act_in(g, B, CACHE, 2, 8), .start = count_in(g, SHAPE(B, NEW), late), \
         .pos = int_in(g, SHAPE(1), S - NEW), .scale = 0.4, .index = count_in(g, SHAPE(B * NEW, CHOSEN), none))) \
    CASE(index_topk, golden_three, GOLDEN(3)) \
    CASE(index_topk, golden_six, GOLDEN(6)) \
    CASE(index_topk, whole, INDEXER(S, documents, .k = act_in(g, B * S, 8), .chosen = CHOSEN, .relu = true)) \
    CASE(index_topk, step, INDEXER(NEW, late, .k = act_in(g, B, CACHE, 8), .pos = int_in(g, SHAPE(1), S - NEW), \
         .chosen = CHOSEN, .relu = true)) \
    CASE(index_topk, window, INDEXER(S, documents, .k = act_in(g, B * S, 8), .chosen = CHOSEN, .window = 7, \
         .chunk = 10)) \
    CASE(index_topk, many, INDEXER(S, none, .k = act_in(g, B * S, 8), .chosen = 33))
HERE(BENCH_BUILD)

static void wave(const struct tensor *t, double a, double b, double by)
{
    for (int64_t i = 0; i < shape_count(t->shape); i++) tensor_set(t, i, by * sin(a * (double)i + b));
}

static void near(const struct tensor *x, const struct tensor *y, double bound)
{
    assert_true(shape_equal(x->shape, y->shape));
    for (int64_t i = 0; i < shape_count(x->shape); i++)
        if (!(fabs(tensor_get(x, i) - tensor_get(y, i)) <= bound))
            fail_msg("value %lld: %.9g and %.9g", (long long)i, tensor_get(x, i), tensor_get(y, i));
}

static void run(struct bench *b)
{
    bench_forward(b);
    bench_backward(b);
}

static struct tensor part(const struct tensor *t, int64_t from, int64_t n)
{
    return (struct tensor){ .data = (char *)t->data + (size_t)from * element_bytes(t->format), .shape = SHAPE(n),
                            .format = t->format };
}
#define SEE_PART(t, from, tolerance, ...) do { \
    struct tensor part_ = part(&(t), from, COUNT(((double[]){ __VA_ARGS__ }))); \
    SEE(part_, tolerance, __VA_ARGS__); \
} while (0)

/* ---- golden values ---- */

/* An index that names all keys, in any order, changes nothing. */
static void test_golden_of_all(void **state)
{
    (void)state;
    OPEN(plain, attention, golden);
    OPEN(cap, attention, golden_cap);
    OPEN(sink, attention, golden_sink);
    OPEN(chunk, attention, golden_chunk);
    struct bench *each[] = { &plain, &cap, &sink, &chunk };
    for (int i = 0; i < COUNT(each); i++) {
        wave(&each[i]->in[0], 0.7, 0.1, 1);
        wave(&each[i]->in[1], 0.9, 0.2, 1);
        wave(&each[i]->in[2], 1.1, 0.3, 1);
    }
    PUT(sink, 5, .5, -1);
    for (int i = 0; i < COUNT(each); i++) bench_forward(each[i]);
    SEE_PART(plain.out[0], 24, 2e-6, -.101519, .168017, .253943, .062358, .271015, .209145, -.081281, -.282882);
    SEE_PART(cap.out[0], 24, 2e-6, .009464, .192679, .165333, -.04269, .202239, .175914, -.042652, -.214607);
    SEE_PART(sink.out[0], 24, 2e-6, -.078348, .129668, .195982, .048125, .254581, .196462, -.076352, -.265728);
    SEE(sink.out[2], 2e-6, (.406175 + .392397 + .350063 + .228246) / 4, (.426699 + .186695 + .072262 + .06064) / 4);
    SEE_PART(chunk.out[0], 16, 2e-6, .319098, -.699875, -.954019, -.165604);
    SEE_PART(plain.out[3], 0, 0, 2, 0, 0, 0);               /* of two heads all of token 0's */
    for (int i = 0; i < COUNT(each); i++) bench_close(each[i]);
}

static void golden_indexer(struct bench *b)
{
    wave(&b->in[0], 0.7, 0.1, 1);
    wave(&b->in[1], 0.9, 0.2, 1);
    wave(&b->in[2], 1.1, 0.3, sqrt(0.5) / 2);
    bench_forward(b);
}

static void golden_attention(struct bench *b, const struct bench *indexer)
{
    wave(&b->in[0], 0.5, 0.4, 1);
    wave(&b->in[1], 0.6, 0.5, 1);
    wave(&b->in[2], 0.8, 0.6, 1);
    memcpy(b->in[7].data, indexer->out[1].data, tensor_bytes(&b->in[7]));
    bench_forward(b);
}

/* The KL divergence of a token's attention from the softmax of its scores, over its keys; dscore: of its mean over
   the tokens. */
static double divergence(const struct bench *indexer, const struct bench *b, int64_t t, double *dscore)
{
    int64_t chosen = shape_last(b->in[7].shape), tokens = b->in[7].shape.dim[0], heads = b->in[0].shape.dim[1];
    double sum = 0, kl = 0;
    for (int64_t e = t * chosen; e < (t + 1) * chosen; e++) sum += exp(tensor_get(&indexer->out[0], e));
    for (int64_t e = t * chosen, i = 0; e < (t + 1) * chosen; e++, i++) {
        double p = tensor_get(&b->out[3], e) / (double)heads, q = exp(tensor_get(&indexer->out[0], e)) / sum;
        if (p > 0) kl += p * log(p / q);
        dscore[i] = (q - p) / (double)tokens;
    }
    return kl;
}

static void test_golden_choice(void **state)
{
    (void)state;
    static const double dense[] = { 0, .001792, .093488, .079377, .056662, .106966 },
                        sparse[] = { 0, .001792, .093488, .067358, .034113, .006688 };
    double dscore[6];
    OPEN(six, index_topk, golden_six);
    OPEN(three, index_topk, golden_three);
    OPEN(of_six, attention, golden_six);
    OPEN(of_three, attention, golden_three);
    golden_indexer(&six), golden_indexer(&three);
    SEE_PART(six.out[1], 30, 0, 2, 0, 3, 5, 1, 4);
    SEE_PART(six.out[0], 30, 2e-6, -.026835, -.05899, -.085782, -.113402, -.265772, -.536153);
    SEE(three.out[1], 0, 0, -1, -1, 0, 1, -1, 0, 2, 1, 0, 2, 1, 1, 4, 3, 2, 0, 3);
    for (int i = 0; i < 18; i++)
        assert_true((tensor_get(&three.out[1], i) == -1) == (tensor_get(&three.out[0], i) == -INFINITY));
    golden_attention(&of_six, &six), golden_attention(&of_three, &three);
    SEE_PART(of_three.out[0], 40, 2e-6, -.017536, .057852, .098148, .078909, .249501, .419369, .334854, .04722);
    for (int t = 0; t < 6; t++) assert_true(fabs(divergence(&six, &of_six, t, dscore) - dense[t]) < 2e-6);
    for (int t = 0; t < 6; t++) assert_true(fabs(divergence(&three, &of_three, t, dscore) - sparse[t]) < 2e-6);
    struct tensor slopes = { .data = (real[]){ (real)dscore[1], (real)dscore[0], (real)dscore[2] }, .shape = SHAPE(3),
                             .format = FORMAT_REAL };
    SEE(slopes, 2e-6, .005384, .003687, -.009072);          /* of keys 0, 2, 3 */
    bench_close(&six), bench_close(&three), bench_close(&of_six), bench_close(&of_three);
}

/* The same by op kl_rows: its values, and the slope of their mean. */
static void test_golden_divergence(void **state)
{
    (void)state;
    OPEN(six, index_topk, golden_six);
    OPEN(three, index_topk, golden_three);
    OPEN(of_six, attention, golden_six);
    OPEN(of_three, attention, golden_three);
    OPEN(dense, kl_rows, of_six);
    OPEN(sparse, kl_rows, of_three);
    golden_indexer(&six), golden_indexer(&three);
    golden_attention(&of_six, &six), golden_attention(&of_three, &three);
    memcpy(dense.in[0].data, six.out[0].data, tensor_bytes(&dense.in[0]));
    memcpy(dense.in[1].data, of_six.out[3].data, tensor_bytes(&dense.in[1]));
    memcpy(sparse.in[0].data, three.out[0].data, tensor_bytes(&sparse.in[0]));
    memcpy(sparse.in[1].data, of_three.out[3].data, tensor_bytes(&sparse.in[1]));
    for (int t = 0; t < 6; t++) tensor_set(&sparse.dout[0], t, 1 / 6.0);
    bench_forward(&dense), run(&sparse);
    SEE(dense.out[0], 2e-6, 0, .001792, .093488, .079377, .056662, .106966);
    SEE(sparse.out[0], 2e-6, 0, .001792, .093488, .067358, .034113, .006688);
    SEE_PART(sparse.din[0], 15, 2e-6, .003687, .005384, -.009072);      /* of keys 2, 0, 3 */
    SEE_PART(sparse.din[0], 0, 1e-7, 0, 0, 0);              /* one key has nothing to learn, none no gradient */
    struct bench *all[] = { &six, &three, &of_six, &of_three, &dense, &sparse };
    for (int i = 0; i < COUNT(all); i++) bench_close(all[i]);
}

/* ---- attention ---- */

static void test_all_are_dense(void **state)
{
    (void)state;
    OPEN(plain, attention, plain);
    OPEN(named, attention, all);
    run(&plain), run(&named);
    near(&plain.out[0], &named.out[0], 2e-6);
    near(&plain.out[1], &named.out[1], 2e-6);
    for (int i = 0; i < 3; i++) near(&plain.din[i], &named.din[i], 1e-5);
    for (int64_t t = 0; t < B * S; t++) {                   /* masses of all heads */
        double sum = 0;
        for (int64_t e = 0; e < S; e++) sum += tensor_get(&named.out[3], t * S + e);
        assert_true(fabs(sum - 4) < 1e-5);
    }
    bench_close(&plain), bench_close(&named);
}

/* Blocks that together are all keys, of each head in another order; the own block, which is a chunk; heads that have
   the same keys; keys that are no positions, of which the index names those that are seen. */
static void test_other_indices(void **state)
{
    (void)state;
    OPEN(plain, attention, plain);
    OPEN(all_blocks, attention, all_blocks);
    OPEN(chunk, attention, chunks);
    OPEN(own, attention, own_block);
    OPEN(token, attention, some);
    OPEN(head, attention, of_head);
    OPEN(free_keys, attention, alone);
    struct bench *pair[][2] = { { &plain, &all_blocks }, { &chunk, &own }, { &token, &head }, { &plain, &free_keys } };
    struct bench *all[] = { &plain, &all_blocks, &chunk, &own, &token, &head, &free_keys };
    for (int i = 0; i < COUNT(all); i++) run(all[i]);
    for (int i = 0; i < COUNT(pair); i++)
        for (int k = 0; k < 3; k++) {
            struct tensor x = part(&pair[i][0]->din[k], 0, shape_count(plain.din[k].shape)),
                          y = part(&pair[i][1]->din[k], 0, shape_count(plain.din[k].shape));
            near(&x, &y, 1e-5);
            if (k < 2) near(&pair[i][0]->out[k], &pair[i][1]->out[k], 2e-6);
        }
    for (int64_t row = 0; row < B * S * 4; row++) {         /* masses of blocks, of each head */
        double sum = 0;
        for (int e = 0; e < 9; e++) sum += tensor_get(&all_blocks.out[3], row * 9 + e);
        assert_true(fabs(sum - 1) < 1e-5);
    }
    for (int i = 0; i < COUNT(all); i++) bench_close(all[i]);
}

/* -1 is no key, and not key 0. */
static void test_nobody(void **state)
{
    (void)state;
    OPEN(nobody, attention, nobody);
    OPEN(zero, attention, zero_and_nobody);
    run(&nobody), run(&zero);
    for (int i = 0; i < 3; i++)
        for (int64_t j = 0; j < shape_count(nobody.din[i].shape); j++) assert_true(tensor_get(&nobody.din[i], j) == 0);
    for (int64_t j = 0; j < shape_count(nobody.out[0].shape); j++) assert_true(tensor_get(&nobody.out[0], j) == 0);
    for (int64_t j = 0; j < shape_count(nobody.out[3].shape); j++) assert_true(tensor_get(&nobody.out[3], j) == 0);
    for (int h = 0; h < 4; h++) assert_true(tensor_get(&nobody.out[1], h) == -INFINITY);
    for (int64_t t = 0; t < B * S; t++)                     /* the first document sees its key 0, the other nothing */
        for (int64_t i = 0; i < 32; i++) {
            double want = t % S < 41 ? tensor_get(&zero.in[2], t / S * S * 16 + i / 16 * 8 + i % 8) : 0;
            assert_true(fabs(tensor_get(&zero.out[0], t * 32 + i) - want) < 1e-6);
        }
    bench_close(&nobody), bench_close(&zero);
}

/* A key that is named twice counts as two: its weight is 2 e^z, and either entry has half of its mass. */
static void test_twice(void **state)
{
    (void)state;
    OPEN(b, attention, twice);
    bench_forward(&b);
    for (int64_t t = 3; t < 41; t++)
        for (int64_t h = 0; h < 4; h++) {
            double z[2] = { 0 }, share;
            for (int64_t w = 0; w < 8; w++)
                for (int k = 0; k < 2; k++)
                    z[k] += 0.4 * tensor_get(&b.in[0], (t * 4 + h) * 8 + w) *
                            tensor_get(&b.in[1], ((k ? 3 : 1) * 2 + h / 2) * 8 + w);
            share = 1 / (1 + 2 * exp(z[1] - z[0]));         /* of key 1 */
            for (int64_t w = 0; w < 8; w++) {
                double want = share * tensor_get(&b.in[2], (1 * 2 + h / 2) * 8 + w) +
                              (1 - share) * tensor_get(&b.in[2], (3 * 2 + h / 2) * 8 + w);
                assert_true(fabs(tensor_get(&b.out[0], (t * 4 + h) * 8 + w) - want) < 2e-6);
            }
        }
    for (int64_t t = 3; t < 41; t++) assert_true(tensor_get(&b.out[3], t * 4) == tensor_get(&b.out[3], t * 4 + 2));
    bench_close(&b);
}

/* What an index does not name reaches nobody, in forward or backward: here the tokens after it, too. */
static void test_unnamed(void **state)
{
    (void)state;
    OPEN(before, attention, some);
    OPEN(after, attention, some);
    bool named[S] = { false };
    for (int64_t i = 0; i < S * CHOSEN; i++) {              /* of the first sequence */
        int32_t key = ints(&before.in[7])[i];
        if (key >= 0 && key <= i / CHOSEN && key >= documents(i / CHOSEN)) named[key] = true;
    }
    int others = 0;
    for (int64_t j = 0; j < S; j++)
        for (int64_t i = j * 16; !named[j] && i < (j + 1) * 16; i++, others++)
            tensor_set(&after.in[1], i, NAN), tensor_set(&after.in[2], i, NAN);
    assert_true(others > 0 && others < S * 16);
    run(&before), run(&after);
    for (int i = 0; i < 4; i++) same(&before.out[i], &after.out[i]);
    for (int i = 0; i < 3; i++) same(&before.din[i], &after.din[i]);
    for (int64_t j = 0; j < S * 16; j++) assert_true(named[j / 16] || tensor_get(&before.din[2], j) == 0);
    bench_close(&before), bench_close(&after);
}

static void copy_tail(const struct bench *from, const struct bench *to, int input, bool cached)
{
    int64_t row = shape_count(from->in[input].shape) / (B * S), n = cached ? S : NEW;
    for (int64_t b = 0; b < B; b++) {
        struct tensor source = part(&from->in[input], ((b + 1) * S - n) * row, n * row),
                      target = part(&to->in[input], b * (cached ? CACHE : NEW) * row, n * row);
        memcpy(target.data, source.data, tensor_bytes(&source));
    }
}

/* The last tokens through a cache get what the whole sequence gives them. */
static void test_cache(void **state)
{
    (void)state;
    OPEN(whole, attention, some);
    OPEN(step, attention, step);
    bench_forward(&whole);
    for (int input = 0; input <= 2; input++) copy_tail(&whole, &step, input, input > 0);
    copy_tail(&whole, &step, 7, false);
    bench_forward(&step);
    for (int64_t b = 0; b < B; b++)
        for (int out = 0; out <= 3; out += 3) {
            int64_t row = out ? CHOSEN : 32;
            struct tensor x = part(&whole.out[out], ((b + 1) * S - NEW) * row, NEW * row),
                          y = part(&step.out[out], b * NEW * row, NEW * row);
            near(&x, &y, 1e-6);
        }
    bench_close(&whole), bench_close(&step);
}

/* ---- the choice ---- */

/* Against a sort of all scores, each a sum in double. */
static void check_choice(struct bench *b, bool relu, int64_t window, int64_t chunk)
{
    int64_t chosen = shape_last(b->out[0].shape), heads = b->in[0].shape.dim[1], width = b->in[0].shape.dim[2];
    bench_forward(b);
    for (int64_t t = 0; t < B * S; t++) {
        double score[S];
        int64_t here = t % S, start = ints(&b->in[3])[t], seen = 0;
        for (int64_t j = 0; j < S; j++) {
            score[j] = -INFINITY;
            if (j < start || j > here || (window && j <= here - window)) continue;
            if (chunk && (j - start) / chunk != (here - start) / chunk) continue;
            score[j] = 0;
            seen++;
            for (int64_t h = 0; h < heads; h++) {
                double z = 0;
                for (int64_t c = 0; c < width; c++)
                    z += tensor_get(&b->in[0], (t * heads + h) * width + c) *
                         tensor_get(&b->in[1], (t - here + j) * width + c);
                score[j] += tensor_get(&b->in[2], t * heads + h) * (relu && z < 0 ? 0 : z);
            }
        }
        for (int64_t e = 0; e < chosen; e++) {
            int64_t best = 0;
            for (int64_t j = 1; j < S; j++) if (score[j] > score[best]) best = j;
            int32_t got = ints(&b->out[1])[t * chosen + e];
            double value = tensor_get(&b->out[0], t * chosen + e);
            assert_int_equal(got, e < seen ? best : -1);
            assert_true(e < seen ? fabs(value - score[best]) < 1e-5 : value == -INFINITY);
            score[best] = -INFINITY;
        }
    }
}

static void test_choice_is_its_definition(void **state)
{
    (void)state;
    OPEN(whole, index_topk, whole);
    OPEN(window, index_topk, window);
    OPEN(many, index_topk, many);
    check_choice(&whole, true, 0, 0);
    check_choice(&window, false, 7, 10);
    check_choice(&many, false, 0, 0);
    bench_close(&whole), bench_close(&window), bench_close(&many);
}

/* Of equal scores the lower keys are chosen; a score that is no number is the last. */
static void test_ties(void **state)
{
    (void)state;
    OPEN(b, index_topk, many);
    for (int64_t i = 0; i < B * S * 8; i++) tensor_set(&b.in[1], i, i / 8 % S == 50 ? 2 : 1);
    for (int64_t i = 0; i < B * S * 24; i++) tensor_set(&b.in[0], i, 1);
    for (int64_t i = 0; i < B * S * 3; i++) tensor_set(&b.in[2], i, 1);
    tensor_set(&b.in[1], 2 * 8, NAN);
    bench_forward(&b);
    for (int64_t t = 0; t < S; t++)
        for (int64_t e = 0; e < 33; e++) {
            int64_t want = t >= 50 && e == 0 ? 50 : e - (t >= 50), last = t < 32 ? t : 32;
            want += want >= 2 && !(t >= 50 && e == 0);      /* key 2 is passed over */
            if (t >= 2 && t < 33 && e == last) want = 2;
            assert_int_equal(ints(&b.out[1])[t * 33 + e], e > t ? -1 : want);
        }
    bench_close(&b);
}

/* A positive factor on the weights changes no choice; a negative one turns it round. */
static void test_scale(void **state)
{
    (void)state;
    OPEN(one, index_topk, whole);
    OPEN(two, index_topk, whole);
    for (int64_t i = 0; i < shape_count(two.in[2].shape); i++) tensor_set(&two.in[2], i, 4 * tensor_get(&two.in[2], i));
    bench_forward(&one), bench_forward(&two);
    same(&one.out[1], &two.out[1]);
    for (int64_t i = 0; i < shape_count(one.out[0].shape); i++)
        assert_true(4 * tensor_get(&one.out[0], i) == tensor_get(&two.out[0], i));
    bench_close(&one), bench_close(&two);
}

/* Later keys change no bit of earlier rows; a gradient goes to what was chosen alone. */
static void test_causality(void **state)
{
    (void)state;
    OPEN(one, index_topk, many);
    OPEN(two, index_topk, many);
    for (int64_t i = 60 * 8; i < S * 8; i++) tensor_set(&two.in[1], i, 3);
    run(&one), run(&two);
    assert_memory_equal(one.out[1].data, two.out[1].data, 60 * 33 * sizeof(int32_t));
    assert_memory_equal(one.out[0].data, two.out[0].data, 60 * 33 * sizeof(real));
    bool chosen[S] = { false };
    for (int64_t i = 0; i < S * 33; i++) if (ints(&two.out[1])[i] >= 0) chosen[ints(&two.out[1])[i]] = true;
    for (int64_t j = 0; j < S; j++) assert_true(chosen[j] == (tensor_get(&two.din[1], j * 8) != 0));
    bench_close(&one), bench_close(&two);
}

static void test_choice_from_cache(void **state)
{
    (void)state;
    OPEN(whole, index_topk, whole);
    OPEN(step, index_topk, step);
    for (int input = 0; input <= 2; input++) copy_tail(&whole, &step, input, input == 1);
    bench_forward(&whole), bench_forward(&step);
    for (int64_t b = 0; b < B; b++)
        for (int out = 0; out < 2; out++) {
            struct tensor x = part(&whole.out[out], ((b + 1) * S - NEW) * CHOSEN, NEW * CHOSEN),
                          y = part(&step.out[out], b * NEW * CHOSEN, NEW * CHOSEN);
            same(&x, &y);
        }
    bench_close(&whole), bench_close(&step);
}

/* ---- blocks ---- */

static void test_golden_blocks(void **state)
{
    (void)state;
    OPEN(b, block_topk, golden);
    wave(&b.in[0], 0.5, 0.4, 1);
    wave(&b.in[1], 0.6, 0.5, 1);
    bench_forward(&b);
    SEE(b.out[0], 0, 0, -1, 0, -1, 0, -1, 1, 0, 1, 0, 1, 0, 2, 0, 2, 1, 2, 0, 3, 0);     /* own first */
    bench_close(&b);
}

/* Against means in double and a sort: blocks of each document, its first among them. */
static void test_blocks_are_their_definition(void **state)
{
    (void)state;
    OPEN(b, block_topk, whole);
    bench_forward(&b);
    for (int64_t row = 0; row < B * S * 4; row++) {
        int64_t t = row / 4, start = documents(t), own = (t % S - start) / 5;
        double score[S];
        for (int64_t i = 0; i < own; i++) {
            score[i] = 0;
            for (int64_t j = 0; j < 5; j++)
                for (int64_t w = 0; w < 8; w++)
                    score[i] += tensor_get(&b.in[0], row * 8 + w) / 5 *
                                tensor_get(&b.in[1], ((t / S * S + start + i * 5 + j) * 2 + row % 4 / 2) * 8 + w);
        }
        assert_int_equal(ints(&b.out[0])[row * 4], own);
        for (int64_t e = 1; e < 4; e++) {
            int64_t best = 0;
            for (int64_t i = 1; i < own; i++) if (score[i] > score[best]) best = i;
            assert_int_equal(ints(&b.out[0])[row * 4 + e], e <= own ? best : -1);
            score[best] = -INFINITY;
        }
    }
    bench_close(&b);
}

static void test_blocks_from_cache(void **state)
{
    (void)state;
    OPEN(whole, block_topk, whole);
    OPEN(step, block_topk, step);
    for (int input = 0; input <= 1; input++) copy_tail(&whole, &step, input, input == 1);
    bench_forward(&whole), bench_forward(&step);
    for (int64_t b = 0; b < B; b++) {
        struct tensor x = part(&whole.out[0], ((b + 1) * S - NEW) * 16, NEW * 16),
                      y = part(&step.out[0], b * NEW * 16, NEW * 16);
        same(&x, &y);
    }
    bench_close(&whole), bench_close(&step);
}

/* ---- costs, messages ---- */

static void costs(struct bench *b, double flops)
{
    struct cost c = { 0 };
    b->node->op->cost(b->node, &c);
    assert_true(fabs(c.flops - flops) < 1e-9 * flops);
    bench_close(b);
}

/* Two products with each key that is named, of which the first tokens have fewer; one with each that is seen, for each
   index head. */
static void test_costs(void **state)
{
    (void)state;
    OPEN(some, attention, some);
    OPEN(step, attention, step);
    OPEN(whole, index_topk, whole);
    OPEN(window, index_topk, window);
    costs(&some, B * S * (CHOSEN - CHOSEN * (CHOSEN - 1) / (2.0 * S)) * 4 * 4 * 8);
    costs(&step, B * NEW * (CHOSEN - CHOSEN * (CHOSEN - 1) / (2.0 * CACHE)) * 4 * 4 * 8);
    costs(&whole, B * S * (S / 2.0) * 2 * 3 * 8);
    costs(&window, B * S * (7 - 7 * 6 / 20.0) * 2 * 3 * 8);
}

#define REFUSED(CASE) \
    CASE(index_rank, "'index' is [180], [T,X] or [T,H,X] is needed", ATTEND(USUAL, \
         .index = count_in(g, SHAPE(B * S), none))) \
    CASE(index_tokens, "T is 180", ATTEND(USUAL, .index = count_in(g, SHAPE(3, 5), none))) \
    CASE(index_floats, "'index' is REAL, I32 is needed", ATTEND(USUAL, .index = real_in(g, B * S, 5))) \
    CASE(blocks_wide, "at most 4096", ATTEND(USUAL, .block = 300, .index = count_in(g, SHAPE(B * S, 15), none))) \
    CASE(blocks_alone, "no index names blocks", ATTEND(USUAL, .block = 3)) \
    CASE(no_positions, "say nothing of them", ATTEND(.q = act_in(g, B * S, 4, 8), .k = act_in(g, B, S, 2, 8), \
         .v = act_in(g, B, S, 2, 8), .start = count_in(g, SHAPE(B, S), none), .scale = 1, .window = 3, \
         .index = count_in(g, SHAPE(B * S, 3), none))) \
    CASE(pooled_window, "neither window nor chunk", INDEXER(S, none, .k = act_in(g, B, 9, 8), .chosen = 3, .pool = 10, \
         .window = 3)) \
    CASE(pooled_rank, "must be [B,C,N]", INDEXER(S, none, .k = act_in(g, B * S, 8), .chosen = 3, .pool = 10)) \
    CASE(block_heads, "cannot share 3 key heads", BLOCKS_OF(S, none, .k = act_in(g, B * S, 3, 8), .chosen = 1, \
         .block = 2)) \
    CASE(block_rank, "must be [T,G,W]", BLOCKS_OF(S, none, .k = act_in(g, B, S, 2, 8), .chosen = 1, .block = 2)) \
    CASE(index_wide, "at most 4096", ATTEND(USUAL, .index = count_in(g, SHAPE(B * S, 4097), none))) \
    CASE(chosen, "chosen = 0, it must be 1 to 4096", INDEXER(S, none, .k = act_in(g, B * S, 8))) \
    CASE(width, "N is 8 in 'q', not 7", INDEXER(S, none, .k = act_in(g, B * S, 7), .chosen = 3)) \
    CASE(keys, "T is 180 in 'q', not 90", INDEXER(S, none, .k = act_in(g, S, 8), .chosen = 3)) \
    CASE(cached, "must be [B,C,N]", INDEXER(S, none, .k = act_in(g, B * S, 8), .pos = int_in(g, SHAPE(1), 0), \
         .chosen = 3)) \
    CASE(short_cache, "do not fit start", INDEXER(S, none, .k = act_in(g, B, S - 1, 8), .pos = int_in(g, SHAPE(1), 0), \
         .chosen = 3)) \
    CASE(heads, "and 8192 values of a token", index_topk(g, (struct index_topk){ \
         .q = act_in(g, 6, 40, 300), .k = act_in(g, 6, 300), .w = real_in(g, 6, 40), \
         .start = count_in(g, SHAPE(1, 6), none), .chosen = 2 })) \
    CASE(weights, "J is 2 in 'q', not 3", index_topk(g, (struct index_topk){ .q = act_in(g, 6, 2, 4), \
         .k = act_in(g, 6, 4), .w = real_in(g, 6, 3), .start = count_in(g, SHAPE(1, 6), none), .chosen = 2 }))

TEST_REFUSALS(REFUSED)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_of_all), cmocka_unit_test(test_golden_choice),
        cmocka_unit_test(test_golden_divergence), cmocka_unit_test(test_other_indices),
        cmocka_unit_test(test_golden_blocks), cmocka_unit_test(test_blocks_are_their_definition),
        cmocka_unit_test(test_blocks_from_cache),
        cmocka_unit_test(test_all_are_dense), cmocka_unit_test(test_nobody), cmocka_unit_test(test_twice),
        cmocka_unit_test(test_unnamed), cmocka_unit_test(test_cache),
        cmocka_unit_test(test_choice_is_its_definition), cmocka_unit_test(test_ties), cmocka_unit_test(test_scale),
        cmocka_unit_test(test_causality), cmocka_unit_test(test_choice_from_cache), cmocka_unit_test(test_costs),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
