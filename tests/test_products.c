/* What products must mean: attention by its definition and at its corners, expert rows, cross-entropy. */
#include "op_check.h"
#include "cpu/isa.h"
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void open_case(struct bench *b, int op, const char *name, struct node *(*build)(struct graph *g))
{
    bench_open(b, &(struct op_case){ op, name, build }, false, 2);
}

static void near(const char *what, int64_t at, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound)) fail_msg("%s: value %lld: %.9g, expected %.9g", what, (long long)at, got, want);
}

static void fill_with(const struct tensor *t, double value)
{
    for (int64_t i = 0; i < shape_count(t->shape); i++) tensor_set(t, i, value);
}

/* ---- attention ---- */

enum { B = 2, S = 330 };
static int32_t document(int64_t i) { return i % S < 40 ? 0 : i % S < 100 ? 40 : 100; }
static int32_t zero(int64_t i) { (void)i; return 0; }

#define ATTENTION(name, heads, groups, width, starts, size) \
    static struct node *name(struct graph *g) \
    { \
        return ATTEND(QKV(B * S, heads, groups, width), .start = count_in(g, SHAPE(B, S), starts), \
                      .scale = 1 / sqrt(width), .window = size); \
    }
ATTENTION(mha, 4, 4, 8, zero, 0)
ATTENTION(gqa, 4, 2, 8, zero, 0)
ATTENTION(mqa, 4, 1, 8, zero, 0)
ATTENTION(documents, 4, 2, 8, document, 0)
ATTENTION(local_documents, 4, 2, 8, document, 30)
ATTENTION(local, 4, 2, 8, zero, 70)
ATTENTION(window_of_all, 4, 2, 8, zero, S)
ATTENTION(window_of_one, 4, 2, 8, zero, 1)
static struct node *chunks(struct graph *g)
{
    return ATTEND(QKV(B * S, 4, 2, 8), .start = count_in(g, SHAPE(B, S), zero), .scale = 1, .chunk = 33);
}

/* The definition, in double: out [T,H,W], and the largest score of each head. Also checks that p sums to 1. */
static void reference(const struct bench *b, double scale, int64_t window, double *out, double *most)
{
    int64_t heads = b->in[0].shape.dim[1], groups = b->in[1].shape.dim[1], width = b->in[0].shape.dim[2];
    double *p = xmalloc(S * sizeof *p);
    for (int64_t h = 0; h < heads; h++) most[h] = -INFINITY;
    for (int64_t t = 0; t < B * S; t++)
        for (int64_t h = 0; h < heads; h++) {
            int64_t s = t % S, from = ints(&b->in[3])[t], g = h * groups / heads;
            double top = -INFINITY, sum = 0;
            if (window && s - window + 1 > from) from = s - window + 1;
            for (int64_t j = from; j <= s; j++) {
                p[j] = 0;
                for (int64_t w = 0; w < width; w++)
                    p[j] += scale * tensor_get(&b->in[0], (t * heads + h) * width + w) *
                            tensor_get(&b->in[1], ((t - s + j) * groups + g) * width + w);
                top = fmax(top, p[j]);
            }
            for (int64_t j = from; j <= s; j++) sum += p[j] = exp(p[j] - top);
            most[h] = fmax(most[h], top);
            for (int64_t w = 0; w < width; w++) {
                double o = 0;
                for (int64_t j = from; j <= s; j++)
                    o += p[j] / sum * tensor_get(&b->in[2], ((t - s + j) * groups + g) * width + w);
                out[(t * heads + h) * width + w] = o;
            }
        }
    free(p);
}

static void against_reference(const char *name, struct node *(*build)(struct graph *g), int64_t window)
{
    struct bench b;
    double most[8];
    open_case(&b, OP_attention, name, build);
    int64_t count = shape_count(b.out[0].shape), heads = b.in[0].shape.dim[1];
    double *want = xmalloc((size_t)count * sizeof *want);
    bench_forward(&b);
    reference(&b, 1 / sqrt((double)b.in[0].shape.dim[2]), window, want, most);
    for (int64_t i = 0; i < count; i++) near(name, i, tensor_get(&b.out[0], i), want[i], 3e-6);
    for (int64_t h = 0; h < heads; h++) near("logit_max", h, tensor_get(&b.out[1], h), most[h], 3e-6);
    free(want);
    bench_close(&b);
}

static void test_attention_is_its_definition(void **state)
{
    (void)state;
    against_reference("mha", mha, 0);
    against_reference("gqa", gqa, 0);
    against_reference("mqa", mqa, 0);
    against_reference("documents", documents, 0);
    against_reference("local_documents", local_documents, 30);
    against_reference("local", local, 70);
}

/* GQA is MHA whose key and value heads are repeated; its dk and dv are the sums over the repetitions. */
static void test_shared_heads(void **state)
{
    (void)state;
    struct bench few, many;
    open_case(&few, OP_attention, "gqa", gqa);
    open_case(&many, OP_attention, "mha", mha);
    int64_t heads = many.in[1].shape.dim[1], groups = few.in[1].shape.dim[1], share = heads / groups, width = 8;
    for (int input = 1; input <= 2; input++)
        for (int64_t i = 0; i < shape_count(many.in[input].shape); i++) {
            int64_t t = i / (heads * width), h = i / width % heads;
            tensor_set(&many.in[input], i, tensor_get(&few.in[input], (t * groups + h / share) * width + i % width));
        }
    for (int i = 0; i < 2; i++) {
        bench_forward(i ? &many : &few);
        bench_backward(i ? &many : &few);
    }
    assert_memory_equal(few.out[0].data, many.out[0].data, tensor_bytes(&few.out[0]));
    for (int input = 1; input <= 2; input++)
        for (int64_t i = 0; i < shape_count(few.din[input].shape); i++) {
            int64_t t = i / (groups * width), g = i / width % groups;
            double sum = 0;
            for (int64_t h = g * share; h < (g + 1) * share; h++)
                sum += tensor_get(&many.din[input], (t * heads + h) * width + i % width);
            near("gradient of shared heads", i, tensor_get(&few.din[input], i), sum, 2e-5);
        }
    bench_close(&few);
    bench_close(&many);
}

/* Equal scores: the running mean of v over the document; rows of ones stay ones, so p sums to 1. */
static void test_equal_scores(void **state)
{
    (void)state;
    struct bench b;
    open_case(&b, OP_attention, "documents", documents);
    fill_with(&b.in[0], 0);
    bench_forward(&b);
    for (int64_t t = 0; t < B * S; t++)
        for (int64_t w = 0; w < 8; w++) {
            double sum = 0;
            int64_t s = t % S, from = document(t);
            for (int64_t j = from; j <= s; j++) sum += tensor_get(&b.in[2], (t - s + j) * 16 + w);
            near("running mean", t, tensor_get(&b.out[0], t * 32 + w), sum / (double)(s - from + 1), 2e-6);
        }
    bench_fill(&b, 0);
    fill_with(&b.in[2], 1);
    bench_forward(&b);
    for (int64_t i = 0; i < shape_count(b.out[0].shape); i++) near("sum of p", i, tensor_get(&b.out[0], i), 1, 1e-6);
    bench_close(&b);
}

static void same_bits(struct node *(*one)(struct graph *g), struct node *(*other)(struct graph *g))
{
    struct bench b[2];
    for (int i = 0; i < 2; i++) {
        open_case(&b[i], OP_attention, "window", i ? other : one);
        bench_forward(&b[i]);
        bench_backward(&b[i]);
    }
    assert_memory_equal(b[0].out[0].data, b[1].out[0].data, tensor_bytes(&b[0].out[0]));
    for (int i = 0; i < 3; i++) assert_memory_equal(b[0].din[i].data, b[1].din[i].data, tensor_bytes(&b[0].din[i]));
    for (int i = 0; i < 2; i++) bench_close(&b[i]);
}

/* A window of the whole sequence is no window, to the bit; a window of one gives v. */
static void test_windows(void **state)
{
    (void)state;
    struct bench b;
    same_bits(gqa, window_of_all);
    open_case(&b, OP_attention, "window_of_one", window_of_one);
    bench_forward(&b);
    for (int64_t i = 0; i < shape_count(b.out[0].shape); i++) {
        int64_t t = i / 32, h = i / 8 % 4;
        assert_true(tensor_get(&b.out[0], i) == tensor_get(&b.in[2], (t * 2 + h / 2) * 8 + i % 8));
    }
    bench_close(&b);
}

/* What a row may not see does not reach it, not even in the last bit: key 20 and 60 against rows on both sides. */
static void test_masked_keys(void **state)
{
    enum { ROW = 4 * 8 };
    (void)state;
    struct bench b;
    open_case(&b, OP_attention, "local_documents", local_documents);
    bench_forward(&b);
    real *before = xmalloc(tensor_bytes(&b.out[0]));
    memcpy(before, b.out[0].data, tensor_bytes(&b.out[0]));
    for (int64_t key = 20; key <= 60; key += 40) {
        for (int input = 1; input <= 2; input++)
            for (int64_t i = 0; i < 16; i++) tensor_set(&b.in[input], key * 16 + i, 3 + (double)i);
        bench_forward(&b);
        for (int64_t t = 0; t < B * S; t++) {
            bool sees = t >= key && t < S && document(t) <= key && t < key + 30;
            if ((memcmp(before + t * ROW, reals(&b.out[0]) + t * ROW, ROW * sizeof(real)) != 0) != sees)
                fail_msg("key %lld and row %lld: %s", (long long)key, (long long)t, sees ? "not seen" : "seen");
        }
        bench_fill(&b, 1);
        bench_fill(&b, 2);
    }
    free(before);
    bench_close(&b);
}

static struct node *three_keys(struct graph *g)
{
    return ATTEND(.q = real_in(g, 3, 1, 3), .k = real_in(g, 3, 1, 3), .v = real_in(g, 3, 1, 3),
                  .start = int_in(g, SHAPE(1, 3), 0, 0, 0), .scale = 1);
}

/* Scores 1, 2, 3 and the unit matrix for v: the last row is softmax(1,2,3). */
static void test_golden_row(void **state)
{
    static const double want[3][3] = { { 1, 0, 0 }, { 0.26894142, 0.73105858, 0 },
                                       { 0.09003057, 0.24472847, 0.66524096 } };
    (void)state;
    struct bench b;
    open_case(&b, OP_attention, "three_keys", three_keys);
    for (int64_t i = 0; i < 9; i++) {
        tensor_set(&b.in[0], i, 1);
        tensor_set(&b.in[1], i, (double)(i / 3 + 1) / 3);
        tensor_set(&b.in[2], i, i % 4 == 0);
    }
    bench_forward(&b);
    for (int64_t i = 0; i < 9; i++) near("softmax", i, tensor_get(&b.out[0], i), want[i / 3][i % 3], 1e-7);
    for (int64_t i = 1; i < 3; i++) assert_true(tensor_get(&b.out[0], i) == 0);
    near("logit_max", 0, tensor_get(&b.out[1], 0), 3, 1e-6);
    bench_close(&b);
}

enum { CACHE = S + 10, NEW = 3 };
static int32_t late_document(int64_t i) { (void)i; return 100; }
static struct node *decoding(struct graph *g)
{
    return ATTEND(.q = act_in(g, B * NEW, 4, 8), .k = act_in(g, B, CACHE, 2, 8), .v = act_in(g, B, CACHE, 2, 8),
                  .start = count_in(g, SHAPE(B, NEW), late_document), .pos = int_in(g, SHAPE(1), S - NEW),
                  .scale = 1 / sqrt(8), .window = 30);
}

/* The last tokens through a cache give what the whole sequence gives. */
static void test_cache(void **state)
{
    (void)state;
    struct bench whole, step;
    open_case(&whole, OP_attention, "local_documents", local_documents);
    open_case(&step, OP_attention, "decoding", decoding);
    bench_forward(&whole);
    for (int64_t b = 0; b < B; b++) {
        memcpy(reals(&step.in[0]) + b * NEW * 32, reals(&whole.in[0]) + ((b + 1) * S - NEW) * 32,
               NEW * 32 * sizeof(real));
        for (int input = 1; input <= 2; input++)
            memcpy(reals(&step.in[input]) + b * CACHE * 16, reals(&whole.in[input]) + b * S * 16,
                   S * 16 * sizeof(real));
    }
    bench_forward(&step);
    for (int64_t i = 0; i < B * NEW * 32; i++)
        near("cached", i, tensor_get(&step.out[0], i),
             tensor_get(&whole.out[0], i / (NEW * 32) * S * 32 + (S - NEW) * 32 + i % (NEW * 32)), 1e-5);
    bench_close(&whole);
    bench_close(&step);
}

/* ---- experts ---- */

static struct node *experts(struct graph *g)
{
    return grouped_matmul(g, act_in(g, 50, 6), real_in(g, 3, 40, 6), int_in(g, SHAPE(4), 0, 17, 17, 41));
}
static struct node *one_expert(struct graph *g)
{
    return grouped_matmul(g, act_in(g, 50, 6), real_in(g, 1, 40, 6), int_in(g, SHAPE(2), 0, 50));
}
static struct node *dense(struct graph *g) { return matmul(g, act_in(g, 50, 6), real_in(g, 40, 6), DTYPE_ACT); }

/* Rows of no expert: result and gradient are 0, or what was there; so is the weight of an expert without rows. */
static void test_rows_of_no_expert(void **state)
{
    (void)state;
    struct bench b;
    open_case(&b, OP_grouped_matmul, "experts", experts);
    bench_forward(&b);
    bench_backward(&b);
    for (int64_t i = 41 * 40; i < 50 * 40; i++) assert_true(tensor_get(&b.out[0], i) == 0);
    for (int64_t i = 41 * 6; i < 50 * 6; i++) assert_true(tensor_get(&b.din[0], i) == 0);
    for (int64_t i = 240; i < 480; i++) assert_true(tensor_get(&b.din[1], i) == 0);
    for (int i = 0; i < 2; i++) { b.beta[i] = 1; fill_with(&b.din[i], 7); }
    bench_backward(&b);
    for (int64_t i = 41 * 6; i < 50 * 6; i++) assert_true(tensor_get(&b.din[0], i) == 7);
    for (int64_t i = 240; i < 480; i++) assert_true(tensor_get(&b.din[1], i) == 7);
    bench_close(&b);
}

static void test_one_expert_is_dense(void **state)
{
    (void)state;
    struct bench b[2];
    for (int i = 0; i < 2; i++) {
        open_case(&b[i], i ? OP_matmul : OP_grouped_matmul, "one", i ? dense : one_expert);
        bench_forward(&b[i]);
        bench_backward(&b[i]);
    }
    assert_memory_equal(b[0].out[0].data, b[1].out[0].data, tensor_bytes(&b[0].out[0]));
    for (int i = 0; i < 2; i++) assert_memory_equal(b[0].din[i].data, b[1].din[i].data, tensor_bytes(&b[0].din[i]));
    for (int i = 0; i < 2; i++) bench_close(&b[i]);
}

/* ---- rounding ---- */

static struct node *difference(struct graph *g) { return matmul(g, act_in(g, 1, 2), real_in(g, 1, 2), DTYPE_ACT); }
static struct node *real_difference(struct graph *g)
{
    return matmul(g, act_in(g, 1, 2), real_in(g, 1, 2), DTYPE_REAL);
}

/* (1 + 2^-9) - 1, where a dot product unit rounds the weight to 1. Only products between bf16 activations may use
   it. */
static void test_rounding_of_weights(void **state)
{
    (void)state;
    for (int level = 0; isa_level(level); level++) {
        isa_use(isa_level(level));
        for (int i = 0; i < 4; i++) {
            struct bench b;
            bool bf16 = i & 1, real_result = i & 2;
            bench_open(&b, &(struct op_case){ OP_matmul, "difference", real_result ? real_difference : difference },
                       bf16, 1);
            PUT(b, 0, 1, -1);
            PUT(b, 1, 1 + 1.0 / 512, 1);
            bench_forward(&b);
            near(isa_level(level)->name, i, tensor_get(&b.out[0], 0),
                 bf16 && !real_result && isa_level(level)->dot ? 0 : 1.0 / 512, 0);
            bench_close(&b);
        }
    }
    isa_use(NULL);
}

/* ---- cross-entropy ---- */

enum { TOKENS = 300, VOCAB = 77, WIDTH = 9 };
static int32_t word(int64_t i) { return (int32_t)(i * 29 % VOCAB); }
static struct node *head(struct graph *g)
{
    return cross_entropy(g, act_in(g, TOKENS, WIDTH), real_in(g, VOCAB, WIDTH), count_in(g, SHAPE(3, 100), word), 0);
}

static void test_cross_entropy_is_its_definition(void **state)
{
    (void)state;
    struct bench b;
    int hits = 0;
    open_case(&b, OP_cross_entropy, "head", head);
    /* Every third token points at its target, so that some are hit. */
    for (int64_t t = 0; t < TOKENS; t += 3)
        for (int64_t d = 0; d < WIDTH; d++)
            tensor_set(&b.in[0], t * WIDTH + d, tensor_get(&b.in[1], word(t) * WIDTH + d));
    bench_forward(&b);
    for (int64_t t = 0; t < TOKENS; t++) {
        double x[VOCAB], sum = 0;
        int best = 0;
        for (int v = 0; v < VOCAB; v++) {
            x[v] = 0;
            for (int64_t d = 0; d < WIDTH; d++)
                x[v] += tensor_get(&b.in[0], t * WIDTH + d) * tensor_get(&b.in[1], v * WIDTH + d);
            sum += exp(x[v]);
            if (x[v] > x[best]) best = v;
        }
        near("nll", t, tensor_get(&b.out[0], t), log(sum) - x[word(t)], 5e-6);
        near("lse", t, tensor_get(&b.out[1], t), log(sum), 5e-6);
        near("hit", t, tensor_get(&b.out[2], t), best == word(t), 0);
        hits += best == word(t);
    }
    assert_in_range(hits, 10, TOKENS - 10);
    bench_close(&b);
}

static struct node *tied(struct graph *g)
{
    return cross_entropy(g, real_in(g, 3, 2), real_in(g, 4, 2), int_in(g, SHAPE(1, 3), 0, 2, 3), 0);
}

/* Words 1 and 2 tie for the lead: only the lower may be hit. All tie: only word 0. */
static void test_ties(void **state)
{
    (void)state;
    struct bench b;
    open_case(&b, OP_cross_entropy, "tied", tied);
    fill_with(&b.in[0], 1);
    fill_with(&b.in[1], 1);
    bench_forward(&b);
    for (int64_t t = 0; t < 3; t++) assert_true(tensor_get(&b.out[2], t) == (t == 0));
    for (int64_t i = 2; i < 6; i++) tensor_set(&b.in[1], i, 2);
    ints(&b.in[2])[0] = 1;
    bench_forward(&b);
    for (int64_t t = 0; t < 3; t++) assert_true(tensor_get(&b.out[2], t) == (t == 0));
    bench_close(&b);
}

static void test_broken_target(void **state)
{
    (void)state;
    static const int32_t wrong[] = { -1, 4 };
    for (int i = 0; i < 2; i++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            struct bench b;
            if (!freopen("/dev/null", "w", stderr)) _exit(99);
            signal(SIGABRT, SIG_DFL);
            bench_open(&b, &(struct op_case){ OP_cross_entropy, "tied", tied }, false, 1);
            ints(&b.in[2])[1] = wrong[i];
            bench_forward(&b);
            _exit(0);
        }
        assert_true(child > 0 && waitpid(child, &status, 0) == child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}

/* ---- shapes and counts ---- */

#define Q16 act_in(g, 16, 4, 8)
#define STARTS count_in(g, SHAPE(2, 8), zero)
#define REFUSED(CASE) \
    CASE(inner, "'w' is [4,6], [N,K] is needed: K is 5 in 'x', not 6", \
         matmul(g, act_in(g, 3, 5), real_in(g, 4, 6), DTYPE_ACT)) \
    CASE(integers, "out must be one of: act real", matmul(g, act_in(g, 3, 5), real_in(g, 4, 5), DTYPE_I32)) \
    CASE(offsets, "'offsets' is [3], [E+1] is needed: E+1 is 4 in 'w', not 3", \
         grouped_matmul(g, act_in(g, 3, 5), real_in(g, 3, 2, 5), int_in(g, SHAPE(3), 0, 1, 2))) \
    CASE(head_matrices, "heads [5,2,3] meet matrices [2,4,2]", \
         head_matmul(g, act_in(g, 5, 2, 3), real_in(g, 2, 4, 2), false)) \
    CASE(transposed_matrices, "heads [5,2,3] meet matrices [2,4,3], transposed", \
         head_matmul(g, act_in(g, 5, 2, 3), real_in(g, 2, 4, 3), true)) \
    CASE(heads, "4 query heads cannot share 3 key heads", ATTEND(.q = Q16, .k = act_in(g, 16, 3, 8), \
         .v = act_in(g, 16, 3, 8), .start = STARTS, .scale = 1)) \
    CASE(width, "'k' is [16,2,4], [T,G,W] or [B,C,G,W] is needed: W is 8 in 'q', not 4", \
         ATTEND(.q = Q16, .k = act_in(g, 16, 2, 4), .v = act_in(g, 16, 2, 4), .start = STARTS, .scale = 1)) \
    CASE(values, "G is 2 in 'k', not 1", ATTEND(.q = Q16, .k = act_in(g, 16, 2, 8), \
         .v = act_in(g, 16, 1, 8), .start = STARTS, .scale = 1)) \
    CASE(start, "T is 16 in 'q', not 8", ATTEND(.q = Q16, .k = act_in(g, 8, 2, 8), .v = act_in(g, 8, 2, 8), \
         .start = STARTS, .scale = 1)) \
    CASE(window, "window = -1, it must be at least 0", ATTEND(.q = Q16, .k = act_in(g, 16, 2, 8), \
         .v = act_in(g, 16, 2, 8), .start = STARTS, .scale = 1, .window = -1)) \
    CASE(scale, "scale = 0, it must be above 0", ATTEND(.q = Q16, .k = act_in(g, 16, 2, 8), \
         .v = act_in(g, 16, 2, 8), .start = STARTS, .scale = 0)) \
    CASE(targets, "'target' is [1,2], [B,S] is needed: T is 3 in 'h', B S is 2", \
         cross_entropy(g, act_in(g, 3, 5), real_in(g, 4, 5), int_in(g, SHAPE(1, 2), 0, 0), 0))

TEST_REFUSALS(REFUSED)

static void counts(int op, struct node *(*build)(struct graph *g), double flops)
{
    struct bench b;
    struct cost c = { 0 };
    open_case(&b, op, "cost", build);
    b.node->op->cost(b.node, &c);
    near("flops", op, c.flops, flops, 1e-6 * flops);
    bench_close(&b);
}

/* Attention: 4 H W for each pair of query and key that is seen, which are S^2/2 or S w - w(w-1)/2 a sequence, and as
   many of each chunk. */
static void test_costs(void **state)
{
    (void)state;
    counts(OP_matmul, dense, 2.0 * 50 * 6 * 40);
    counts(OP_grouped_matmul, experts, 2.0 * 50 * 6 * 40);
    counts(OP_cross_entropy, head, 2.0 * TOKENS * VOCAB * WIDTH);
    counts(OP_attention, gqa, B * 4.0 * 4 * 8 * S * S / 2);
    counts(OP_attention, local, B * 4.0 * 4 * 8 * (S * 70.0 - 70 * 69 / 2.0));
    counts(OP_attention, chunks, B * 10 * 4.0 * 4 * 8 * 33 * 33 / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_is_its_definition), cmocka_unit_test(test_shared_heads),
        cmocka_unit_test(test_equal_scores), cmocka_unit_test(test_windows), cmocka_unit_test(test_masked_keys),
        cmocka_unit_test(test_golden_row), cmocka_unit_test(test_cache), cmocka_unit_test(test_rows_of_no_expert),
        cmocka_unit_test(test_one_expert_is_dense), cmocka_unit_test(test_rounding_of_weights),
        cmocka_unit_test(test_cross_entropy_is_its_definition), cmocka_unit_test(test_ties),
        cmocka_unit_test(test_broken_target), cmocka_unit_test(test_messages), cmocka_unit_test(test_costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
